"""The book holds its habits: parameters, order, fresh outputs, short cells, nothing remote or dead; and it runs.

One test a rule, which names every offender.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stale import stale_cells

from oshp_lite.study.notebooks import (
    WIDGET_VIEW,
    Job,
    default_parameters,
    error_outputs,
    load_notebook,
    run_job,
    source_of,
    tags_of,
)

ROOT = Path(__file__).resolve().parents[1]
BOOK = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
NOTEBOOKS: dict[str, dict[str, Any]] = {
    str(path.relative_to(ROOT / "notebooks")): load_notebook(path) for path in BOOK + SOLUTIONS
}
MAIN = {path.name: NOTEBOOKS[path.name] for path in BOOK}
LONGEST_CELL, WIDEST_CELL, LARGEST = 25, 100, 2_000_000


def cells(kind: str = "code") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every cell of a kind with its address, "notebook: cell n"."""
    for name, notebook in NOTEBOOKS.items():
        for position, cell in enumerate(notebook["cells"]):
            if kind in ("any", cell["cell_type"]):
                yield f"{name}: cell {position}", cell


def texts_of(cell: dict[str, Any]) -> list[str]:
    """The source of a cell and its textual outputs."""
    texts = [source_of(cell)]
    for output in cell.get("outputs", []):
        values = [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]
        texts += [value if isinstance(value, str) else "".join(value) for value in values]
    return texts


def headings(notebook: dict[str, Any]) -> list[str]:
    lines = [
        line for cell in notebook["cells"] if cell["cell_type"] == "markdown" for line in source_of(cell).splitlines()
    ]
    return [line.lstrip("#").strip() for line in lines if re.match(r"#{1,3} ", line)]


def matches(pattern: str) -> list[str]:
    """Where a pattern occurs in sources and textual outputs, with some context."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return [
        f"{where}: ...{text[max(0, hit.start() - 30) : hit.end() + 40]}..."
        for where, cell in cells("any")
        for text in texts_of(cell)
        if (hit := compiled.search(text))
    ]


def test_the_book_is_numbered_without_gaps() -> None:
    assert [int(path.stem[:2]) for path in BOOK] == list(range(len(BOOK)))
    assert [path.name for path in SOLUTIONS] == [path.name for path in BOOK]


def test_every_notebook_opens_with_a_title() -> None:
    firsts = {name: notebook["cells"][0] for name, notebook in NOTEBOOKS.items()}
    assert [n for n, c in firsts.items() if c["cell_type"] != "markdown" or not source_of(c).startswith("# ")] == []


def test_the_second_cell_and_no_other_holds_the_parameters() -> None:
    tagged = {
        name: [position for position, cell in enumerate(notebook["cells"]) if "parameters" in tags_of(cell)]
        for name, notebook in MAIN.items()
    }
    assert {name: where for name, where in tagged.items() if where != [1]} == {}
    assert [name for name, notebook in MAIN.items() if not default_parameters(notebook, name)] == []


def test_the_book_s_notebooks_end_with_exercises_and_where_next() -> None:
    ends = {name: [line.lower() for line in headings(notebook)[-8:]] for name, notebook in MAIN.items()}
    assert [n for n, last in ends.items() if "exercise" not in " | ".join(last) or "where next" not in last[-1]] == []


def test_code_cells_are_short_and_narrow() -> None:
    sizes = {where: source_of(cell).splitlines() for where, cell in cells()}
    assert {where: len(lines) for where, lines in sizes.items() if len(lines) > LONGEST_CELL} == {}
    assert [where for where, lines in sizes.items() if max(map(len, lines), default=0) > WIDEST_CELL] == []


def test_cells_ran_in_order_and_without_errors() -> None:
    wrong = []
    for name, notebook in NOTEBOOKS.items():
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and source_of(cell).strip()]
        counts = [cell["execution_count"] for cell in code]
        if counts != list(range(1, len(counts) + 1)) or error_outputs(notebook):
            wrong.append(name)
    assert wrong == [], "run them with: make notebooks"


def test_outputs_were_made_by_the_present_code() -> None:
    stale = {name: stale_cells(notebook) for name, notebook in NOTEBOOKS.items()}
    assert {name: changed for name, changed in stale.items() if changed} == {}, "run them with: make notebooks"


def test_no_widget_that_hangs_papermill() -> None:
    hanging = {"Output", "interact", "interactive", "interactive_output"}
    wrong = {}
    for where, cell in cells():
        tree = ast.parse(re.sub(r"^\s*[%!].*$", "", source_of(cell), flags=re.MULTILINE))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if names & hanging:
            wrong[where] = names & hanging
    assert wrong == {}


def test_nothing_dead_and_nothing_of_the_tools() -> None:
    wrong = [name for name, notebook in NOTEBOOKS.items() if set(notebook["metadata"]) & {"papermill", "widgets"}]
    for where, cell in cells("any"):
        dead = any(WIDGET_VIEW in output.get("data", {}) for output in cell.get("outputs", []))
        traces = set(cell["metadata"]) & {"papermill", "execution"}
        if dead or traces or {"injected-parameters", "papermill-error-cell-tag"} & set(tags_of(cell)):
            wrong.append(where)
    assert wrong == []


def test_every_notebook_is_small_enough() -> None:
    sizes = {name: (ROOT / "notebooks" / name).stat().st_size for name in NOTEBOOKS}
    assert {name: size for name, size in sizes.items() if size >= LARGEST} == {}


def test_no_absolute_paths() -> None:
    assert matches(r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|mnt|var|work|Users)/|[A-Z]:\\\\") == []


def test_no_picture_spells_a_path_by_chance() -> None:
    """Base64 may hold "/tmp/" with no path behind it; who searches the files for paths would find it all the same."""
    spelt = re.compile(r"/(?:home|root|tmp|usr|opt|mnt|var|work|Users)/")
    found = {
        where
        for where, cell in cells("any")
        for output in cell.get("outputs", [])
        for kind, data in output.get("data", {}).items()
        if kind.startswith("image/") and spelt.search("".join(data))
    }
    assert found == set()


def test_nothing_remote_is_embedded() -> None:
    assert matches(r"!\[[^\]]*\]\(https?:|<(?:img|script|link|iframe)[^>]*https?:") == []


def test_every_notebook_is_valid() -> None:
    nbformat = pytest.importorskip("nbformat")
    for notebook in NOTEBOOKS.values():
        nbformat.validate(nbformat.reads(json.dumps(notebook), as_version=4))


FEW_STEPS = {
    "01_problem_definition": ('steps = {"smoke": 300,', 'steps = {"smoke": 20,'),
    "05_popnet_stages": ('n_steps, width = {"smoke": 100,', 'n_steps, width = {"smoke": 14,'),
}
"""Lengths of toy trainings as committed and as run here: every line runs, and no assertion rests on what they learn."""


class Shortened(Job):
    """A notebook whose toy trainings take few steps."""

    def notebook(self) -> dict[str, Any]:
        notebook = super().notebook()
        long, short = FEW_STEPS[self.source.stem]
        (cell,) = [cell for cell in notebook["cells"] if long in source_of(cell)]
        cell["source"] = source_of(cell).replace(long, short)
        return notebook


NOTHING = """own = {"In", "Out", "get_ipython"}
for name in [one for one in globals() if one not in own and not one.startswith("_")]:
    del globals()[name]
"""
"""Leaves a kernel without names, as %reset does, which looks through all memory besides."""


class Joined(Job):
    """All solutions in one notebook and one kernel, which imports once; each of them begins with no names."""

    def notebook(self) -> dict[str, Any]:
        joined = load_notebook(self.source)
        sources = []
        for path in SOLUTIONS:
            own = load_notebook(path)
            assert default_parameters(own, path.name).get("profile", "smoke") == "smoke"
            codes = [source_of(cell) for cell in own["cells"] if cell["cell_type"] == "code"]
            sources += [NOTHING, *(f"# {path.name}\n{code}" for code in codes)]  # a failure names its first line
        empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        joined["cells"] = [{**empty, "id": f"c{n}", "source": source} for n, source in enumerate(sources)]
        return joined


def executed(kind: type[Job], path: Path, folder: Path, data: Path, **parameters: str) -> str:
    """Execute a notebook as papermill does; returns why it failed, or nothing."""
    pytest.importorskip("papermill")
    environment = {"OSHP_DATA": str(data), "OSHP_RUNS": str(folder / "runs"), "OMP_NUM_THREADS": "1"}
    return run_job(kind(path, folder / path.name, parameters, timeout=900, environment=environment))


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", BOOK, ids=lambda path: path.stem)
def test_runs_under_papermill(path: Path, tmp_path: Path, drawn_people: Path) -> None:
    known = default_parameters(load_notebook(path), path.name)
    kind, profile = Shortened if path.stem in FEW_STEPS else Job, {"profile": "smoke"} if "profile" in known else {}
    assert executed(kind, path, tmp_path, drawn_people, **profile) == ""


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_solutions_run_under_papermill(tmp_path: Path, drawn_people: Path) -> None:
    assert executed(Joined, SOLUTIONS[0], tmp_path, drawn_people) == ""


@pytest.mark.notebook
@pytest.mark.slow
def test_nbval_finds_what_a_solution_no_longer_prints(tmp_path: Path) -> None:
    pytest.importorskip("nbval")
    committed = ROOT / "notebooks/solutions/11_inspect.ipynb"
    altered = load_notebook(committed)
    *_, last = [cell for cell in altered["cells"] if cell["cell_type"] == "code"]
    (output,) = last["outputs"]
    output["text"] = "something else"
    other = tmp_path / "altered.ipynb"
    other.write_text(json.dumps(altered))
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", "-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-m", "pytest", *options, str(committed), str(other)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.startswith("...F"), ended.stdout  # of two cells each, the last one alone
