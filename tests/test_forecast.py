"""Estimates: counted operations times a pace, the same in the plan and in doctor, and quick to have."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from oshp_lite.cli import main
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.runs import RunStore
from oshp_lite.files import project_root
from oshp_lite.study import cost, forecast, plan
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.gpu_path import guide
from oshp_lite.study.plan import Estimates, Finder, before_training, config_of
from oshp_lite.study.printed.numbers import printed_table
from oshp_lite.study.records import RunKey

PAPER = config_of(RunKey("eopnet", "atr-os", 1, "k"), "paper")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(tmp_path / name.lower()))
    return tmp_path


def test_a_run_of_the_papers_is_counted_as_they_describe_it() -> None:
    episodes, pairs = forecast.episodes_of(PAPER)
    assert episodes == 7500 * 50
    assert pairs % (10 * 15) == 0
    work = forecast.work_of(PAPER)
    assert work is not None
    (row,) = [row for row in json.loads(_costs("official"))["rows"] if row["method"] == "eopnet"]
    assert work.train == pytest.approx(3e9 * row["training"]["k"]["macs_g"] * episodes)
    assert work.parse == pytest.approx(1e9 * row["macs_g"] * pairs)
    assert 5 < work.memory < 16, "the papers trained on a V100 with 16 GB"  # type: ignore[operator]


def _costs(variant: str) -> str:
    (path,) = (project_root() / "notebooks" / "results" / "costs").glob(f"{variant}-*-cpu.json")
    return path.read_text()


def test_operations_grow_with_area_epochs_and_batches_of_memory() -> None:
    one = forecast.work_of(PAPER)
    half = forecast.work_of(replace(PAPER, data=replace(PAPER.data, size=256)))
    longer = forecast.work_of(replace(PAPER, train=replace(PAPER.train, epochs=100)))
    assert one is not None
    assert half is not None
    assert longer is not None
    assert one.train == pytest.approx(4 * half.train)
    assert longer.train == pytest.approx(2 * one.train)


def test_what_nobody_counted_has_no_estimate() -> None:
    assert forecast.work_of(config_of(RunKey("persam", "atr-os", 1, "k"), "paper")) is None
    untrained = forecast.work_of(config_of(RunKey("label_transfer", "atr-os", 1, "k"), "paper"))
    assert untrained is not None
    assert (untrained.train, untrained.episodes, untrained.memory) == (0, 0, None)


def test_the_pace_of_a_gpu_is_the_journals_until_one_was_measured(places: Path) -> None:
    known = forecast.pace("cuda")
    assert known is not None
    printed = [printed_table("eopnet8").get("eopnet", f"cost.{what}") for what in ("macs", "fps")]
    assert known.train == pytest.approx(1e9 * printed[0].value * printed[1].value)  # type: ignore[union-attr]
    assert "computed" in known.source
    assert not known.measured
    record = {
        "speed": {"float32": {"train": 0.5, "parse": 0.1, "memory": 10240}},
        "plan": {"variant": "official", "speed_size": 512, "batch": 2},
        "provenance": {"device": "a card"},
    }
    (places / "reports" / "gpu-check").mkdir(parents=True)
    (places / "reports" / "gpu-check" / "gpu_check.json").write_text(json.dumps(record))
    timed, work = forecast.pace("cuda"), forecast.work_of(PAPER)
    assert timed is not None
    assert work is not None
    assert (timed.measured, timed.memory) == (True, 10)
    assert "a card" in timed.source
    assert work.seconds(timed) == pytest.approx(0.5 * work.episodes + 0.1 * work.pairs)


def test_every_trained_method_is_counted_in_both_ways() -> None:
    for variant in ("lite", "official"):
        rows = json.loads(_costs(variant))["rows"]
        two_photos = next(row["convs_g"] for row in rows if row["method"] == "panet")
        for row in rows:
            trained = not METHODS[row["method"]].training_free
            assert set(row["training"]) == ({"k", "1"} if trained else set())
            for counted in row["training"].values():
                assert counted["macs_g"] > 0.99 * two_photos, "all encode two photos"
                assert counted["saved_gib"] > 0


def test_a_count_scales_with_the_area(monkeypatch: pytest.MonkeyPatch) -> None:
    small = cost.count_training("panet", "lite", "k", 64)
    monkeypatch.setattr(cost, "COUNTED_AT", 64)
    scaled = cost.count_training("panet", "lite", "k", 128)
    assert scaled["macs_g"] == pytest.approx(4 * small["macs_g"])
    monkeypatch.setattr(cost, "COUNTED_AT", 128)
    assert cost.count_training("panet", "lite", "k", 128)["macs_g"] == pytest.approx(scaled["macs_g"], rel=0.02)


def test_minutes_say_what_comes_before_them(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, finder = load_profile("quick", ["train.minutes=1"]), Finder(RunStore(places / "runs"))
    told = before_training([config, config], finder)
    assert re.search(r"before the minutes begin: 1 initialisation .*, about \d+ (seconds|minutes); made once", told)
    monkeypatch.setattr(plan, "_undone", lambda *_: False)
    assert before_training([config], finder) == ""


def test_doctor_and_the_plan_agree(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    estimates = Estimates(RunStore(places / "runs"))
    key = RunKey("eopnet", "synth-atr", 1, "k")
    seconds, known = estimates.of(config_of(key, "quick"))
    assert known == "elsewhere"
    assert main(["matrix", "--profile", "quick", "--row", key.slug, "--dry-run", "--no-notebooks"]) == 0
    assert f"{seconds / 60:.1f} min* {key.slug}" in capsys.readouterr().out  # type: ignore[operator]
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    minutes = re.search(r"quick +reproduce +\d+ runs +(\d+) minutes \*", told)
    assert minutes is not None
    assert seconds / 60 < int(minutes[1]) < 30  # type: ignore[operator]
    assert re.search(r"paper +Table 2 on ATR on one GPU +\d+ runs +\S+ \w+ ~", told)


def test_doctor_takes_less_than_five_seconds(places: Path) -> None:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    subprocess.run([sys.executable, "-m", "oshp_lite", "doctor"], check=True, capture_output=True, env={**os.environ})
    assert spent() - before < 5, "seconds of a processor, which other work on the machine hardly moves"


def test_the_page_for_a_gpu_names_every_row_its_hours_and_what_is_missing(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSHP_SAM_WEIGHTS", str(places / "none"))
    found = guide(Finder(RunStore(places / "runs"), places / "data"))
    rows = sorted(row for item in found["items"] for row in item.rows)
    assert rows == list(range(4 * len(METHODS))) == list(range(found["rows"])), "two ways, two folds"
    known = [hours for item in found["items"] for hours in item.hours if hours is not None]
    assert found["hours"] == pytest.approx(sum(known))
    assert found["unknown"] + len(known) == len(rows)
    assert found["unknown"] < len(rows) / 4
    assert max(known) < found["limit"]
    assert 5 < found["memory"] < 16
    assert sorted(reason.split()[1] for reason in found["lacking"]) == ["SAM", "the", "the"]
    assert f"all {len(rows)} rows" in found["lacking"].values()
    # half the time an episode, half the hours: the benchmark's numbers take the place of the computed ones
    record = {
        "speed": {"float32": {"train": 0.02, "parse": 0.01, "memory": 20 * 1024}},
        "plan": {"variant": "official", "speed_size": 512, "batch": 2},
        "provenance": {"device": "a card"},
    }
    (places / "reports" / "gpu-check").mkdir(parents=True)
    (places / "reports" / "gpu-check" / "gpu_check.json").write_text(json.dumps(record))
    timed = guide(Finder(RunStore(places / "runs"), places / "data"))
    eopnet = next(item for item in timed["items"] if (item.label, item.way) == ("EOP-Net", "k"))
    assert timed["pace"].measured
    assert eopnet.memory == pytest.approx(20)
    assert eopnet.hours[0] == pytest.approx((0.02 * 7500 * 50 + 0.01 * _pairs()) / 3600)


def _pairs() -> int:
    return forecast.episodes_of(PAPER)[1]


def test_initialisations_first_makes_none_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matrix", "--profile", "paper", "--exhibits", "eopnet2", "--no-notebooks", "--inits"]) == 0
    assert capsys.readouterr().out.startswith("0 rows")
