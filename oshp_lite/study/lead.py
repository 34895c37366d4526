"""What EOP-Net's lead is made of: paired differences that isolate one advantage each, from the records of the runs.

The parts overlap and do not add up to the lead: each is what changes when one thing alone is taken away, or given to
both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from oshp_lite.study.experiments import METHODS
from oshp_lite.study.quantities import FIRM_SEEDS, Outcome, Quantity, Side, Untestable
from oshp_lite.study.records import CONDITIONS, Results

CONTENDERS = ("popnet", "sgone", "panet")
"""Methods over which the lead is taken apart."""
MEASURES = ("novel", "human")
OWN = ""
"""In place of a contender: parts of EOP-Net itself."""


@dataclass(frozen=True)
class Part:
    """One part of the lead over a contender (OWN for EOP-Net's own parts): a paired difference, in points."""

    title: str
    quantity: Quantity


def parts(contender: str, measure: str) -> Iterator[Part]:
    """Yield the parts of EOP-Net's lead over a contender, or its own (OWN), by "novel" or "human"; the lead first."""
    own = Side("eopnet", measure=measure)
    if not contender:
        less = replace(own, weight=-1.0)
        yield _part("contrastive loss", own, replace(less, ablation="dml-coarse"))
        yield _part("momentum prototypes", own, replace(less, ablation="static"))
        return
    other = Side(contender, measure=measure, weight=-1.0)
    yield _part("the lead", own, other)
    with_mask = (replace(one, weight=-one.weight, condition=CONDITIONS[1]) for one in (own, other))
    yield _part("person mask in training", own, other, *with_mask)
    yield _part("screening at test", replace(other, weight=1.0, screened=True), other)
    if measure == "novel":
        there = (replace(one, weight=-one.weight, measure="novel_present") for one in (own, other))
        yield _part("rejection of absent classes", own, other, *there)


def _part(title: str, *sides: Side) -> Part:
    return Part(title, Quantity(title, "difference", sides))


def words(results: Results, dataset: str) -> str:
    """Return what the lead on a dataset is made of as Markdown, in novel mIoU; what was not run is named as such."""
    lines = []
    for contender in (*CONTENDERS, OWN):
        measured, lacking = [], dict[str, list[str]]()
        for part in parts(contender, "novel"):
            outcome = part.quantity.measure(results, dataset)
            if isinstance(outcome, Outcome):
                measured.append((part.title, _points(outcome)))
            else:
                word = "not testable here" if isinstance(outcome, Untestable) else "not run"
                lacking.setdefault(word, []).append(part.title)
        head = "EOP-Net's own parts"
        if contender:
            head = f"EOP-Net minus {METHODS[contender].label}"
            if measured and measured[0][0] == "the lead":
                head = f"{head}: {measured.pop(0)[1]}"
        said = [f"{'Part' if contender else 'Worth'} of the {title}: {points}." for title, points in measured]
        said += [f"*{word.capitalize()}*: {', '.join(titles)}." for word, titles in lacking.items()]
        lines.append(f"* **{head}.** {' '.join(said)}")
    return "\n".join(lines)


def _points(outcome: Outcome) -> str:
    """Return a difference with its interval, whether that leaves its sign open, and few seeds."""
    known = [f"{outcome.seeds} seed{'s' * (outcome.seeds > 1)}"] if outcome.seeds < FIRM_SEEDS else []
    known += ["sign open"] if outcome.low <= 0 <= outcome.high else []
    beside = f" ({', '.join(known)})" if known else ""
    return f"{outcome.mean:+z.1f} [{outcome.low:z.1f}, {outcome.high:z.1f}] points{beside}"
