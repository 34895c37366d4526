"""Every numbered equation of both papers, the function that holds it, and the test that checks that function.

The list is `equations.yaml`; `tests/test_equations.py` checks that it is complete and true. Where the papers print one
form and the released code computes another, `note` says so, with the row of the list of such differences (notebook 06).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, resources
from operator import attrgetter
from typing import Any, cast

from oshp_lite.files import parse_yaml

JOURNAL, AAAI = "journal", "aaai"


@dataclass(frozen=True)
class Equation:
    """One numbered equation.

    paper     "journal" (EOP-Net) or "aaai" (POPNet); number as printed
    says      what it states, in our words; latex: its formula, without the dollar signs
    notebook  the notebook that builds it by hand
    function  where it lives, as module:name
    note      where paper and released code differ, else empty
    """

    paper: str
    number: int
    notebook: int
    function: str
    says: str
    latex: str
    note: str = ""

    @property
    def test(self) -> str:
        """The pytest node that checks it against an independent float64 computation."""
        return f"tests/test_equations.py::test_{self.paper}_{self.number}"

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return self.function.partition(":")[0]

    @property
    def name(self) -> str:
        """The function's (or class's) own name."""
        return self.function.partition(":")[2]

    def load(self) -> Callable[..., Any]:
        """Import and return the function; raises ImportError, AttributeError or TypeError when it has moved."""
        target = attrgetter(self.name)(import_module(self.module))
        if not callable(target):
            raise TypeError(f"{self.function} is not callable")
        return cast(Callable[..., Any], target)


EQUATIONS: tuple[Equation, ...] = tuple(
    Equation(**entry)
    for entry in parse_yaml(resources.files("oshp_lite.book").joinpath("equations.yaml").read_text("utf-8"))
)


def equation(paper: str, number: int) -> Equation:
    """Return one equation; raises KeyError for a number the paper does not have."""
    entry = next((one for one in EQUATIONS if (one.paper, one.number) == (paper, number)), None)
    if entry is None:
        raise KeyError(f"no equation {number} in {paper!r}")
    return entry


def equation_table(paper: str | None = None) -> str:
    """Return the table "equation, function, test" as Markdown, of one paper or of both."""
    rows = ["| equation | what it says | function | test | built in |", "|---|---|---|---|---|"]
    for entry in EQUATIONS:
        if paper in (None, entry.paper):
            where, what = f"{entry.paper} ({entry.number})", entry.says
            test = entry.test.partition("::")[2]
            rows.append(f"| {where} | {what} | `{entry.name}` | `{test}` | {entry.notebook:02d} |")
    return "\n".join(rows)
