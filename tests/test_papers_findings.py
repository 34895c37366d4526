"""A committed result that contradicts a paper is explained, with numbers that the records hold."""

from __future__ import annotations

import html
import json
import re
from statistics import fmean

import pytest

from oshp_lite.files import project_root
from oshp_lite.study.claims import CLAIMS, FINDINGS, PROTOCOLS, UNTESTABLE, with_numbers
from oshp_lite.study.experiments import families
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.results import read_committed


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(read_committed("lite")[0].values())


def test_findings_name_datasets_and_fill_their_numbers(results: Results) -> None:
    known = {name for profile in ("lite", "paper") for name in families(profile).values()}
    assert {claim for claim, _ in FINDINGS | UNTESTABLE} <= {claim.id for claim in CLAIMS}
    assert {dataset for _, dataset in FINDINGS | UNTESTABLE} <= known
    paper = {claim.id: claim.paper for claim in CLAIMS}
    for (claim, _), text in FINDINGS.items():
        filled = with_numbers(text, results, PROTOCOLS[paper[claim]])
        assert filled.endswith(".")
        assert 40 < len(filled) < 900
        assert "{" not in filled
        assert "to not run" not in filled


def test_no_score_in_a_finding_is_typed_by_hand() -> None:
    """Scores have a decimal; what is left of those are settings (0.2, 0.999), below one."""
    for place, text in FINDINGS.items():
        assert not re.search(r"\d\d\.\d|[1-9]\.\d|\d %", re.sub(r"\{[^}]*\}", "", text)), place


def test_notebook_10_prints_the_claims_of_today() -> None:
    """Its ledger was made from the present `claims.yaml`: no statement, place or deciding quantity of an older one."""
    notebook = json.loads((project_root() / "notebooks" / "10_eopnet_tables.ipynb").read_text(encoding="utf-8"))
    outputs = [one for cell in notebook["cells"] for one in cell.get("outputs", ())]
    pages = ["".join(one.get("data", {}).get("text/html", "")) for one in outputs]
    page = re.sub(r"\s+", " ", html.unescape(" ".join(pages)))
    decides = {one.id: [one.decides] if one.decides else [part.label for part in one.parts] for one in CLAIMS}
    texts = {(one.id, text) for one in CLAIMS for text in (one.statement, one.where, *decides[one.id])}
    assert sorted((claim, text) for claim, text in texts if re.sub(r"\s+", " ", text) not in page) == []


def test_numbers_of_a_finding_are_of_the_folds_that_all_its_runs_have(results: Results) -> None:
    own = [results.seeds(RunKey("eopnet", "synth-atr", fold, "k")) for fold in (1, 2)]
    first, second = (100 * fmean(run.score("novel") for run in runs) for runs in own)
    assert with_numbers("{eopnet novel synth-atr}", results) == f"{(first + second) / 2:.1f}"
    mixed = with_numbers("{eopnet novel synth-atr} and {eopnet:x4 novel synth-atr}.", results)
    assert mixed.startswith(f"{first:.1f} and ")
    assert mixed.endswith(". Figures: fold 1.")
