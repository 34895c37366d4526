"""Readings of tables and figures follow the records: what is missing is named, and nothing is said of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from claims_made_up import ATR, flat, kway, run

from oshp_lite.study import figure_readings as said
from oshp_lite.study.claims import ledger
from oshp_lite.study.experiments import FIGURE8, TABLE6, runs_of
from oshp_lite.study.readings import trivial
from oshp_lite.study.records import Measured, Results, RunKey


def row(name: str, skill: float, seed: int = 0, dataset: str = ATR) -> Measured:
    return run(RunKey("eopnet", dataset, 1, "k", seed, name), flat(skill))


def test_coverage_counts_what_was_run() -> None:
    lines = dict(line.split("** ") for line in said.coverage(kway(eopnet=0.5, popnet=0.4)).splitlines())
    assert re.search(r"^k-way, fold 1: 2 of \d+; ", lines["* **Table 2."])
    assert "1-way, fold 1: *not run*" in lines["* **Table 2."]
    assert "of" not in lines["* **Table 3."].replace("fold", "")
    assert lines["* **Figure 6."] == "k-way, fold 1: 2 of 3"
    assert all(line.count("*not run*") for line in said.coverage(Results()).splitlines())


def test_kinds_of_reproduced_rows_add_up() -> None:
    sizes = {"eopnet": 1.0, "popnet": 2.0}
    costs = [{"method": name, "params_m": size, "macs_g": size, "fps": 1 / size} for name, size in sizes.items()]
    known = [{"variant": "official", "size": 512, "rows": costs}]
    verdicts = ledger(kway(eopnet=0.8, popnet=0.5, panet=0.2, sgone=0.2, amp=0.2), costs=known)
    total, cost, sure, few, others = map(int, re.findall(r"\d+", re.sub(r"than \d|with \d", "", said.kinds(verdicts))))
    assert total == sum(one.word == "reproduced" for one in verdicts)
    assert total == cost + sure + few + others
    assert cost == sum(one.word == "reproduced" and one.claim.topic == "cost" for one in verdicts) > 0
    assert said.kinds([]) == "No row of the ledger is reproduced."


def test_methods_below_a_trivial_prediction_are_named() -> None:
    bar = {name: novel for name, novel, _ in trivial(ATR)}["copy"]
    text = said.against_trivial(kway(eopnet=bar / 100 + 0.3, panet=0.01), ATR, ["copy"])
    assert f"*copy* has {bar:.1f}; not above it: PANet " in text
    assert "EOP-Net" not in text
    assert said.against_trivial(Results()).startswith("Neither")


def test_the_spread_stands_beside_that_of_the_others() -> None:
    runs = [row("", skill, seed) for seed, skill in enumerate((0.3, 0.5, 0.7))]
    runs += [run(RunKey("panet", ATR, 1, "k", seed), flat(0.5)) for seed in range(3)]
    text = said.spreads(Results(runs), ATR)
    assert re.match(
        r"EOP-Net's 3 trainings spread by ±\d+\.\d points of novel mIoU \(fold 1\); those of the other", text
    )
    assert "(PANet)" in text
    assert "more than the 3 points" in text
    assert "no two trainings" in said.spreads(kway(eopnet=0.5), ATR)


def test_rows_are_set_against_the_complete_network() -> None:
    text = said.rows(Results([row("", 0.5), row("static", 0.3)]), (*TABLE6, "static"))
    novel, human, missing = text.splitlines()
    assert novel.startswith("* novel mIoU: the complete EOP-Net ")
    assert "paired difference -" in novel
    assert "paired difference -" in human
    assert missing.startswith("* *Not run*: ")
    assert "0.8" in missing
    assert "momentum prototypes" not in missing, "the static row was run"
    assert said.rows(Results(), TABLE6).startswith("* *Not run*")


def test_curves_are_read_only_where_they_are() -> None:
    history = [{"epoch": e, "novel_accuracy": 0.1 * e, "base_accuracy": 0.5} for e in (1, 2, 3)]
    runs = [replace(row(name, 0.5), history=tuple(history)) for name in FIGURE8]
    text = said.during_training(Results(runs[:1]))
    assert "highest at epoch 3 with 30 %" in text
    assert "*Not run* at this length: without momentum prototypes" in text
    assert "*Not run*" not in said.during_training(Results(runs))
    assert said.during_training(Results()).startswith("*Not run* at this length: with and without")


def test_budgets_and_starts_name_what_changed() -> None:
    text = said.budgets(Results([row("", 0.3), row("x4", 0.6), *kway(panet=0.4).seeds(RunKey("panet", ATR, 1, "k"))]))
    assert re.search(r"methods, synth-atr, human mIoU: EOP-Net \d+\.\d \(x1\) to \d+\.\d \(x4\)", text)
    assert "PANet" not in text
    keys = [one for one in runs_of("starts") if one.dataset == ATR and one.method in ("eopnet", "panet")]
    runs = [run(one, flat(0.7 if one.method == "eopnet" else 0.4)) for one in keys if one.ablation != "start-none"]
    lines = said.starts(Results(runs)).splitlines()
    assert lines[0].startswith("EOP-Net minus PANet, pseudo-novel mIoU")
    assert re.match(r"\* synth-atr: the dataset's base classes \+\d+\.\d .*; no initialisation \*not run\*$", lines[2])


@pytest.mark.parametrize("measure", ["novel", "human"])
def test_readings_of_nothing_have_no_number(measure: str) -> None:
    assert not re.search(rf"{measure} mIoU: .*\d\.\d", said.rows(Results(), TABLE6) + said.budgets(Results()))
