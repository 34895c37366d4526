"""The book holds its habits: parameters, order, fresh outputs, short cells, nothing remote or dead; and it runs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from oshp_lite.study.notebooks import (
    WIDGET_VIEW,
    Job,
    default_parameters,
    error_outputs,
    load_notebook,
    run_job,
    source_of,
    stale_cells,
    tags_of,
)

ROOT = Path(__file__).resolve().parents[1]
BOOK = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
EVERY = BOOK + SOLUTIONS
LONGEST_CELL = 25
LARGEST = 1_000_000

book = pytest.mark.parametrize("path", BOOK, ids=lambda path: path.stem)
every = pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in load_notebook(path)["cells"] if cell["cell_type"] == "code"]


def headings(path: Path) -> list[str]:
    return [
        line.lstrip("#").strip()
        for cell in load_notebook(path)["cells"]
        if cell["cell_type"] == "markdown"
        for line in source_of(cell).splitlines()
        if re.match(r"#{1,3} ", line)
    ]


def texts_of(cell: dict) -> list[str]:
    """The textual outputs of a cell."""
    found = []
    for output in cell.get("outputs", []):
        for value in [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]:
            found.append(value if isinstance(value, str) else "".join(value))
    return found


def test_the_book_is_numbered_without_gaps() -> None:
    numbers = [int(path.stem[:2]) for path in BOOK]
    assert numbers[:8] == list(range(8)), f"notebooks 00 to 07 make the first part, found {numbers}"
    assert len(set(numbers)) == len(numbers)


@every
def test_opens_with_a_title(path: Path) -> None:
    first = load_notebook(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    assert source_of(first).startswith("# ")


@book
def test_second_cell_holds_the_parameters(path: Path) -> None:
    cells = load_notebook(path)["cells"]
    tagged = [position for position, cell in enumerate(cells) if "parameters" in tags_of(cell)]
    assert tagged == [1], "exactly one cell is tagged parameters, and it is the second"
    assert default_parameters(load_notebook(path), path.name), "it holds at least one parameter"


@book
def test_ends_with_exercises_and_where_next(path: Path) -> None:
    last = " | ".join(headings(path)[-8:]).lower()
    assert "exercise" in last
    assert "where next" in headings(path)[-1].lower()


@every
def test_code_cells_are_short(path: Path) -> None:
    for position, cell in enumerate(load_notebook(path)["cells"]):
        if cell["cell_type"] == "code":
            lines = source_of(cell).splitlines()
            assert len(lines) <= LONGEST_CELL, f"cell {position} has {len(lines)} lines"


@every
def test_ran_in_order_and_without_errors(path: Path) -> None:
    counts = [cell["execution_count"] for cell in code_cells(path) if source_of(cell).strip()]
    assert counts == list(range(1, len(counts) + 1)), "run it with: make notebooks"
    assert not error_outputs(load_notebook(path))


@every
def test_outputs_were_made_by_the_present_code(path: Path) -> None:
    stale = stale_cells(load_notebook(path))
    assert not stale, f"cells {stale} changed after they ran; python -m oshp_lite.study.execute --in-place {path.name}"


@every
def test_no_widget_that_hangs_papermill(path: Path) -> None:
    for cell in code_cells(path):
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", source_of(cell), flags=re.MULTILINE)))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert not names & {"Output", "interact", "interactive", "interactive_output"}


@every
def test_nothing_dead_nothing_of_the_tools(path: Path) -> None:
    notebook = load_notebook(path)
    assert not set(notebook["metadata"]) & {"papermill", "widgets"}
    for cell in notebook["cells"]:
        assert not set(cell["metadata"]) & {"papermill", "execution"}
        assert not any(WIDGET_VIEW in output.get("data", {}) for output in cell.get("outputs", []))
        assert not {"injected-parameters", "papermill-error-cell-tag"} & set(tags_of(cell))


@every
def test_small_enough(path: Path) -> None:
    assert path.stat().st_size < LARGEST


@every
def test_no_absolute_paths(path: Path) -> None:
    pattern = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|mnt|var|work|Users)/|[A-Z]:\\\\")
    for position, cell in enumerate(load_notebook(path)["cells"]):
        for text in [source_of(cell), *texts_of(cell)]:
            found = pattern.search(text)
            assert not found, f"cell {position}: ...{text[max(0, found.start() - 30) : found.end() + 40]}..."


@every
def test_nothing_remote_is_shown(path: Path) -> None:
    shown = re.compile(r"!\[[^\]]*\]\(https?:|<(?:img|script|link|iframe)[^>]*https?:", re.IGNORECASE)
    for position, cell in enumerate(load_notebook(path)["cells"]):
        for text in [source_of(cell), *texts_of(cell)]:
            assert not shown.search(text), f"cell {position} shows something remote"


@every
def test_is_a_valid_notebook(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.reads(json.dumps(load_notebook(path)), as_version=4))


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(1800)
@every
def test_runs_under_papermill(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("papermill")
    known = default_parameters(load_notebook(path), path.name)
    job = Job(
        source=path,
        target=tmp_path / path.name,
        parameters={"profile": "smoke"} if "profile" in known else {},
        timeout=900,
        data=str(tmp_path / "data"),
        runs=str(tmp_path / "runs"),
        threads=1,
    )
    assert run_job(job) == ""
