"""The ledger's one rule: from measured quantities to verdicts.

A claim is a list of quantities that it says are above zero. A quantity whose 95 % interval lies above zero holds; one
whose interval lies below zero does not; an interval that contains zero leaves it open. A claim is reproduced when all
of its quantities hold, not reproduced when one of them does not, not run when one of them could not be measured (and
none fails), and undecided otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from oshp_lite.study.claims.quantities import Outcome, Quantity
from oshp_lite.study.records import NotRun, Results

VERDICTS = ("reproduced", "not reproduced", "undecided", "not run")
Word = Literal["reproduced", "not reproduced", "undecided", "not run"]

FIRM_SEEDS = 3
"""Trainings from which on a row is shown in full colour; fewer say little of another training. Decides nothing."""


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, in our words.

    id        its name in the file of findings
    paper     "journal" (EOP-Net) or "aaai" (POPNet)
    where     section, table or figure
    says      the statement
    parts     the quantities that decide it, all of which must be above zero
    also      quantities shown beside it that decide nothing (rows that the papers do not have, screened contenders)
    families  the dataset families it is about; "ccp" is ours and stands beside them
    decides   for readers: which runs and which measure decide
    """

    id: str
    paper: Literal["journal", "aaai"]
    where: str
    says: str
    parts: tuple[Quantity, ...]
    decides: str
    families: tuple[str, ...] = ("atr", "lip", "cihp", "ccp")
    also: tuple[Quantity, ...] = ()


@dataclass(frozen=True)
class Part:
    """One quantity of a claim, measured: its verdict, and the paper's own value where it prints one."""

    label: str
    verdict: Word
    outcome: Outcome | NotRun
    printed: float | None = None

    @property
    def figures(self) -> str:
        """The value with its interval, "+1.8 [0.4, 3.1] points (seed 0: EOP-Net 31.1, POPNet 29.3)", or the reason."""
        if isinstance(self.outcome, NotRun):
            return self.outcome.reason
        found = self.outcome
        digits, unit = {"points": (1, " points"), "relative": (2, ""), "correlation": (2, "")}[found.unit]
        interval = ""
        if found.high == float("inf"):
            interval = " [no interval: too few runs]"
        elif found.low < found.high:
            digits = _digits((found.low, found.high), digits)
            interval = f" [{found.low:z.{digits}f}, {found.high:z.{digits}f}]"
        return f"{found.mean:+z.{digits}f}{interval}{unit}" + (f" ({found.shown})" if found.shown else "")


def _digits(ends: tuple[float, float], digits: int) -> int:
    """Return how many decimals the ends of an interval need: none reads as zero unless it is, as its sign decides."""
    while digits < 4 and any(end and not float(f"{end:.{digits}f}") for end in ends):
        digits += 1
    return digits


@dataclass(frozen=True)
class Verdict:
    """A claim on one dataset: the verdict, its parts, and our finding (or "")."""

    claim: Claim
    dataset: str
    word: Word
    parts: tuple[Part, ...]
    also: tuple[Part, ...] = ()
    finding: str = ""

    @property
    def seeds(self) -> str:
        """The number of seeds behind the parts, "1" or "1-3", "" where there are none."""
        found = sorted({outcome.seeds for outcome in self._outcomes if not outcome.basis})
        return "" if not found else f"{found[0]}" if len(found) == 1 else f"{found[0]}-{found[-1]}"

    @property
    def basis(self) -> str:
        """What the parts rest on: "1-3 seeds", "a count", "timed once", "" for nothing."""
        seeds = f"{self.seeds} seed{'' if self.seeds == '1' else 's'}" if self.seeds else ""
        others = dict.fromkeys(outcome.basis for outcome in self._outcomes)
        return ", ".join(words for words in (seeds, *others) if words)

    @property
    def measured(self) -> bool:
        """True when one part was measured at least."""
        return bool(self._outcomes)

    @property
    def firm(self) -> bool:
        """True when every part was measured and rests on three seeds at least, or on a count."""
        rests = [outcome.basis == "a count" or outcome.seeds >= FIRM_SEEDS for outcome in self._outcomes]
        return len(rests) == len(self.parts) and all(rests)

    @property
    def _outcomes(self) -> list[Outcome]:
        return [part.outcome for part in self.parts if isinstance(part.outcome, Outcome)]

    @property
    def folds(self) -> str:
        """The folds behind the parts, "1" or "1, 2", "" where folds do not matter."""
        found = {fold for outcome in self._outcomes for fold in outcome.folds}
        return ", ".join(map(str, sorted(found)))

    @property
    def reason(self) -> str:
        """Why the claim was not run, without repeats; "" for other verdicts."""
        if self.word != "not run":
            return ""
        reasons = (part.outcome.reason for part in self.parts if isinstance(part.outcome, NotRun))
        single = [piece for reason in reasons for piece in reason.split("; ")]
        return "; ".join(dict.fromkeys(single))


def decide(outcome: Outcome | NotRun) -> Word:
    """Return the verdict on one quantity: on which side of zero its interval lies."""
    if isinstance(outcome, NotRun):
        return "not run"
    if outcome.low > 0:
        return "reproduced"
    if outcome.high < 0:
        return "not reproduced"
    return "undecided"


def together(words: Iterable[Word]) -> Word:
    """Return the verdict on a claim from those on its quantities."""
    found = set(words)
    for word in ("not reproduced", "not run", "undecided"):
        if word in found:
            return word
    return "reproduced"


def judge(claim: Claim, results: Results, dataset: str, family: str, finding: str = "") -> Verdict:
    """Return the verdict on a claim for one dataset of a family."""

    def measured(quantities: Iterable[Quantity]) -> tuple[Part, ...]:
        made = []
        for quantity in quantities:
            outcome = quantity.measure(results, dataset)
            made.append(Part(quantity.label, decide(outcome), outcome, quantity.printed(family)))
        return tuple(made)

    parts = measured(claim.parts)
    return Verdict(claim, dataset, together(part.verdict for part in parts), parts, measured(claim.also), finding)
