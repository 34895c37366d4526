"""Headline claims: fixed beforehand, corrected over the family, decided by one rule."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from claims_made_up import flat, run
from hypothesis import given
from hypothesis import strategies as st

from oshp_lite.study.headlines import (
    DECLARED,
    LEVEL,
    MARGIN,
    Headline,
    by_claim,
    decide,
    headlines,
    holm,
    measured,
    to_csv,
)
from oshp_lite.study.records import Measured, Results, RunKey

SKILLS = {"eopnet": 0.7, "popnet": 0.6, "sgone": 0.5, "panet": 0.62, "ppnet": 0.6, "amp": 0.4}


def made(skills: dict[str, float], dataset: str = "synth-atr", seeds: Sequence[int] = (0, 1, 2)) -> Results:
    return Results(made_runs(skills, dataset, seeds))


def made_runs(skills: dict[str, float], dataset: str = "synth-atr", seeds: Sequence[int] = (0, 1, 2)) -> list[Measured]:
    protocol = DECLARED["datasets"][dataset]
    keys = [
        RunKey(method, dataset, fold, "k", seed, ablation, protocol, "papers")
        for name in skills
        for method, _, ablation in [name.partition(":")]
        for fold in (1, 2)
        for seed in seeds
    ]
    return [run(key, flat(skills[f"{key.method}:{key.ablation}".rstrip(":")])) for key in keys]


def verdicts(results: Results, dataset: str = "synth-atr") -> dict[str, Headline]:
    return {one.id: one for one in headlines(results) if one.dataset == dataset}


def test_five_claims_on_two_datasets_and_nothing_is_run_yet() -> None:
    found = headlines(Results())
    assert len(found) == 10
    assert {one.verdict for one in found} == {"not run"}
    assert all(one.reason for one in found)


def test_a_clear_lead_is_reproduced_against_the_best_contender() -> None:
    found = verdicts(made(SKILLS))
    lead = found["human-above-all"]
    assert (lead.verdict, lead.against) == ("reproduced", "PANet")
    assert MARGIN <= lead.low < lead.effect < lead.high
    assert lead.printed is not None
    assert lead.printed > 0
    assert found["novel-above-popnet"].verdict == found["less-testing-bias"].verdict == "reproduced"
    assert found["dual-above-npm"].verdict == "not run"


@pytest.mark.parametrize(
    ("other", "expected"), [(0.9, "not reproduced"), (0.701, "not reproduced"), (0.5, "reproduced")]
)
def test_the_margin_decides(other: float, expected: str) -> None:
    assert verdicts(made({**SKILLS, "popnet": other}))["novel-above-popnet"].verdict == expected


def test_runs_seen_before_decide_nothing() -> None:
    found = verdicts(made(SKILLS, seeds=(0,)))["novel-above-popnet"]
    assert found.seeds == "1"  # fold 2 alone; fold 1, seed 0 was known
    only_seen = Results(
        run(RunKey(method, "synth-atr", 1, "k", 0, condition="papers"), flat(skill)) for method, skill in SKILLS.items()
    )
    undecided = verdicts(only_seen)["novel-above-popnet"]
    assert undecided.verdict == "not run"
    assert "before the claims were fixed" in measured(undecided)


def test_what_was_measured_stands_in_one_line() -> None:
    one = verdicts(made(SKILLS))["novel-above-popnet"]
    assert measured(one).startswith(
        f"{one.effect:+.1f} points [{one.low:.1f}, {one.high:.1f}] of novel mIoU, against POPNet; "
    )
    assert measured(one).endswith("seeds")
    real = verdicts(made(SKILLS, "ccp-os", range(5)), "ccp-os")["novel-above-popnet"]
    assert measured(real).endswith("5 blocks")


def test_the_papers_effect_is_known_before_anything_is_run() -> None:
    printed = {one.id: one.printed for one in headlines(Results()) if one.dataset == "synth-atr"}
    assert printed["novel-above-popnet"] == pytest.approx(32.9 - 29.2)
    assert printed["human-above-all"] == pytest.approx(62.6 - 56.1)
    assert printed["dual-above-npm"] == pytest.approx(58.6 - 16.5)
    assert printed["less-testing-bias"] is None


def test_fewer_than_three_trainings_decide_nothing() -> None:
    few = verdicts(made(SKILLS, "ccp-os", (0,)), "ccp-os")["novel-above-popnet"]
    assert few.trainings == 2  # a block on each of two folds
    assert few.effect > MARGIN
    assert few.verdict == "undecided"
    assert "3 trainings decide" in measured(few)


def test_a_collapsed_method_decides_nothing() -> None:
    def answers_background(key: RunKey) -> Measured:
        right = run(key, flat(0.0), noise=0.0)
        counts = right.counts.copy()
        counts[:, 0, 1] += counts[:, 1:, [0, 2]].sum((1, 2)) - counts[:, 0, 1]
        counts[:, 1:, 2] += counts[:, 1:, 0]
        counts[:, 1:, :2] = 0
        return replace(right, counts=counts)

    def with_collapsed(name: str) -> dict[str, Headline]:
        skills = {method: skill for method, skill in SKILLS.items() if method != name}
        lost = [answers_background(RunKey(name, "synth-atr", fold, "k", seed)) for fold in (1, 2) for seed in range(3)]
        return verdicts(Results([*made_runs(skills), *lost]))

    sgone = with_collapsed("sgone")
    assert sgone["less-testing-bias"].verdict == "not testable here"
    assert "SG-One collapsed" in sgone["less-testing-bias"].reason
    assert sgone["human-above-all"].verdict == "reproduced"  # against the others
    assert with_collapsed("eopnet")["human-above-all"].verdict == "not testable here"


def test_claims_stand_together() -> None:
    assert [len(group) for group in by_claim(headlines(Results()))] == [2] * 5


def test_blocks_decide_on_real_photos() -> None:
    found = verdicts(made(SKILLS, "ccp-os", range(5)), "ccp-os")["human-above-all"]
    assert (found.verdict, found.seeds) == ("reproduced", "5")


def test_the_file_has_a_row_for_each_and_no_number_that_was_not_measured() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(headlines(made(SKILLS))))))
    assert len(rows) == 10
    for row in rows:
        assert bool(row["effect"]) == bool(row["probability"]) == (row["verdict"] != "not run") == (not row["reason"])


@given(st.lists(st.floats(0.0001, 1), min_size=1, max_size=10), st.integers(0, 5))
def test_holm_is_the_textbooks(probabilities: list[float], missing: int) -> None:
    tests = len(probabilities) + missing
    order = np.argsort(probabilities, kind="stable")
    expected, running = np.empty(len(probabilities)), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (tests - rank) * probabilities[place]))
        expected[place] = running
    np.testing.assert_allclose(holm(probabilities, tests), expected)
    assert all(corrected >= plain for corrected, plain in zip(holm(probabilities, tests), probabilities, strict=True))


def test_the_rule() -> None:
    assert decide(3.0, 5.0, LEVEL / 2) == "reproduced"
    assert decide(1.0, 1.4, LEVEL / 2) == "not reproduced"  # above zero, and too small to matter
    assert decide(3.0, 7.0, 0.2) == "undecided"
    assert decide(1.0, 2.0, LEVEL / 2) == "undecided"
    assert decide(-4.0, -2.0, 1.0) == "not reproduced"
