"""What answers cost: the facts' counts come out, speeds belong to one run, Table 8 reads what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oshp_lite.cli import main
from oshp_lite.errors import UserError
from oshp_lite.models.complexity import total_macs
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.study import cost
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.records import Results
from oshp_lite.study.tables import make_table


@pytest.fixture(scope="module")
def lite() -> dict[str, Any]:
    return cost.measure_costs("lite", size=64, seconds=0)


def test_eopnets_counts_at_512_pixels_are_the_known_ones() -> None:
    found = total_macs(EOPNetConfig.preset("official", n_ids=cost.CLASSES + 1), (512, 512), cost.CLASSES)
    assert {name: round(count / 1e9, 2) for name, count in found.items()} == {
        "full": 243.59,
        "no_agm": 141.35,
        "inference": 120.91,
    }


def test_counts_of_a_running_answer_agree_with_those_by_parts() -> None:
    found = cost.measure_costs("official", size=64, methods=["eopnet", "popnet"], seconds=0)
    parts = total_macs(EOPNetConfig.preset("official", n_ids=cost.CLASSES + 1), (64, 64), cost.CLASSES)
    eopnet, popnet = found["rows"]
    assert eopnet["convs_g"] == pytest.approx(parts["inference"] / 1e9, rel=1e-6)
    assert eopnet["convs_g"] <= eopnet["macs_g"] < 1.01 * eopnet["convs_g"]
    assert eopnet["params_m"] == pytest.approx(44.22, abs=0.01)
    assert popnet["params_m"] == pytest.approx(85.88, abs=0.01)  # the two-stage form, and the journal's 85.8
    assert eopnet["used_m"] < eopnet["params_m"]  # "mid" leaves the deepest branches of the encoder idle
    assert eopnet["relative"] == 1.0
    assert 0.3 < eopnet["macs_g"] / popnet["macs_g"] < 0.7  # "by half", in counts


def test_every_method_has_a_row_with_numbers_or_a_reason(lite: dict[str, Any]) -> None:
    assert [row["method"] for row in lite["rows"]] == list(METHODS)
    for row in lite["rows"]:
        numbers = [row[name] for name in ("macs_g", "convs_g", "params_m", "used_m", "fps", "relative")]
        assert all(number is None for number in numbers) if row["reason"] else all(number > 0 for number in numbers)
        assert row["reason"] or row["convs_g"] <= row["macs_g"]
    assert {row["method"] for row in lite["rows"] if row["reason"]} <= {"persam"}
    assert lite["provenance"]["threads"] >= 1
    assert lite["clock"] in ("one thread's own seconds", "seconds on the wall")


def test_deeper_use_of_the_same_pair_costs_more(lite: dict[str, Any]) -> None:
    by_name = {row["method"]: row for row in lite["rows"]}
    assert by_name["finetune"]["macs_g"] > 2 * by_name["panet"]["macs_g"]  # it trains on every pair
    assert by_name["popnet"]["params_m"] > 1.9 * by_name["panet"]["params_m"]  # an encoder a stage


def test_table_8_shows_what_was_written(lite: dict[str, Any], tmp_path: Path) -> None:
    path = cost.write_costs(lite, tmp_path)
    assert path.name == "lite-64px-cpu.json"
    assert json.loads(path.read_text(encoding="utf-8")) == lite
    (found,) = cost.load_costs(tmp_path)
    table = make_table("eopnet8", Results(), costs=[found])
    rows = [row for row in table.rows if row.kind == "measured"]
    assert len(rows) == len(METHODS)
    by_method = {row["method"]: row for row in lite["rows"]}
    for row in rows:
        macs = row.cells[3]
        if by_method[row.group]["reason"]:
            assert macs.kind == "missing"
        else:
            assert macs.kind == "measured"
            assert macs.value == by_method[row.group]["macs_g"]
    assert "lite encoder, 64 px, 5 classes" in str(rows[0].cells[2])


@pytest.mark.parametrize("content", ["[1]", "null", '{"kind": "co'])
def test_a_damaged_file_among_the_costs_is_left_out_with_a_sentence(tmp_path: Path, content: str) -> None:
    assert cost.load_costs(tmp_path / "none") == []
    (tmp_path / "x.json").write_text(content)
    with pytest.warns(UserWarning, match="measure anew"):
        assert cost.load_costs(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"methods": ["nothing"]}, "eopnet"),
        ({"variant": "huge"}, "official"),
        ({"size": 8}, "32 pixels"),
        ({"device": "abacus"}, "cpu"),
    ],
)
def test_bad_requests_get_a_sentence(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        cost.measure_costs(**given)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "methods", "--size", "64", "--seconds", "0", "--out", str(tmp_path)]) == 0
    assert "EOP-Net" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["lite-64px-cpu.json"]
    assert main(["bench", "methods", "--variant", "huge"]) == 2
    assert "huge" in capsys.readouterr().err


def test_the_kept_costs_hold_every_method_and_the_known_counts() -> None:
    folder = Path(__file__).resolve().parents[1] / "notebooks" / "results" / "costs"
    kept = {(one["variant"], one["size"]): one for one in cost.load_costs(folder)}
    assert {("official", 512), ("lite", 128)} <= set(kept)
    for one in kept.values():
        assert [row["method"] for row in one["rows"]] == list(METHODS)
    rows = {row["method"]: row for row in kept["official", 512]["rows"]}
    assert round(rows["eopnet"]["convs_g"], 2) == 120.91
    assert rows["popnet"]["params_m"] == pytest.approx(85.88, abs=0.01)
    table = make_table("eopnet8", Results(), costs=list(kept.values()))
    assert sum(row.kind == "measured" for row in table.rows) == len(kept) * len(METHODS)
