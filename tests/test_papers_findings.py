"""A committed result that contradicts a paper is explained, with numbers that the records hold."""

from __future__ import annotations

import re
from typing import Literal

from oshp_lite.study.claims import CLAIMS, FINDINGS, ledger, with_numbers
from oshp_lite.study.cost import load_costs
from oshp_lite.study.experiments import families
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.results import read_committed

RESULTS = Results(read_committed("lite")[0].values())


def test_findings_name_datasets_and_fill_their_numbers() -> None:
    known = {name for profile in ("lite", "paper") for name in families(profile).values()}
    assert {claim for claim, _ in FINDINGS} <= {claim.id for claim in CLAIMS}
    assert {dataset for _, dataset in FINDINGS} <= known
    for text in FINDINGS.values():
        filled = with_numbers(text, RESULTS)
        assert filled.endswith(".")
        assert 40 < len(filled) < 900
        assert "{" not in filled
        assert "to not run" not in filled


def test_no_score_in_a_finding_is_typed_by_hand() -> None:
    """Scores have a decimal; what is left of those are settings (0.2, 0.999), below one."""
    for place, text in FINDINGS.items():
        assert not re.search(r"\d\d\.\d|[1-9]\.\d|\d %", re.sub(r"\{[^}]*\}", "", text)), place


def test_what_findings_say_in_words_is_what_the_records_hold() -> None:
    """Shares and leads that are written out: where one of them fails, the text is to be changed."""

    def run(method: str, dataset: str, way: Literal["k", "1"] = "k", ablation: str = "") -> Measured:
        found = RESULTS.get(RunKey(method, dataset, 1, way, ablation=ablation))
        assert isinstance(found, Measured)
        return found

    def lead(one: Measured, other: Measured, measure: str = "human") -> float:
        return 100 * (one.score(measure) - other.score(measure))

    for dataset, least, most in (("synth-atr", 0.15, 0.2), ("ccp-os", 0.22, 0.29)):  # a fifth, a quarter
        amp = run("amp", dataset)
        hits, false, _ = amp.counts.sum(0)[[amp.classes.index(novel) for novel in amp.novel]].sum(0)
        assert least < hits / (hits + false) < most
    eopnet = run("eopnet", "ccp-os", "1")
    assert all(2 < lead(run(method, "ccp-os", "1"), eopnet) < 3 for method in ("amp", "popnet"))
    trained = ("amp", "finetune", "panet", "pfenet", "popnet", "ppnet", "sgone")
    assert all(lead(eopnet, run(method, "ccp-os", "1"), "novel") > 0 for method in trained)
    high, low = run("eopnet", "synth-atr"), run("eopnet", "synth-atr", ablation="momentum-0.8")
    assert 0.3 < lead(high, low, "novel") < 0.8
    assert 0.3 < lead(low, high, "human") < 0.8


def test_no_committed_failure_goes_without_a_finding() -> None:
    """Whoever commits results that contradict a paper says what was tried and what it may mean."""
    failed = [one for one in ledger(RESULTS, "lite", costs=load_costs()) if one.word == "not reproduced"]
    assert failed
    assert [f"{one.claim.id} on {one.dataset}" for one in failed if not one.finding] == []
