"""The claims of the two papers that numbers can decide, the one rule that decides them, and the ledger of verdicts.

A claim is a list of quantities that it says are above zero (`claims.yaml` declares them). A quantity whose 95 %
interval lies above zero holds; one whose interval lies below zero does not; an interval that contains zero leaves it
open. A claim is reproduced when all of its quantities hold, not reproduced when one of them does not, not run when one
of them could not be measured (and none fails), and undecided otherwise.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS, families
from oshp_lite.study.quantities import Outcome, Quantity, Side
from oshp_lite.study.records import Measured, NotRun, Results
from oshp_lite.study.tables.table import fill

VERDICTS = ("reproduced", "not reproduced", "undecided", "not run")
Word = Literal["reproduced", "not reproduced", "undecided", "not run"]
FIRM_SEEDS = 3
"""Trainings from which on a row counts as firm; fewer say little of another training. Decides nothing."""
PAPERS = {"journal": "EOP-Net paper", "aaai": "POPNet paper"}
COLUMNS = (
    *("claim", "paper", "where", "statement", "dataset", "verdict", "figures"),
    *("paper's figures", "folds", "seeds", "finding"),
)
_MARKS = {"reproduced": "✓", "not reproduced": "✗", "undecided": "?", "not run": "-"}
_MEASURES = {
    "novel": "novel mIoU",
    "human": "human mIoU",
    "base": "base mIoU",
    "accuracy": "overall accuracy",
    "bi_miou": "Bi-mIoU",
    "novel_accuracy": "novel accuracy",
    "base_accuracy": "base accuracy",
    "base-novel": "base minus novel mIoU",
}
_COSTS = {"params_m": "parameters", "macs_g": "MACs", "fps": "frames per second"}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, in our words.

    paper     "journal" (EOP-Net) or "aaai" (POPNet)
    where     section, table or figure
    parts     the quantities that decide it, all of which must be above zero
    also      quantities shown beside it that decide nothing (rows that the papers do not have, screened contenders)
    families  the dataset families it is about; "ccp" is ours and stands beside them
    decides   for readers: which runs and which measure decide
    findings  dataset -> what we say where it does not reproduce
    """

    id: str
    paper: str
    where: str
    statement: str
    parts: tuple[Quantity, ...]
    decides: str = ""
    families: tuple[str, ...] = ("atr", "lip", "cihp", "ccp")
    also: tuple[Quantity, ...] = ()
    findings: Mapping[str, str] = field(default_factory=dict, hash=False)


# ------------------------------------------------------------------------------------------------- reading the table


def side(text: str, protocol: str = "journal", way: str = "k", **more: Any) -> Side:
    """Return the runs that `method:ablation/condition@way` names. UserError for an unknown method."""
    named = re.fullmatch(r"([a-z_]+)(?::([\w.-]+))?(?:/([a-z-]+))?(?:@([k1]))?", text)
    if named is None or named[1] not in METHODS:
        raise UserError(f"{text!r} in claims.yaml names no runs; write method:ablation/condition@way")
    own: Any = named[4] or way
    return Side(named[1], named[2] or "", own, protocol=protocol, condition=named[3] or "", **more)


def quantities(part: Mapping[str, Any], protocol: str = "journal") -> Iterator[Quantity]:
    """Yield the quantities of one part as `claims.yaml` writes it. UserError for a part of no known form."""
    if "sum" in part:
        signed = [(sign, side(run, protocol), measure) for sign, run, measure in map(str.split, part["sum"])]
        sides = tuple(replace(one, measure=measure, weight=float(f"{sign}1")) for sign, one, measure in signed)
        kind, bound = ("within", part["within"]) if "within" in part else ("difference", part.get("margin", 0))
        yield Quantity(part["label"], kind, sides, float(bound))
    elif "kind" in part:
        sides = tuple(side(run, protocol, measure=part.get("by", "human")) for run in _listed(part["of"]))
        yield Quantity(part["label"], part["kind"], sides)
    elif "cost" in part:
        yield _cost(part, protocol)
    elif "above" in part:
        margin, way = float(part.get("margin", 0)), str(part.get("way", "k"))
        for measure in _listed(part["by"]):
            for first in _listed(part["first"]):
                for other in _listed(part["above"]):
                    one = side(first, protocol, way, measure=measure)
                    two = side(other, protocol, way, measure=measure, weight=-1.0, screened=part.get("screened", False))
                    yield Quantity(_above(one, two, margin), "difference", (one, two), margin)
    else:
        raise UserError(f"a part of claims.yaml has no known form: {dict(part)}")


def _above(one: Side, two: Side, margin: float) -> str:
    """Return the words for one side above another."""
    words = _MEASURES[one.measure]
    if one.way != two.way:
        return f"{words} of {one.name}: {one.way}-way above {two.way}-way"
    more = f"more than {margin:g} points " if margin else ""
    return f"{words}: {one.name} {more}above {two.name}{' (1-way)' if one.way == '1' else ''}"


def _cost(part: Mapping[str, Any], protocol: str) -> Quantity:
    direction = "above" if "above" in part else "below"
    first = side(part["first"], protocol, weight=1.0 if direction == "above" else -1.0)
    second, ratio = side(part[direction], protocol), float(part.get("ratio", 1))
    against = f"{direction} {second.name}" if ratio == 1 else f"at most {ratio:g} of {second.name}'s"
    return Quantity(f"{_COSTS[part['cost']]}: {first.name} {against}", "cost", (first, second), ratio, part["cost"])


def _listed(given: Any) -> list[str]:
    """Return one text or a (nested) list of texts as a flat list."""
    return [given] if isinstance(given, str) else [text for one in given for text in _listed(one)]


def _filled(given: Any, words: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> Any:
    """Return a part with names of groups ("$kway") and of what a claim is repeated for ("{measure}") put in."""
    if isinstance(given, str):
        return list(groups[given[1:]]) if given.startswith("$") else given.format_map(words)
    if isinstance(given, list):
        return [_filled(one, words, groups) for one in given]
    return {name: _filled(value, words, groups) for name, value in given.items()} if isinstance(given, dict) else given


def read_claims(text: str) -> tuple[Claim, ...]:
    """Return the claims of a table of claims (YAML). UserError where it cannot be understood."""
    table = yaml.safe_load(text)
    groups = {**table["groups"], "beside": [name for name, method in METHODS.items() if not method.kway_in_papers]}
    return tuple(claim for section in table["sections"] for claim in _section(section, groups))


def _section(section: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Iterator[Claim]:
    for entry in section["claims"]:
        findings, plain = entry.get("findings", {}), {name: entry[name] for name in entry if name != "findings"}
        for measure, words in entry.get("each", {"": ""}).items():
            put = {"measure": measure, "words": words, "short": measure.split("_")[0]}
            one = {"datasets": section["datasets"], **_filled(plain, put, groups)}
            parts, also = (
                tuple(quantity for part in one.get(name, ()) for quantity in quantities(part, section["paper"]))
                for name in ("parts", "also")
            )
            texts = {name: one[name] for name in ("id", "where", "statement", "decides")}
            own = findings.get(measure, {}) if measure else findings
            families = tuple(one["datasets"])
            yield Claim(paper=section["paper"], parts=parts, also=also, families=families, findings=own, **texts)


CLAIMS = read_claims((resources.files("oshp_lite.study") / "claims.yaml").read_text(encoding="utf-8"))


# ----------------------------------------------------------------------------------------------------- the one rule


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
        outcome = self.outcome
        digits, unit = {"points": (1, " points"), "relative": (2, ""), "correlation": (2, "")}[outcome.unit]
        interval = ""
        if outcome.high == float("inf"):
            interval = " [no interval: too few runs]"
        elif outcome.low < outcome.high:
            ends = (outcome.low, outcome.high)
            while digits < 4 and any(end and not float(f"{end:.{digits}f}") for end in ends):
                digits += 1  # no end reads as zero unless it is, since its sign decides
            interval = f" [{outcome.low:z.{digits}f}, {outcome.high:z.{digits}f}]"
        levels = f" ({outcome.levels})" if outcome.levels else ""
        return f"{outcome.mean:+z.{digits}f}{interval}{unit}{levels}"


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
    def outcomes(self) -> list[Outcome]:
        """The parts that were measured."""
        return [part.outcome for part in self.parts if isinstance(part.outcome, Outcome)]

    @property
    def seeds(self) -> str:
        """The number of seeds behind the parts, "1" or "1-3", "" where there are none."""
        counts = sorted({outcome.seeds for outcome in self.outcomes if not outcome.basis})
        return "-".join(str(count) for count in dict.fromkeys([*counts[:1], *counts[-1:]]))

    @property
    def basis(self) -> str:
        """What the parts rest on: "1-3 seeds", "a count", "timed once", "" for nothing."""
        seeds = f"{self.seeds} seed{'' if self.seeds == '1' else 's'}" if self.seeds else ""
        others = dict.fromkeys(outcome.basis for outcome in self.outcomes)
        return ", ".join(words for words in (seeds, *others) if words)

    @property
    def measured(self) -> bool:
        """True when one part was measured at least."""
        return bool(self.outcomes)

    @property
    def firm(self) -> bool:
        """True when every part was measured and rests on three seeds at least, or on a count."""
        rests = [outcome.basis == "a count" or outcome.seeds >= FIRM_SEEDS for outcome in self.outcomes]
        return len(rests) == len(self.parts) and all(rests)

    @property
    def folds(self) -> str:
        """The folds behind the parts, "1" or "1, 2", "" where folds do not matter."""
        return ", ".join(map(str, sorted({fold for outcome in self.outcomes for fold in outcome.folds})))

    @property
    def reason(self) -> str:
        """Why the claim was not run, without repeats; "" for other verdicts."""
        reasons = (part.outcome.reason for part in self.parts if isinstance(part.outcome, NotRun))
        pieces = [piece for reason in reasons for piece in reason.split("; ")]
        return "; ".join(dict.fromkeys(pieces)) if self.word == "not run" else ""


def decide(outcome: Outcome | NotRun) -> Word:
    """Return the verdict on one quantity: on which side of zero its interval lies."""
    if isinstance(outcome, NotRun):
        return "not run"
    if outcome.low > 0:
        return "reproduced"
    return "not reproduced" if outcome.high < 0 else "undecided"


def together(words: Iterable[Word]) -> Word:
    """Return the verdict on a claim from those on its quantities."""
    present, order = set(words), ("not reproduced", "not run", "undecided")
    return next((word for word in order if word in present), "reproduced")


def judge(claim: Claim, results: Results, dataset: str, family: str, finding: str = "") -> Verdict:
    """Return the verdict on a claim for one dataset of a family."""
    parts, also = (
        tuple(Part(one.label, decide(outcome), outcome, one.printed(family)) for one, outcome in measured)
        for measured in ([(one, one.measure(results, dataset)) for one in group] for group in (claim.parts, claim.also))
    )
    return Verdict(claim, dataset, together(part.verdict for part in parts), parts, also, finding)


# -------------------------------------------------------------------------------------------------------- the ledger


def ledger(
    results: Results,
    profile: str = "lite",
    claims: Iterable[Claim] = CLAIMS,
    costs: Sequence[Mapping[str, Any]] = (),
) -> list[Verdict]:
    """Return the verdicts of all claims on all datasets of a profile, claim by claim.

    costs  what `study.cost` wrote, as for the tables; the one closest to the paper's setting decides
    """
    results = results.with_costs(_costs_by_method(costs)) if costs else results
    datasets = families(profile)
    return [
        judge(claim, results, name, family, with_numbers(claim.findings.get(name, ""), results))
        for claim in claims
        for family, name in datasets.items()
        if family in claim.families
    ]


def _costs_by_method(costs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Take the costs of the official encoder at the largest size, if there are any (journal, section 6.7: 512 px)."""
    chosen = max(costs, key=lambda one: (one.get("variant") == "official", int(one.get("size", 0))))
    return {
        row["method"]: {name: float(row[name]) for name in _COSTS if row.get(name) is not None}
        for row in chosen["rows"]
    }


@cache
def _place(text: str) -> tuple[Side, str, str]:
    run, measure, dataset = text.split()
    return side(run), measure, dataset


def with_numbers(text: str, results: Results) -> str:
    """Fill the numbers of a finding: "{sgone/papers novel synth-atr}" is that score of fold 1, seed 0, in points."""

    def number(match: re.Match[str]) -> str:
        run, measure, dataset = _place(match[1])
        measured = results.get(run.key(dataset))
        return format(100 * measured.score(measure), match[2] or ".1f") if isinstance(measured, Measured) else "not run"

    return re.sub(r"\{([^{}]+?)(?::(\.\df))?\}", number, text)


def summary(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many rows (a claim on a dataset) have each verdict."""
    counted = Counter(verdict.word for verdict in verdicts)
    return {word: counted[word] for word in VERDICTS}  # type: ignore[index]


def summary_line(verdicts: Sequence[Verdict]) -> str:
    """Return the count in words, with what the rule can and cannot promise."""
    counts, claims = summary(verdicts), len({verdict.claim.id for verdict in verdicts})
    words = ", ".join(f"{counts[word]} {word}" for word in VERDICTS)
    decided = sum(counts[word] for word in VERDICTS[:3])
    line = f"{claims} claims, {len(verdicts)} rows (a claim on a dataset): {words}."
    if not decided:
        return line
    firm = sum(verdict.firm for verdict in verdicts)
    return (
        f"{line} A verdict rests on 95 % intervals over test photos (and over seeds, where there are several), so some "
        f"of the {decided} rows with figures may stand on the wrong side by chance. "
        f"{firm} of them rest{'s' if firm == 1 else ''} on three seeds throughout or on a count; where there is one "
        "seed, the interval knows nothing of another training."
    )


def missing_findings(verdicts: Sequence[Verdict]) -> list[str]:
    """Return "claim on dataset" for every claim that did not reproduce and has no finding written."""
    return [f"{one.claim.id} on {one.dataset}" for one in verdicts if one.word == "not reproduced" and not one.finding]


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, str]]:
    """Return the ledger as plain rows, one a claim and dataset; keys are `COLUMNS`."""
    made = []
    for one in verdicts:
        claim = one.claim
        figures = one.reason or "; ".join(f"{part.label}: {part.figures}" for part in one.parts)
        printed = ", ".join(f"{part.printed:+g}" for part in one.parts if part.printed is not None)
        cells = (claim.id, PAPERS[claim.paper], claim.where, claim.statement, one.dataset, one.word, figures, printed)
        made.append(dict(zip(COLUMNS, (*cells, one.folds, one.seeds or one.basis, one.finding), strict=True)))
    return made


def to_csv(verdicts: Sequence[Verdict]) -> str:
    """Return the ledger as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(verdicts))
    return stream.getvalue()


def _grouped(verdicts: Sequence[Verdict]) -> list[tuple[Claim, list[Verdict]]]:
    grouped: dict[str, tuple[Claim, list[Verdict]]] = {}
    for verdict in verdicts:
        grouped.setdefault(verdict.claim.id, (verdict.claim, []))[1].append(verdict)
    return list(grouped.values())


def to_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the ledger as Markdown: the count, a table of verdicts, and the findings below it."""
    datasets = list(dict.fromkeys(verdict.dataset for verdict in verdicts))
    lines = [
        summary_line(verdicts),
        "",
        f"| claim | where | {' | '.join(datasets)} |",
        "|---" * (2 + len(datasets)) + "|",
    ]
    findings = []
    for claim, mine in _grouped(verdicts):
        words = {verdict.dataset: verdict.word for verdict in mine}
        cells = " | ".join(words.get(dataset, "") for dataset in datasets)
        lines.append(f"| {claim.statement} | {PAPERS[claim.paper]}, {claim.where} | {cells} |")
        findings += [f"* {claim.statement} ({where}) {finding}" for where, finding in _findings(mine)]
    return "\n".join([*lines, *(["", "Findings:", "", *findings] if findings else [])]) + "\n"


def to_html(verdicts: Sequence[Verdict], *, styled: bool = True) -> str:
    """Return the ledger as HTML: the count, then a row for each claim with its verdicts; figures unfold on a click.

    Verdicts are words with a mark, so nothing rests on colour. `styled=False` where the page has the style already.
    """
    claims = [
        {
            "statement": claim.statement,
            "where": f"{PAPERS[claim.paper]}, {claim.where}",
            "decides": claim.decides,
            "verdicts": {verdict.dataset: verdict for verdict in mine},
            "unmeasured": _unmeasured(mine),
            "findings": _findings(mine),
        }
        for claim, mine in _grouped(verdicts)
    ]
    datasets = list(dict.fromkeys(verdict.dataset for verdict in verdicts))
    known = {"datasets": datasets, "claims": claims, "marks": _MARKS, "brief": _brief}
    return fill("ledger.html", summary=summary_line(verdicts), styled=styled, **known)


def _findings(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Return ("synth-atr, ccp-os, not reproduced", finding) of one claim's rows, equal findings once."""
    datasets: dict[tuple[str, str], list[str]] = {}
    for one in verdicts:
        if one.finding:
            datasets.setdefault((one.finding, one.word), []).append(one.dataset)
    return [(", ".join([*names, word]), finding) for (finding, word), names in datasets.items()]


def _unmeasured(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Return ("synth-lip, synth-cihp", "not run yet") of the datasets on which nothing of a claim was measured."""
    by_reason: dict[str, list[str]] = {}
    for one in verdicts:
        if not one.measured:
            pieces = [_brief(piece) for piece in one.reason.split("; ")]
            reasons = dict.fromkeys(piece.partition(": ")[2] or piece for piece in pieces)
            by_reason.setdefault("; ".join(reasons), []).append(one.dataset)
    return [(", ".join(datasets), reason) for reason, datasets in by_reason.items()]


def _brief(reason: str) -> str:
    """Leave out of a reason how SAM's weights are fetched: notebook 08 says it once."""
    return re.sub(r"(needs SAM weights):[^;]*", r"\1 (see notebook 08)", reason)
