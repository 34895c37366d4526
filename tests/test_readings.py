"""Readings say what the records say: signs, intervals, who leads, and what was not run."""

from __future__ import annotations

import pytest
from claims_made_up import ATR, above, flat, kway, run

from oshp_lite.study import readings
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.statistics import paired_difference


def test_a_difference_has_its_sign_its_interval_and_few_seeds_named() -> None:
    results = kway(panet=0.7, popnet=0.5)
    both = [results.seeds(RunKey(name, ATR, 1, "k")) for name in ("panet", "popnet")]
    said = readings.compared(results, "panet", "popnet", datasets=(ATR, "ccp-os"))
    assert f"{100 * paired_difference(*both, 'novel').mean:+.1f} [" in said
    assert "(1 seed)" in said
    assert said.endswith("not run on ccp-os.")
    assert ": -" in readings.compared(results, "popnet", "panet", datasets=(ATR,))


def test_the_leader_is_named_with_its_lead() -> None:
    results = kway(eopnet=0.6, ppnet=0.8, sgone=0.3)
    assert readings.best_on(results, ATR).startswith("By novel mIoU PPNet is first with ")
    assert "from EOP-Net" in readings.best_on(results, ATR)
    assert readings.best_on(results, "ccp-os") == "No method was run on ccp-os."


def test_each_row_of_table_5_is_set_against_the_one_before() -> None:
    keys = [RunKey("eopnet", ATR, 1, "k", 0, name) for name in ("npm", "dml-no-ws")]
    results = Results([run(key, flat(skill)) for key, skill in zip(keys, (0.5, 0.7), strict=True)])
    lines = readings.steps(results).splitlines()
    assert len(lines) == 5
    assert sum("novel +" in line for line in lines) == 1
    assert sum(line.endswith("not run") for line in lines) == 4


def test_sizes_are_compared_with_the_reference() -> None:
    said = readings.by_size(kway(eopnet=0.5, panet=0.8, sgone=0.2))
    assert said.startswith("Ahead of EOP-Net, from the smallest sixth of the parts to the largest: 1. PANet; 2. PANet;")
    assert said.count("PANet") == 7, "in all six groups, and where it is farthest ahead"
    assert "SG-One" not in said
    alone = readings.by_size(kway(eopnet=0.5))
    assert alone.endswith("6. no method.")
    assert readings.by_size(kway(panet=0.5)) == "EOP-Net was not run on synth-atr."


def test_lost_base_classes_need_confusions() -> None:
    assert readings.lost_base(Results()) == "POPNet: not run. EOP-Net: not run."


def test_trivial_predictions_are_those_of_the_records() -> None:
    rows = {name: (novel, human) for name, novel, human in readings.trivial(ATR)}
    assert rows["background"][0] == 0.0
    assert rows["copy"][0] > 0


def test_print_is_that_of_the_folds_measured() -> None:
    lead = above("eopnet", "popnet", "novel")
    assert lead.printed("atr", (1,)) == pytest.approx(2.1)
    assert lead.printed("atr", (1, 2)) == pytest.approx(3.7)


def test_few_trainings_must_stay_clear_of_zero_and_three_need_not() -> None:
    skills = {"label_transfer": 0.5, "panet": 0.52, "popnet": 0.9}
    many = {
        name: [run(RunKey(name, ATR, 1, "k", seed), flat(skill), noise=0.01) for seed in range(3)]
        for name, skill in skills.items()
    }
    runs = {name: own[:1] for name, own in many.items()}
    small = paired_difference(runs["panet"], runs["label_transfer"], "novel")
    assert 0 < small.low < 0.03, "an interval that decides by itself, closer to zero than trainings differ"
    assert readings.settled(small) == "undecided"
    said = readings.standing(runs, "label_transfer")
    assert said.startswith("against **Nearest-patch label transfer**, mIoU novel: *higher*: POPNet; *lower*: none; ")
    assert said.endswith("*undecided*: PANet")
    assert readings.standing(many, "label_transfer").endswith(
        "*higher*: PANet, POPNet; *lower*: none; *undecided*: none"
    )


def test_a_longer_training_is_set_beside_the_budget_on_common_seeds() -> None:
    keys = [RunKey("popnet", ATR, 1, "k", seed) for seed in (0, 1)] + [RunKey("popnet", ATR, 1, "k", 0, "x4")]
    made = [run(key, flat(skill)) for key, skill in zip(keys, (0.5, 0.9, 0.7), strict=True)]
    said = readings.longer(Results(made))
    ends = [f"{100 * one.score('base'):.1f}" for one in (made[0], made[2])]
    assert f"POPNet base {' to '.join(ends)}, novel " in said
    assert said.endswith("(1 seed).")
    assert "PANet" not in said
    assert readings.longer(Results(made[:2])).startswith("Nothing was run with 4 times the epochs")


def test_what_is_at_hand_of_the_papers_own_experiments() -> None:
    assert "None of the paper's own experiments has been run" in readings.own_experiments(Results())
    key = RunKey("popnet", ATR, 1, "k", 2, "three-stage", "aaai")
    results = Results([run(key, flat(0.5))])
    assert readings.at_hand(results, "popnet1") == (1, 8)
    assert "Table 1: 1 of 8; Table 2: 0 of 10; Table 3: 1 of 6" in readings.own_experiments(results)
