"""The ledger: every claim of the two papers with its verdict on every dataset, as rows, HTML, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

from oshp_lite.study.claims.aaai import AAAI
from oshp_lite.study.claims.journal_comparisons import COMPARISON
from oshp_lite.study.claims.journal_parts import PARTS
from oshp_lite.study.claims.rule import VERDICTS, Claim, Part, Verdict, judge
from oshp_lite.study.experiments import families
from oshp_lite.study.records import Results
from oshp_lite.study.render import fill, style

CLAIMS: tuple[Claim, ...] = (*COMPARISON, *PARTS, *AAAI)
PAPERS = {"journal": "EOP-Net paper", "aaai": "POPNet paper"}
_MARKS = {"reproduced": "✓", "not reproduced": "✗", "undecided": "?", "not run": "-"}
COLUMNS = (
    "claim",
    "paper",
    "where",
    "statement",
    "dataset",
    "verdict",
    "figures",
    "paper's figures",
    "folds",
    "seeds",
    "finding",
)


@cache
def findings() -> dict[str, dict[str, str]]:
    """Return {claim: {dataset: text}}: what we say where a claim does not reproduce (`claims/findings.yaml`)."""
    text = (resources.files("oshp_lite.study.claims") / "findings.yaml").read_text(encoding="utf-8")
    return {
        str(claim): {str(dataset): " ".join(str(said).split()) for dataset, said in (by_dataset or {}).items()}
        for claim, by_dataset in (yaml.safe_load(text) or {}).items()
    }


def ledger(
    results: Results,
    profile: str = "lite",
    claims: Iterable[Claim] = CLAIMS,
    said: Mapping[str, Mapping[str, str]] | None = None,
    costs: Sequence[Mapping[str, Any]] = (),
) -> list[Verdict]:
    """Return the verdicts of all claims on all datasets of a profile, claim by claim.

    said   findings to use instead of the committed ones
    costs  what `reproduce.cost` wrote, as for the tables; the one closest to the paper's setting decides
    """
    if costs:
        results = results.with_costs(_costs_by_method(costs))
    texts = findings() if said is None else said
    datasets = families(profile)
    return [
        judge(claim, results, datasets[family], family, texts.get(claim.id, {}).get(datasets[family], ""))
        for claim in claims
        for family in claim.families
    ]


def _costs_by_method(costs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Take the costs of the official encoder at the largest size, if there are any (journal, section 6.7: 512 px)."""
    chosen = max(costs, key=lambda one: (one.get("variant") == "official", int(one.get("size", 0))))
    names = ("params_m", "macs_g", "fps")
    return {
        row["method"]: {name: float(row[name]) for name in names if row.get(name) is not None} for row in chosen["rows"]
    }


def summary(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many rows (a claim on a dataset) have each verdict."""
    counted = Counter(verdict.word for verdict in verdicts)
    return {word: counted[word] for word in VERDICTS}  # type: ignore[index]


def summary_line(verdicts: Sequence[Verdict]) -> str:
    """Return the count in words, with what the rule can and cannot promise."""
    counts = summary(verdicts)
    claims = len({verdict.claim.id for verdict in verdicts})
    told = ", ".join(f"{counts[word]} {word}" for word in VERDICTS)
    decided = sum(counts[word] for word in VERDICTS[:3])
    line = f"{claims} claims, {len(verdicts)} rows (a claim on a dataset): {told}."
    if not decided:
        return line
    firm = sum(verdict.firm for verdict in verdicts)
    return (
        f"{line} A verdict rests on 95 % intervals over test photos (and over seeds, where there are several), so some "
        f"of the {decided} rows with figures may stand on the wrong side by chance. "
        f"{firm} of them rest{'s' if firm == 1 else ''} on three seeds throughout or on a count; where there is one "
        "seed, the interval knows nothing of another training."
    )


def _figures(parts: Sequence[Part]) -> list[str]:
    return [f"{part.label}: {part.figures}" for part in parts]


def _printed(parts: Sequence[Part]) -> str:
    known = [f"{part.printed:+g}" for part in parts if part.printed is not None]
    return ", ".join(known)


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, str]]:
    """Return the ledger as plain rows, one a claim and dataset; keys are `COLUMNS`."""
    made = []
    for verdict in verdicts:
        claim = verdict.claim
        told = verdict.reason or "; ".join(_figures(verdict.parts))
        cells = (
            claim.id, PAPERS[claim.paper], claim.where, claim.says, verdict.dataset, verdict.word, told,
            _printed(verdict.parts), verdict.folds, verdict.seeds or verdict.basis, verdict.finding,
        )  # fmt: skip
        made.append(dict(zip(COLUMNS, cells, strict=True)))
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
    lines = [summary_line(verdicts), "", "| claim | where | " + " | ".join(datasets) + " |"]
    lines.append("|---|---|" + "---|" * len(datasets))
    for claim, mine in _grouped(verdicts):
        words = {verdict.dataset: verdict.word for verdict in mine}
        cells = " | ".join(words.get(dataset, "") for dataset in datasets)
        lines.append(f"| {claim.says} | {PAPERS[claim.paper]}, {claim.where} | {cells} |")
    if any(verdict.finding for verdict in verdicts):
        lines += ["", "Findings:", ""]
        for claim, mine in _grouped(verdicts):
            lines += [f"* {claim.says} ({where}) {finding}" for where, finding in _findings(mine)]
    return "\n".join(lines) + "\n"


def _findings(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Return ("synth-atr, ccp-os, not reproduced", finding) of one claim's rows, equal findings once."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in verdicts:
        if one.finding:
            found.setdefault((one.finding, one.word), []).append(one.dataset)
    return [(", ".join([*datasets, word]), finding) for (finding, word), datasets in found.items()]


def to_html(verdicts: Sequence[Verdict], *, styled: bool = True) -> str:
    """Return the ledger as HTML: the count, then a row for each claim with its verdicts; figures unfold on a click.

    Verdicts are words with a mark, so nothing rests on colour. `styled=False` where the page has the style already.
    """
    claims = [
        {
            "says": claim.says,
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
    return fill("ledger.html", summary=summary_line(verdicts), style=style() if styled else "", **known)


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


def missing_findings(verdicts: Sequence[Verdict]) -> list[str]:
    """Return "claim on dataset" for every claim that did not reproduce and has no finding written."""
    return [f"{one.claim.id} on {one.dataset}" for one in verdicts if one.word == "not reproduced" and not one.finding]
