"""Notebooks: their parameters and hashes, their execution through papermill, and what is stripped before they are kept.

Papermill's metadata still says "completed" after a cell's time-out, so a notebook counts as done when its process left
with 0 and no error is among its outputs; only then its done marker is written.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import read_json, sha256_json, write_atomic, write_json_atomic
from oshp_lite.study.processes import OVERTIME, run_child

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT = 1800
"""Seconds a single cell may take unless something else is given."""

BACKEND = "module://matplotlib_inline.backend_inline"
_NOISE = ("papermill", "widgets", "execution")


def load_notebook(path: str | Path) -> dict[str, Any]:
    """Read a notebook (nbformat 4) as a dictionary. Raises UserError when it is missing or not a notebook."""
    notebook = read_json(path)
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UserError(f"{path} is not a notebook: it has no list of cells")
    return notebook


def save_notebook(path: str | Path, notebook: dict[str, Any]) -> None:
    """Write a notebook atomically in the layout Jupyter itself uses (one-space indent, trailing newline)."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    write_atomic(Path(path), text.encode("utf-8"))


def source_of(cell: dict[str, Any]) -> str:
    """The cell's source as one string."""
    return "".join(cell.get("source", ""))


def tags_of(cell: dict[str, Any]) -> list[str]:
    """The cell's tags."""
    return list(cell.get("metadata", {}).get("tags", []))


def title_of(notebook: dict[str, Any], default: str) -> str:
    """The first line of the first cell without its number signs."""
    text = source_of(notebook["cells"][0]) if notebook["cells"] else ""
    return text.partition("\n")[0].lstrip("# ").strip() or default


def default_parameters(notebook: dict[str, Any], name: str = "the notebook") -> dict[str, Any]:
    """Names and literal defaults of the `parameters` cell, in order.

    Parsed, since `papermill.inspect_notebook` guesses their types. UserError for a statement that is not
    `name = literal`.
    """
    cells = [source_of(cell) for cell in notebook["cells"] if "parameters" in tags_of(cell)]
    try:
        return dict(_assigned(statement) for cell in cells[:1] for statement in ast.parse(cell).body)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{name}: its parameters cell must hold only `name = literal` lines ({error})") from None


def _assigned(statement: ast.stmt) -> tuple[str, Any]:
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=value)
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
        ):
            return name, ast.literal_eval(value)
    raise ValueError(f"line {statement.lineno} is something else")


def check_parameters(notebook: dict[str, Any], given: dict[str, Any], name: str = "the notebook") -> dict[str, Any]:
    """The given parameters, each known to the notebook and of its default's type.

    An int is taken where a float stands, anything where None stands, and None only where None stands.
    Raises UserError for an unknown name (papermill itself only warns) or another type.
    """
    known, checked = default_parameters(notebook, name), dict(given)
    for key, value in given.items():
        if key not in known:
            raise UserError(f"{name} has no parameter {key!r}; its parameters are: {', '.join(known) or 'none'}")
        default = known[key]
        if type(default) is float and type(value) is int:
            checked[key] = value = float(value)
        if default is not None and type(value) is not type(default):
            wanted, got = type(default).__name__, type(value).__name__
            raise UserError(f"{name}: parameter {key!r} is a {wanted} (default {default!r}), got the {got} {value!r}")
    return checked


def source_sha(cell: dict[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of a cell's source, stored in `metadata.oshp.source_sha` when executed."""
    return hashlib.sha256(source_of(cell).encode()).hexdigest()[:16]


def notebook_sha(notebook: dict[str, Any]) -> str:
    """SHA-256 over kinds, tags and sources of all cells: outputs, counts and metadata do not count."""
    cells = [[cell["cell_type"], sorted(tags_of(cell)), source_of(cell)] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


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
    for part in (copy, *copy["cells"]):
        for key in _NOISE:
            part["metadata"].pop(key, None)
    for cell in copy["cells"]:
        if not cell["metadata"].get("tags", True):
            cell["metadata"].pop("tags")
        if cell["cell_type"] == "code":
            cell["outputs"] = _tidy_outputs(cell.get("outputs", []))
            cell["metadata"]["oshp"] = {"source_sha": source_sha(cell)}
    return copy


def _without_widget(output: dict[str, Any]) -> dict[str, Any] | None:
    """Return an output without its widget, which is dead without a kernel: what stands beside it, or None."""
    data = output.get("data", {})
    if WIDGET_VIEW not in data:
        return output
    kept = {kind: value for kind, value in data.items() if kind != WIDGET_VIEW}
    return {**output, "data": kept} if set(kept) - {"text/plain"} else None


def _tidy_outputs(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    alive = filter(None, map(_without_widget, outputs))
    for name, group in groupby(alive, key=lambda one: one.get("name") if one["output_type"] == "stream" else None):
        if name is None:
            kept += group
            continue
        first, *more = group
        text = "".join("".join(one["text"]) for one in (first, *more))
        # of each line what a terminal would show: all behind the last return
        lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
        first["text"] = "\n".join(lines).splitlines(keepends=True)
        kept += [first] if first["text"] else []
    for output in kept:
        output.get("metadata", {}).pop("papermill", None)
    return kept


@dataclass(frozen=True)
class Job:
    """One notebook to execute, in the source's folder as in JupyterLab: where from, where to, with which values.

    timeout      seconds per cell, and `limit` seconds for all; 0 for none
    identity     what else its outputs depend on (code and data fingerprints)
    without      cells with one of these tags are left out
    environment  variables of its process (OSHP_DATA, OSHP_RUNS, threads)
    """

    source: Path
    target: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    timeout: int = CELL_TIMEOUT
    identity: dict[str, Any] = field(default_factory=dict)
    limit: float = 0
    without: Collection[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_place(self) -> bool:
        """True when the notebook's own file is to receive the outputs."""
        return self.source.resolve() == self.target.resolve()

    @property
    def marker(self) -> Path:
        """The file that says the target is finished, and for which key."""
        return self.target.with_suffix(".done.json")

    @property
    def failed(self) -> Path:
        """Where the outputs of a failed execution are kept for reading."""
        return self.target.with_suffix(".failed.ipynb")

    def notebook(self) -> dict[str, Any]:
        """The source without the cells that are left out."""
        notebook = load_notebook(self.source)
        kept = [cell for cell in notebook["cells"] if not set(self.without) & set(tags_of(cell))]
        return {**notebook, "cells": kept}

    def key(self) -> str:
        """Hash of all that decides the outputs: the source's cells, the parameters, the code, the data."""
        cells = notebook_sha(self.notebook())
        return sha256_json({"cells": cells, "parameters": self.parameters, "identity": self.identity})

    def is_finished(self) -> bool:
        """True when the target was made from the present source, parameters, code and data, and is still there."""
        with suppress(UserError, KeyError, TypeError):
            return not self.in_place and self.target.is_file() and bool(read_json(self.marker)["key"] == self.key())
        return False


def run_job(job: Job) -> str:
    """Execute one notebook in a child process and put it where it belongs; returns why it failed, or nothing.

    A failed one leaves its outputs in `job.failed`, one executed in place stays as it was. Raises UserError for
    parameters that the notebook does not have.
    """
    source, key, started = job.notebook(), job.key(), time.monotonic()
    parameters = check_parameters(source, job.parameters, job.source.name)
    job.marker.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="oshp-notebook-") as scratch:
        given, made = Path(scratch) / "given.ipynb", Path(scratch) / "made.ipynb"
        save_notebook(given, source)
        order: dict[str, Any] = {
            "work": "oshp_lite.study.notebooks:papermill_here",
            "input_path": str(given),
            "output_path": str(made),
        }
        order |= {"parameters": parameters, "cwd": str(job.source.parent.resolve())}
        order |= {"execution_timeout": job.timeout or None, "kernel_name": "python3"}
        order |= {"progress_bar": False, "log_output": False}
        for _ in range(2):  # kernels that start at the same moment can choose the same port; the second try is alone
            ended = run_child(order, {"MPLBACKEND": BACKEND, **job.environment}, limit=job.limit)
            executed = tidy(load_notebook(made)) if made.is_file() else None
            if ended.code <= 0 or (executed and any(cell.get("execution_count") for cell in executed["cells"])):
                break
    if executed is None:
        return ended.reason
    errors = error_outputs(executed)
    if not ended.code and not errors:
        save_notebook(job.target, executed)
        job.failed.unlink(missing_ok=True)
        if not job.in_place:
            about = {"parameters": job.parameters, "identity": job.identity}
            write_json_atomic(job.marker, {"key": key, "seconds": round(time.monotonic() - started, 1), **about})
        return ""
    if not job.in_place:
        save_notebook(job.failed, executed)
    if not errors or ended.code == OVERTIME:
        return ended.reason
    position, error = errors[0]
    first = next((line for line in source_of(executed["cells"][position]).splitlines() if line.strip()), "")
    return f"cell {position} ({first.strip()[:60]}): {error[:300]}"


def papermill_here(**order: Any) -> None:
    """Call `papermill.execute_notebook` in this process, which is that of one notebook (`run_job` starts it).

    jsonschema, which papermill checks notebooks with, compiles a grammar of web addresses on import, where it is
    installed. Their schema has no address, and it takes twice as long as all else that papermill imports.
    """
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    import_module("papermill").execute_notebook(**order)
