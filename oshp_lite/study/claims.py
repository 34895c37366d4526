"""The claims of the two papers that numbers can decide, the one rule that decides them, and the ledger of verdicts.

A claim is a list of quantities that it says are above zero (`claims.yaml` declares them). A quantity whose 95 %
interval lies above zero holds; one whose interval lies below zero does not; an interval that contains zero leaves it
open, and so does, with fewer than three trainings a side, one that comes within TRAINING_NOISE points of zero. A claim
is reproduced when all of its quantities hold, not reproduced when one of them does not, not run when one of them could
not be measured (and none fails), and undecided otherwise. Not testable here: the study's protocol removes what the
claim is about (declared, with the reason), or nothing that it compares can decide, such as collapsed methods; a single
quantity that cannot decide is left out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import product
from statistics import fmean
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml
from oshp_lite.models.registry import METHODS as REGISTERED
from oshp_lite.study.experiments import METHODS, families, label_domains
from oshp_lite.study.quantities import COSTS, FIRM_SEEDS, TRAINING_NOISE, Costs, Outcome, Quantity, Side
from oshp_lite.study.quantities import verdict as decide
from oshp_lite.study.records import NotRun, Results
from oshp_lite.study.tables.people import measure_words
from oshp_lite.study.tables.table import fill

PAPERS = {"journal": "EOP-Net paper", "aaai": "POPNet paper", "sst": "SST paper", "instance": "BMVC paper"}
PROTOCOLS = {"journal": "", "aaai": "aaai", "sst": "whole", "instance": "whole"}
"""Of each paper's runs; "": the journal's folds, or a dataset's own."""
COLUMNS = (
    *("claim", "paper", "where", "statement", "dataset", "verdict", "figures"),
    *("paper's figures", "folds", "seeds", "finding"),
)
MARKS = {"reproduced": "✓", "not reproduced": "✗", "undecided": "?", "not testable here": "○", "not run": "-"}
VERDICTS = tuple(MARKS)
_UNITS = {"points": (1.0, " points"), "relative": (100.0, " %"), "correlation": (1.0, "")}
_WORDS = {"accuracy": "overall accuracy", "bi_miou": "Bi-mIoU", "novel_accuracy": "novel accuracy"}
_WORDS |= {
    "base-novel": "base minus novel mIoU",
    "mean_accuracy": "mean accuracy",
    "params_m": "parameters",
    "macs_g": "MACs",
    "fps": "frames per second",
    "novel_as_background": "share of novel pixels called background",
    "novel_as_background-base_as_background": "share called background, novel minus base classes",
}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, in our words.

    paper     "journal" (EOP-Net), "aaai" (POPNet), "sst" or "instance" (BMVC 2019)
    where     section, table or figure
    parts     the quantities that decide it, all of which must be above zero
    decides   for readers: which runs and which measure decide
    families  the dataset families it is about; "ccp" is ours and stands beside them
    also      quantities shown beside it that decide nothing (rows that the papers do not have, screened contenders)
    topic     key of `TOPICS`: what kind of claim it is
    """

    id: str
    paper: str
    where: str
    statement: str
    parts: tuple[Quantity, ...]
    decides: str = ""
    families: tuple[str, ...] = ("atr", "lip", "cihp", "ccp")
    also: tuple[Quantity, ...] = ()
    topic: str = "ranking"


_TABLE = parse_yaml((resources.files("oshp_lite.study") / "claims.yaml").read_text(encoding="utf-8"))
_GROUPS = {**_TABLE["groups"], "beside": [name for name, method in METHODS.items() if not method.kway_in_papers]}


def _said(name: str) -> dict[tuple[str, str], str]:
    """Return {(claim, dataset): text} of one part of `claims.yaml`, written as "claim on dataset, dataset"."""
    places = ((*place.split(" on "), text) for place, text in (_TABLE[name] or {}).items())
    return {(claim, dataset): text for claim, datasets, text in places for dataset in datasets.split(", ")}


FINDINGS = _said("findings")
"""(claim, dataset) -> what we say where it does not reproduce."""
UNTESTABLE = _said("untestable")
"""(claim, dataset) -> why the study's protocol cannot decide it."""
TOPICS: dict[str, str] = {name: one["title"] for name, one in _TABLE["topics"].items()}
"""Kind of claim -> its heading, in the order of the ledger."""
_TOPIC_OF = {claim: name for name, one in _TABLE["topics"].items() for claim in one["claims"]}


def side(text: str, protocol: str = "") -> Side:
    """Return the runs that "± method:ablation/condition@way measure" names, as much of it as there is.

    UserError for an unknown method.
    """
    named = re.fullmatch(r"(?:([+-]) )?([a-z_0-9]+)(?::([\w.+-]+))?(?:/([a-z-]+))?(?:@([k1]))?(?: ([\w:-]+))?", text)
    if named is None or named[2] not in REGISTERED:
        raise UserError(f"{text!r} in claims.yaml names no runs; write method:ablation/condition@way")
    sign, method, ablation, condition, way, measure = named.groups("")
    weight = -1.0 if sign == "-" else 1.0
    return Side(method, ablation, "1" if way == "1" else "k", measure or "human", weight, False, protocol, condition)


def quantities(part: Mapping[str, Any], protocol: str = "", by: Sequence[str] = ()) -> Iterator[Quantity]:
    """Yield the quantities of one part as `claims.yaml` writes it; `by` are the measures where it names none.

    UserError for a part of no known form.
    """
    if "of" in part:
        sides = tuple(side(text, protocol) for text in _listed(part["of"]))
        yield Quantity(part["label"], part.get("kind", "difference"), sides, float(part.get("bound", 0)))
        return
    rule = "below" if "below" in part else "above"
    if not {"first", rule} <= part.keys():
        raise UserError(f"a part of claims.yaml has no known form: {dict(part)}")
    signs, way = ("+-" if rule == "above" else "-+"), f"@{part['way']}" if "way" in part else ""
    measures = _listed(part.get("by", by or ["novel", "human"]))
    for measure, *pair in product(measures, _listed(part["first"]), _listed(part[rule])):
        one, two = (side(f"{sign} {run}{way} {measure}", protocol) for sign, run in zip(signs, pair, strict=True))
        two = replace(two, screened=part.get("screened", False))
        kind, usual = ("cost", 1.0) if measure in COSTS else ("difference", 0.0)
        bound = float(part.get("bound", usual))
        yield Quantity(_label(one, two, rule, "" if bound == usual else f"{bound:g}"), kind, (one, two), bound)


def _listed(given: str | Sequence[str]) -> list[str]:
    """Return one text or several as a list, with names of groups replaced by what they hold."""
    return [run for text in ([given] if isinstance(given, str) else given) for run in _GROUPS.get(text, [text])]


def _label(one: Side, two: Side, rule: str, bound: str) -> str:
    """Return the words for one side above (or below) another."""
    words = "mIoU" if one.protocol == "whole" else f"{one.measure} mIoU"
    words = measure_words(one.measure) or _WORDS.get(one.measure, words)
    if one.way != two.way:
        return f"{words} of {one.name}: {one.way}-way above {two.way}-way"
    against = f"more than {bound} points {rule} {two.name}" if bound else f"{rule} {two.name}"
    if bound and one.measure in COSTS:
        against = f"at most {bound} of {two.name}'s"
    return f"{words}: {one.name} {against}{' (1-way)' if one.way == '1' else ''}"


def _claims(section: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield the claims of one entry: one, or one for each measure that it is repeated for."""
    paper, datasets = section["paper"], tuple(entry.get("datasets", section["datasets"]))
    protocol = PROTOCOLS[paper]
    for measure, words in entry.get("each", {"": ""}).items():
        parts, also = (
            tuple(one for part in some for one in quantities(part, protocol, [measure] if measure else ()))
            for some in (entry.get("parts", [entry]), entry.get("also", ()))
        )
        name, statement = entry["id"].format(measure.split("_")[0]), entry["statement"].format(words)
        decides, topic = entry.get("decides", ""), _TOPIC_OF[entry["id"]]
        yield Claim(name, paper, entry["where"], statement, parts, decides, datasets, also, topic)


CLAIMS = tuple(one for section in _TABLE["sections"] for entry in section["claims"] for one in _claims(section, entry))


@dataclass(frozen=True)
class Part:
    """One quantity of a claim, measured: its verdict, and the paper's own value where it prints one."""

    label: str
    verdict: str
    outcome: Outcome | NotRun
    printed: float | None = None

    @property
    def figures(self) -> str:
        """The value with its interval, "+1.8 [0.4, 3.1] points (seed 0: EOP-Net 31.1, POPNet 29.3)", or the reason."""
        if isinstance(self.outcome, NotRun):
            return self.outcome.reason
        outcome = self.outcome
        scale, unit = _UNITS[outcome.unit]
        interval = f" {between(scale * outcome.low, scale * outcome.high)}" if outcome.low < outcome.high else ""
        return f"{scale * outcome.mean:+z.1f}{interval}{unit}" + (f" ({outcome.levels})" if outcome.levels else "")


def between(low: float, high: float) -> str:
    """Return an interval with one decimal; an end that would read as zero says on which side it lies, which decides."""
    ends = (
        f"{end:z.1f}" if not end or abs(end) >= 0.05 else ("above 0" if end > 0 else "below 0") for end in (low, high)
    )
    return f"[{', '.join(ends)}]"


@dataclass(frozen=True)
class Verdict:
    """A claim on one dataset: the verdict, its parts, our finding (or ""), and why it is not testable here (or "")."""

    claim: Claim
    dataset: str
    word: str
    parts: tuple[Part, ...]
    also: tuple[Part, ...] = ()
    finding: str = ""
    untestable: str = ""

    @property
    def outcomes(self) -> list[Outcome]:
        """The parts that were measured."""
        return [part.outcome for part in self.parts if isinstance(part.outcome, Outcome)]

    @property
    def basis(self) -> str:
        """What the parts rest on: "1 seed", "1-3 seeds", "a count", "timed once", "" for nothing."""
        counts = sorted({outcome.seeds for outcome in self.outcomes if not outcome.basis})
        seeds = "-".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))
        words = f"{seeds} seed{'' if seeds == '1' else 's'}" if seeds else ""
        return ", ".join(filter(None, dict.fromkeys([words, *(outcome.basis for outcome in self.outcomes)])))

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
        """Why the claim was not run or cannot be tested, without repeats; "" for other verdicts."""
        if self.untestable or self.word not in ("not run", "not testable here"):
            return self.untestable
        reasons = "; ".join(part.outcome.reason for part in self.parts if isinstance(part.outcome, NotRun))
        return "; ".join(dict.fromkeys(reasons.split("; ")))


def together(words: Iterable[str]) -> str:
    """Return the verdict on a claim from those on its quantities; those that cannot decide count if all are such."""
    order = ("not testable here", "reproduced", "undecided", "not run", "not reproduced")
    return max(words, key=order.index)


def judge(
    claim: Claim, results: Results, dataset: str, family: str, costs: Costs | None = None, finding: str = ""
) -> Verdict:
    """Return the verdict on a claim for one dataset of a family."""

    def measured(some: Iterable[Quantity]) -> tuple[Part, ...]:
        outcomes = ((one, one.measure(results, dataset, costs)) for one in some)
        return tuple(
            Part(one.label, decide(outcome), outcome, one.printed(family, getattr(outcome, "folds", ())))
            for one, outcome in outcomes
        )

    parts, untestable = measured(claim.parts), UNTESTABLE.get((claim.id, dataset), "")
    word = "not testable here" if untestable else together(part.verdict for part in parts)
    said = finding if word == "not reproduced" else ""
    return Verdict(claim, dataset, word, parts, measured(claim.also), said, untestable)


def ledger(
    results: Results,
    profile: str = "lite",
    claims: Iterable[Claim] = CLAIMS,
    costs: Sequence[Mapping[str, Any]] = (),
    findings: Mapping[tuple[str, str], str] = FINDINGS,
) -> list[Verdict]:
    """Return the verdicts of all claims on all datasets of a profile, claim by claim.

    costs  what `study.cost` wrote, as for the tables; those of the official encoder at the largest size decide
           (journal, section 6.7: 512 px)
    """
    ranks = [(one.get("variant") == "official", int(one.get("size", 0))) for one in costs]
    known = {row["method"]: row for row in costs[ranks.index(max(ranks))]["rows"]} if costs else {}
    return [
        judge(claim, results, name, family, known, _finding(claim, name, findings, results))
        for claim in claims
        for family, name in (families(profile) | label_domains(profile)).items()
        if family in claim.families
    ]


def _finding(claim: Claim, dataset: str, findings: Mapping[tuple[str, str], str], results: Results) -> str:
    return with_numbers(findings.get((claim.id, dataset), ""), results, PROTOCOLS[claim.paper])


def with_numbers(text: str, results: Results, protocol: str = "") -> str:
    """Fill the numbers of a finding: "{sgone novel synth-atr}" is a mean over seeds or blocks and folds, in points.

    All numbers of a text are of the folds that all of its runs have; it says so where that is fold 1 alone.
    protocol: that of the claim's runs ("aaai"), where it is not the journal's.
    """
    form = re.compile(r"\{([^{}]+?) ([\w-]+)(?::(\.\df))?\}")
    runs = [side(match[1], protocol).key(match[2]) for match in form.finditer(text)]
    both = [bool(results.seeds(replace(key, fold=2))) for key in runs]

    def number(match: re.Match[str]) -> str:
        run = side(match[1], protocol)
        seeds = [results.seeds(replace(run.key(match[2]), fold=fold)) for fold in (1, 2)[: 1 + all(both)]]
        scores = [fmean(one.score(run.measure) for one in own) for own in seeds if own]
        return format(100 * fmean(scores), match[3] or ".1f") if scores else "not run"

    return form.sub(number, text) + " Figures: fold 1." * (any(both) and not all(both))


def summary(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many rows (a claim on a dataset) have each verdict."""
    return {word: sum(verdict.word == word for verdict in verdicts) for word in VERDICTS}


def summary_line(verdicts: Sequence[Verdict]) -> str:
    """Return the count in words, with what the rule can and cannot promise."""
    counts, claims = summary(verdicts), len({verdict.claim.id for verdict in verdicts})
    words = ", ".join(f"{counts[word]} {word}" for word in VERDICTS)
    line = f"{claims} claims, {len(verdicts)} rows (a claim on a dataset): {words}."
    if not (decided := len(verdicts) - counts["not run"]):
        return line
    firm = sum(verdict.firm for verdict in verdicts)
    return (
        f"{line} A verdict rests on 95 % intervals over test photos (and over seeds, where there are several), so some "
        f"of the {decided} rows with figures may stand on the wrong side by chance. "
        f"{firm} of them rest{'s' if firm == 1 else ''} on three seeds throughout or on a count; with fewer, the "
        f"interval knows little of another training and must lie {TRAINING_NOISE:g} points off zero to decide."
    )


def to_csv(verdicts: Sequence[Verdict]) -> str:
    """Return the ledger as CSV, a row for each claim and dataset."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in verdicts:
        claim = one.claim
        figures = one.reason or "; ".join(f"{part.label}: {part.figures}" for part in one.parts)
        printed = ", ".join(f"{part.printed:+g}" for part in one.parts if part.printed is not None)
        said = (claim.id, PAPERS[claim.paper], claim.where, claim.statement, one.dataset, one.word, figures, printed)
        writer.writerow((*said, one.folds, re.sub(r" seeds?$", "", one.basis), one.finding or one.untestable))
    return stream.getvalue()


def _by_topic(verdicts: Sequence[Verdict]) -> dict[str, list[dict[str, Any]]]:
    """Return {heading: claims with their rows}, as the forms need them: texts that datasets share stand once."""
    grouped: dict[str, dict[str, Any]] = {}
    for one in verdicts:
        claim = one.claim
        new = {"claim": claim, "where": f"{PAPERS[claim.paper]}, {claim.where}", "verdicts": {}}
        mine = grouped.setdefault(claim.id, {**new, "findings": {}, "unmeasured": {}})
        mine["verdicts"][one.dataset] = one
        if text := one.finding or one.untestable:
            mine["findings"].setdefault((text, one.word), []).append(one.dataset)
        if not one.outcomes:
            reasons = [_brief(piece) for piece in one.reason.split("; ")]
            short = dict.fromkeys(reason.partition(": ")[2] or reason for reason in reasons)
            mine["unmeasured"].setdefault("; ".join(short), []).append(one.dataset)
    rows = list(grouped.values())
    topics = {title: [row for row in rows if row["claim"].topic == name] for name, title in TOPICS.items()}
    return {title: some for title, some in topics.items() if some}


def to_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the ledger as Markdown: the count, a table of verdicts for each kind of claim, and the findings below."""
    datasets = list(dict.fromkeys(verdict.dataset for verdict in verdicts))
    head, rule = f"| claim | where | {' | '.join(datasets)} |", "|---" * (2 + len(datasets)) + "|"
    lines, findings = [summary_line(verdicts)], []
    for title, claims in _by_topic(verdicts).items():
        lines += ["", f"**{title}**", "", head, rule]
        for one in claims:
            statement = one["claim"].statement
            cells = (getattr(one["verdicts"].get(dataset), "word", "") for dataset in datasets)
            lines.append(f"| {statement} | {one['where']} | {' | '.join(cells)} |")
            said = one["findings"].items()
            findings += [f"* {statement} ({', '.join([*of, word])}) {text}" for (text, word), of in said]
    return "\n".join([*lines, *["", "Findings:", ""] * bool(findings), *findings, ""])


def to_html(verdicts: Sequence[Verdict], *, styled: bool = True) -> str:
    """Return the ledger as HTML: the count, a row for each claim with its verdicts by kind; figures unfold on a click.

    Verdicts are words with a mark, so nothing rests on colour. `styled=False` where the page has the style already.
    """
    datasets = list(dict.fromkeys(verdict.dataset for verdict in verdicts))
    known = {"summary": summary_line(verdicts), "datasets": datasets, "topics": _by_topic(verdicts), "marks": MARKS}
    return fill("ledger.html", styled=styled, brief=_brief, **known)


def _brief(reason: str) -> str:
    """Leave out of a reason how SAM's weights are fetched: notebook 08 says it once."""
    return re.sub(r"(needs SAM weights):[^;]*", r"\1 (see notebook 08)", reason)
