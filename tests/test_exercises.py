"""The exercises as a whole: each has a stub in its notebook and a solution that its checker accepts."""

from __future__ import annotations

import ast
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from oshp_lite.book.exercises import Verdict, nb03
from oshp_lite.book.exercises.frame import call, drawn_checker, require
from oshp_lite.viz.style import new_figure

BOOK = Path(__file__).parents[1] / "notebooks"
NUMBERS = [path.name[:2] for path in sorted(BOOK.glob("[0-9]*.ipynb"))]


def code_of(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_notebook_satisfies_every_checker(number: str) -> None:
    (path,) = (BOOK / "solutions").glob(f"{number}_*.ipynb")
    space: dict[str, Any] = {}
    verdicts: list[Any] = []
    for source in code_of(path):
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), space)
        if isinstance(last, ast.Expr):
            verdicts.append(eval(compile(ast.Expression(last.value), path.name, "eval"), space))
    checks = [name for name in vars(import_module(f"oshp_lite.book.exercises.nb{number}")) if name.startswith("check_")]
    assert len(verdicts) == len(checks)
    assert all(verdict.ok for verdict in verdicts), verdicts


@pytest.mark.parametrize("number", NUMBERS)
def test_the_notebook_sets_every_exercise(number: str) -> None:
    (path,) = BOOK.glob(f"{number}_*.ipynb")
    stubs = [source for source in code_of(path) if "return NOT_ATTEMPTED" in source]
    checks = {name for name in vars(import_module(f"oshp_lite.book.exercises.nb{number}")) if name.startswith("check_")}
    assert {stub.rsplit("(", 1)[0].rsplit(".", 1)[-1] for stub in stubs} == checks


def test_the_learner_cannot_spoil_the_checkers_tensors() -> None:
    def greedy(features: torch.Tensor, masks: torch.Tensor, class_id: int) -> torch.Tensor:
        inside = masks == class_id
        result = (features * inside[:, None]).sum((0, 2, 3)) / inside.sum().clamp(min=1)
        features.zero_()
        masks.zero_()
        return result

    assert nb03.check_shots(greedy).ok


def test_a_verdict_says_what_it_is() -> None:
    assert repr(Verdict(True, "yes")) == "correct: yes"
    assert repr(Verdict(False, "no")) == "not yet: no"


@drawn_checker(lambda attempt: new_figure(width=float(attempt(2)))[0])
def double(attempt: Any) -> str:
    """Check `f(2) == 4` and draw a figure as wide as the result."""
    require(call(attempt, 2) == 4, "that is not twice the number")
    return "twice"


def test_the_learner_s_output_is_drawn_right_or_wrong() -> None:
    right, wrong, undrawable = (double(f) for f in (lambda x: 2 * x, lambda x: x + 1, lambda x: "wide"))
    assert [verdict.ok for verdict in (right, wrong, undrawable)] == [True, False, False]
    assert [right.picture.width, wrong.picture.width, undrawable.picture] == [400, 300, None]


def test_a_notebook_shows_the_verdict_s_line_and_its_picture(capsys: pytest.CaptureFixture[str]) -> None:
    double(lambda x: x + 1)._ipython_display_()
    printed = capsys.readouterr().out
    assert "not yet: that is not twice the number" in printed
    assert "your output" in printed


def test_a_verdict_keeps_the_learner_s_traceback() -> None:
    def fails(x: int) -> int:
        return x // 0

    said = repr(double(fails))
    assert said.startswith("not yet: your function stopped with ZeroDivisionError")
    assert "return x // 0" in said
    assert "frame.py" not in said
    assert "Traceback" not in repr(double(lambda x: 3))
