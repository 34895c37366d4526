"""Notebooks as data: their parameters, their hashes, and what is stripped before they are kept.

Nothing here executes a notebook (see `execute`); nothing here imports papermill or torch.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_NOISE = ("papermill", "widgets", "execution")


def load_notebook(path: str | Path) -> dict[str, Any]:
    """Read a notebook (nbformat 4) as a dictionary. Raises UserError when it is missing or not a notebook."""
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such notebook") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as a notebook ({error})") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UserError(f"{path} is not a notebook: it has no list of cells")
    return notebook


def save_notebook(path: str | Path, notebook: dict[str, Any]) -> None:
    """Write a notebook atomically in the layout Jupyter itself uses (one-space indent, trailing newline)."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    write_atomic(Path(path), text.encode("utf-8"))


def source_of(cell: dict[str, Any]) -> str:
    """The cell's source as one string."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def tags_of(cell: dict[str, Any]) -> list[str]:
    """The cell's tags."""
    return list(cell.get("metadata", {}).get("tags", []))


def parameters_cell(notebook: dict[str, Any]) -> dict[str, Any] | None:
    """The cell tagged `parameters`, or None."""
    return next((cell for cell in notebook["cells"] if "parameters" in tags_of(cell)), None)


def default_parameters(notebook: dict[str, Any], name: str = "the notebook") -> dict[str, Any]:
    """Names and literal defaults of the `parameters` cell, in order.

    Read by parsing the cell rather than by `papermill.inspect_notebook`, which gives the defaults as text and
    guesses their types; a statement that is not `name = literal` raises UserError.
    """
    cell = parameters_cell(notebook)
    if cell is None:
        return {}
    try:
        return {target: ast.literal_eval(value) for target, value in _assignments(source_of(cell))}
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{name}: its parameters cell must hold only `name = literal` lines ({error})") from None


def check_parameters(notebook: dict[str, Any], given: dict[str, Any], name: str = "the notebook") -> dict[str, Any]:
    """The given parameters, each known to the notebook and of its default's type.

    An int is taken where a float stands, anything where None stands, and None only where None stands or for text.
    Raises UserError for an unknown name (papermill itself only warns) or another type.
    """
    known = default_parameters(notebook, name)
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            listed = ", ".join(known) or "none"
            raise UserError(f"{name} has no parameter {key!r}; its parameters are: {listed}")
        default = known[key]
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if default is not None and type(value) is not type(default):
            wanted, got = type(default).__name__, type(value).__name__
            raise UserError(f"{name}: parameter {key!r} is a {wanted} (default {default!r}), got the {got} {value!r}")
        checked[key] = value
    return checked


def parse_parameters(notebook: dict[str, Any], pairs: list[str], name: str = "the notebook") -> dict[str, Any]:
    """Turn `name=value` words of a command line into checked values, each read in the type of its default."""
    known = default_parameters(notebook, name)
    given: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"a parameter is written name=value, got {pair!r}")
        given[key] = text if isinstance(known.get(key), str) else _literal(text)
    return check_parameters(notebook, given, name)


def with_defaults(notebook: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A copy whose parameters cell holds `values` in place of its defaults; comments and layout stay."""
    copy: dict[str, Any] = json.loads(json.dumps(notebook))
    cell = parameters_cell(copy)
    if cell is None or not values:
        return copy
    source = source_of(cell)
    lines = source.split("\n")
    for target, node in reversed(list(_assignments(source))):
        if target not in values:
            continue
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        # ast counts columns in UTF-8 bytes
        head = lines[first].encode()[: node.col_offset].decode()
        tail = lines[last].encode()[node.end_col_offset :].decode()
        lines[first : last + 1] = [head + _spelled(values[target]) + tail]
    cell["source"] = "\n".join(lines).splitlines(keepends=True)
    return copy


def without_cells(notebook: dict[str, Any], tags: Collection[str]) -> dict[str, Any]:
    """A copy without the cells that carry one of the tags."""
    kept = [cell for cell in notebook["cells"] if not set(tags) & set(tags_of(cell))]
    return {**notebook, "cells": kept}


def source_sha(cell: dict[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of a cell's source, stored in `metadata.oshp.source_sha` when executed."""
    return hashlib.sha256(source_of(cell).encode()).hexdigest()[:16]


def notebook_sha(notebook: dict[str, Any]) -> str:
    """SHA-256 over kinds, tags and sources of all cells: outputs, counts and metadata do not count."""
    told = [[cell["cell_type"], sorted(tags_of(cell)), source_of(cell)] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def stale_cells(notebook: dict[str, Any]) -> list[int]:
    """Positions of code cells whose outputs were not made by their present source (empty cells do not count)."""
    return [
        position
        for position, cell in enumerate(notebook["cells"])
        if cell["cell_type"] == "code"
        and source_of(cell).strip()
        and cell.get("metadata", {}).get("oshp", {}).get("source_sha") != source_sha(cell)
    ]


def error_outputs(notebook: dict[str, Any]) -> list[tuple[int, str]]:
    """(cell position, "ErrorName: text") of every error among the outputs."""
    return [
        (position, f"{output.get('ename')}: {output.get('evalue')}")
        for position, cell in enumerate(notebook["cells"])
        for output in cell.get("outputs", [])
        if output.get("output_type") == "error"
    ]


def tidy(notebook: dict[str, Any]) -> dict[str, Any]:
    """A copy fit to be kept: no papermill traces, no widget state, no dead widgets, streams joined.

    Each code cell gets the hash of its source, which the freshness test compares later.
    """
    copy: dict[str, Any] = json.loads(json.dumps(notebook))
    copy["cells"] = [cell for cell in copy["cells"] if "papermill-error-cell-tag" not in tags_of(cell)]
    for key in _NOISE:
        copy["metadata"].pop(key, None)
    for cell in copy["cells"]:
        for key in _NOISE:
            cell["metadata"].pop(key, None)
        if not cell["metadata"].get("tags", True):
            cell["metadata"].pop("tags")
        if cell["cell_type"] == "code":
            cell["outputs"] = _tidy_outputs(cell.get("outputs", []))
            cell["metadata"]["oshp"] = {"source_sha": source_sha(cell)}
    return copy


def _assignments(source: str) -> list[tuple[str, ast.expr]]:
    found: list[tuple[str, ast.expr]] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            raise ValueError(f"line {statement.lineno} is something else")
        if not isinstance(target, ast.Name):
            raise ValueError(f"line {statement.lineno} assigns to something other than a name")
        found.append((target.id, value))
    return found


def _literal(text: str) -> Any:
    lowered = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in lowered:
        return lowered[text.lower()]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _text(output: dict[str, Any]) -> str:
    text = output.get("text", "")
    return text if isinstance(text, str) else "".join(text)


def _after_returns(text: str) -> str:
    """What a terminal would show: of each line only what follows its last carriage return."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def _tidy_outputs(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for output in outputs:
        if WIDGET_VIEW in output.get("data", {}):
            continue  # without a kernel it would show as a dead widget
        output.get("metadata", {}).pop("papermill", None)
        before = kept[-1] if kept else {}
        if output["output_type"] == "stream" and before.get("name") == output["name"]:
            before["text"] = _text(before) + _text(output)
        else:
            kept.append(output)
    for output in kept:
        if output["output_type"] == "stream":
            output["text"] = _after_returns(_text(output)).splitlines(keepends=True)
    return [output for output in kept if output["output_type"] != "stream" or output["text"]]
