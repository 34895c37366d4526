"""What a reader of the ledger sees: levels that belong to the difference, ends that show their sign, findings once."""

from __future__ import annotations

import re

import pytest
from claims_made_up import ATR, above, flat, run

from oshp_lite.study.claims import CLAIMS, Part, decide, ledger, summary_line, to_html, to_markdown
from oshp_lite.study.experiments import families
from oshp_lite.study.quantities import Outcome
from oshp_lite.study.records import Results, RunKey

BY_ID = {claim.id: claim for claim in CLAIMS}


def outcome(low: float, high: float) -> Outcome:
    return Outcome((low + high) / 2, low, high, "points", 1, (1,))


def test_the_levels_shown_are_those_of_the_seeds_compared() -> None:
    """EOP-Net's further seeds move neither the difference nor the two scores beside it."""
    runs = [run(RunKey("eopnet", ATR, 1, "k", seed), flat(value)) for seed, value in enumerate((0.5, 0.8, 0.9))]
    runs += [run(RunKey("popnet", ATR, 1, "k"), flat(0.6))]
    quantity = above("eopnet", "popnet", "human")
    found = quantity.measure(Results(runs), ATR)
    assert isinstance(found, Outcome)
    alone = quantity.measure(Results([runs[0], runs[3]]), ATR)
    assert found == alone
    levels = re.fullmatch(r"seed 0: EOP-Net (\d+\.\d), POPNet (\d+\.\d)", found.levels)
    assert levels
    assert float(levels[1]) - float(levels[2]) == pytest.approx(found.mean, abs=0.11)
    two = quantity.measure(Results([*runs, run(RunKey("popnet", ATR, 1, "k", 2), flat(0.6))]), ATR)
    assert isinstance(two, Outcome)
    assert two.levels.startswith("seeds 0, 2: EOP-Net")
    folds = [run(RunKey(method, ATR, 2, "k", 1), flat(0.5)) for method in ("eopnet", "popnet")]
    apart = quantity.measure(Results([*runs, *folds]), ATR)
    assert isinstance(apart, Outcome)
    assert apart.levels.startswith("fold 1 seed 0; fold 2 seed 1: EOP-Net")


def test_an_end_never_reads_as_zero_unless_it_is() -> None:
    def figures(low: float, high: float) -> str:
        return Part("x", decide(outcome(low, high)), outcome(low, high)).figures

    assert figures(0.03, 2.47) == "+1.2 [above 0, 2.5] points"
    assert figures(-0.04, 1.2) == "+0.6 [below 0, 1.2] points"
    assert figures(-2.5, -0.004) == "-1.3 [-2.5, below 0] points"
    assert figures(0.0, 2.0) == "+1.0 [0.0, 2.0] points"
    assert figures(-0.1, 1.3) == "+0.6 [-0.1, 1.3] points"
    assert "-0.0" not in figures(-1.0, 0.999999)


def test_equal_findings_stand_once_and_bare_datasets_take_a_line() -> None:
    claim = BY_ID["lead-novel-k"]
    lost = {"eopnet": 0.5, "popnet": 0.7, "sgone": 0.3, "amp": 0.4, "panet": 0.2}
    runs = [run(RunKey(name, data, 1, "k"), flat(skill)) for data in (ATR, "ccp-os") for name, skill in lost.items()]
    weights = "needs SAM weights: pip install 'oshp-lite[sam]', then set OSHP_SAM_WEIGHTS to a folder"
    reasons = {RunKey("persam", data, 1, "k"): weights for data in families("lite").values()}
    said = dict.fromkeys([(claim.id, ATR), (claim.id, "ccp-os")], "Nobody knows why.")
    verdicts = ledger(Results(runs, reasons), "lite", [claim], findings=said)
    page, text = to_html(verdicts), to_markdown(verdicts)
    assert page.count("Nobody knows why.") == text.count("Nobody knows why.") == 1
    assert "<b>synth-atr, ccp-os, not reproduced:</b> Nobody knows why." in page
    assert "<b>synth-lip, synth-cihp</b>: not run yet" in page
    assert "needs SAM weights (see notebook 08)" in page
    assert "OSHP_SAM_WEIGHTS" not in page
    said = {(claim.id, ATR): "One.", (claim.id, "ccp-os"): "Two."}
    other = ledger(Results(runs, reasons), "lite", [claim], findings=said)
    assert "<b>synth-atr, not reproduced:</b> One." in to_html(other)


def test_the_summary_counts_rows_that_rest_on_three_seeds() -> None:
    claim = BY_ID["lead-novel-k"]
    skills = {"eopnet": 0.8, "popnet": 0.6, "sgone": 0.3, "amp": 0.4, "panet": 0.2}
    three = [run(RunKey(name, ATR, 1, "k", s), flat(skill)) for name, skill in skills.items() for s in range(3)]
    one = [run(RunKey(name, "ccp-os", 1, "k"), flat(skill)) for name, skill in skills.items()]
    verdicts = ledger(Results([*three, *one]), "lite", [claim])
    assert [verdict.firm for verdict in verdicts] == [True, False, False, False]
    assert "1 of them rests on three seeds throughout" in summary_line(verdicts)
