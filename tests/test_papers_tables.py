"""Tables of both papers: three kinds of cell, nothing measured without its data, nothing lost in any form."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from papers_made_up import made_up, made_up_results

from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError
from oshp_lite.study import results, tables
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.statistics import bootstrap
from oshp_lite.study.tables import TABLES, make_table
from oshp_lite.study.tables.measure import runs_cell
from oshp_lite.study.tables.table import Cell, Column, Row, Table


@pytest.fixture(scope="module")
def full() -> Results:
    return made_up_results()


def cells(table: Table, **about: str) -> list[tuple[str, Cell]]:
    """(full column label, cell) of the first row of that group and kind."""
    row = next(row for row in table.rows if all(getattr(row, name) == value for name, value in about.items()))
    return [(column.full, cell) for column, cell in zip(table.columns, row.cells, strict=True)]


@pytest.mark.parametrize("name", TABLES)
def test_without_results_every_table_still_stands(name: str) -> None:
    table = make_table(name, Results())
    assert not any(cell.kind == "measured" for row in table.rows for cell in row.cells)
    missing = [cell for row in table.rows for cell in row.cells if cell.kind == "missing"]
    assert all(cell.reason for cell in missing)
    assert any(cell.text == "not run" for cell in missing)
    assert any(note.endswith("not run yet.") for note in table.notes)


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_one_of_the_kinds_and_measured_ones_name_their_data(name: str, full: Results) -> None:
    table = make_table(name, full)
    for row in table.rows:
        measured = [cell for cell in row.cells if cell.kind == "measured"]
        assert {cell.kind for cell in row.cells} <= {"label", "printed", "measured", "missing"}
        if not measured:
            continue
        (data,) = [cell for column, cell in zip(table.columns, row.cells, strict=True) if column.kind == "data"]
        assert data.kind == "label"
        assert any(spec.title in data.text for spec in DATASETS.values())
        assert "lite; committed" in data.text
        if any(cell.kind == "printed" for cell in row.cells):  # side by side: the column says so as well
            for column, cell in zip(table.columns, row.cells, strict=True):
                assert cell.kind != "measured" or "measured on synth-atr" in column.group
        assert all(cell.runs for cell in measured)


def test_a_measured_cell_is_the_bootstrap_over_its_seeds(full: Results) -> None:
    table = make_table("eopnet2", full)
    found = dict(cells(table, group="eopnet", kind="measured"))["k-way novel mIoU: fold 1"]
    assert found.kind == "measured"
    runs = full.seeds(RunKey("eopnet", "synth-atr", 1, "k"))
    expected = bootstrap(runs, "novel")
    assert (found.value, found.low, found.high) == tuple(100 * value for value in expected)
    assert found.spread == pytest.approx(np.std([100 * run.score("novel") for run in runs], ddof=1))
    assert (found.seeds, len(found.runs)) == (3, 3)
    assert re.fullmatch(r"\d+\.\d ±\d\.\d \(n=3\) \[\d+\.\d, \d+\.\d\]", replace(found, best=False).shown)


def test_averages_need_both_folds_except_where_only_an_average_is_printed(full: Results) -> None:
    table = make_table("eopnet2", full)
    two, one = (dict(cells(table, group=method, kind="measured")) for method in ("popnet", "sgone"))
    mean = two["k-way novel mIoU: average"]
    assert mean.kind == "measured"
    folds = [two[f"k-way novel mIoU: fold {number}"] for number in (1, 2)]
    assert mean.value == pytest.approx(np.mean([cell.value for cell in folds if cell.value is not None]))
    assert (mean.folds, mean.spread) == ((1, 2), None)
    assert one["k-way novel mIoU: average"].kind == "missing"
    accuracy = one["k-way overall accuracy: average"]
    assert accuracy.kind == "measured"
    assert (accuracy.folds, accuracy.mark) == ((1,), "‡")
    assert any(note.startswith("‡") for note in table.notes)


def test_what_is_ours_is_marked_and_what_is_missing_says_why(full: Results) -> None:
    table = make_table("eopnet2", full)
    for method, mark in (("ppnet", "†"), ("finetune", "†"), ("sgone", ""), ("eopnet", ""), ("label_transfer", "†")):
        found = dict(cells(table, group=method, kind="measured"))["k-way novel mIoU: fold 1"]
        assert found.kind == "measured"
        assert found.mark == mark
    names = [row.cells[0].shown for row in table.rows]
    assert "Nearest-patch label transfer (ours, in no paper)†" in names
    assert not any(row.kind == "paper" and row.group == "label_transfer" for row in table.rows)
    sam = dict(cells(table, group="persam", kind="measured"))["k-way novel mIoU: fold 1"]
    assert sam.kind == "missing"
    assert f"({sam.mark}) needs SAM weights." in table.notes
    assert any("background as in PANet" in name for name in names)


def test_screened_rows_stand_below_measured_ones_but_not_for_eopnet(full: Results) -> None:
    table = make_table("eopnet2", full)
    kinds = [row.kind for row in table.rows if row.group == "sgone"]
    assert kinds == ["paper", "measured", "screened"]
    assert [row.kind for row in table.rows if row.group == "eopnet"] == ["paper", "measured"]
    plain = Results([made_up(RunKey("sgone", "synth-atr", 1, "k"), screened=False)])
    found = dict(cells(make_table("eopnet2", plain), group="sgone", kind="screened"))["k-way novel mIoU: fold 1"]
    assert found.kind == "missing"
    assert found.text == "not screened"


def test_best_is_marked_apart_for_paper_and_measured(full: Results) -> None:
    table = make_table("eopnet2", full)
    place = [column.full for column in table.columns].index("1-way novel mIoU: average")
    best = [row.group for row in table.rows if getattr(row.cells[place], "best", False)]
    assert best == ["eopnet"]  # printed; in 1-way only one average was measured, which is no contest
    place = [column.full for column in table.columns].index("k-way novel mIoU: fold 1")
    assert {row.kind for row in table.rows if getattr(row.cells[place], "best", False)} == {"paper", "measured"}


def test_printed_numbers_that_do_not_add_up_carry_a_star_and_a_note(full: Results) -> None:
    table = make_table("eopnet2", full)
    shown = dict(cells(table, group="popnet", kind="paper"))
    assert shown["1-way novel mIoU: average"].shown == "31.9*"
    assert any(note.startswith("*") and "33.5" in note for note in table.notes)
    frames = make_table("framework", full)
    assert any(note.startswith("*") and "61.6" in note for note in frames.notes)


def test_the_table_on_real_photos_has_no_paper_in_it(full: Results) -> None:
    table = make_table("ccp", full)
    assert not any(cell.kind == "printed" for row in table.rows for cell in row.cells)
    assert len(table.columns) == len(make_table("eopnet2", full).columns)
    assert all("CCP-OS (real photos)" in row.cells[2].shown for row in table.rows)


def test_the_papers_own_data_joins_as_soon_as_something_was_measured_on_it(full: Results) -> None:
    keys = [RunKey("eopnet", "atr-os", 1, "k"), RunKey("eopnet", "synth-atr", 1, "k")]
    both = Results([made_up(key, profile="paper" if key.dataset == "atr-os" else "lite") for key in keys])
    table = make_table("eopnet2", both)
    assert [row.cells[2].shown for row in table.rows if row.group == "eopnet"] == [
        "ATR-OS, as printed",
        "synth-atr (procedural people), lite; committed",
        "ATR-OS, paper; committed",
    ]
    groups = [label for label, _ in make_table("eopnet6", both).heads]
    assert "measured on ATR-OS, fold 1" in groups
    alone = make_table("eopnet2", Results([made_up(keys[0], profile="paper")]))
    assert not any("synth-atr" in row.cells[2].shown for row in alone.rows)


def test_one_run_serves_several_tables(full: Results) -> None:
    one = dict(cells(make_table("eopnet2", full), group="eopnet", kind="measured"))["k-way novel mIoU: fold 1"]
    for name, row in (("eopnet5", 5), ("eopnet6", 3), ("eopnet7", 0)):
        other = make_table(name, full).rows[row].cells[3]
        assert other.kind == "measured"
        assert one.kind == "measured"
        assert other.value == one.value


def test_a_study_with_another_momentum_does_not_fill_the_papers_row() -> None:
    key = RunKey("eopnet", "synth-atr", 1, "k")
    tuned = replace(made_up(key), provenance={"settings": {"lr": 0.1, "options": {"momentum": 0.9}}})
    table = make_table("eopnet6", Results([tuned]))
    names = [row.cells[0].shown for row in table.rows]
    assert names == ["0.8", "0.9", "0.99", "0.999", "0.9999", "0.9 (the full network here)†"]
    printed, measured = table.rows[3].cells[1], table.rows[3].cells[3]
    assert printed.kind == "printed"
    assert printed.value == 31.1
    assert measured.kind == "missing"
    assert table.rows[5].cells[3].kind == "measured"
    assert table.rows[5].cells[1].kind == "missing"


def test_settings_are_told_shared_ones_once() -> None:
    made = []
    for method, rate in (("eopnet", 0.1), ("sgone", 0.2), ("amp", 0.1)):
        settings_of = {"epochs": 5, "lr": rate, "size": [96, 64], "options": {"beta": 1} if method == "amp" else {}}
        made.append(replace(made_up(RunKey(method, "synth-atr", 1, "k")), provenance={"settings": settings_of}))
    notes = make_table("eopnet2", Results(made)).notes
    assert "Trained methods, unless said otherwise: epochs 5; lr 0.1; size 96x64." in notes
    assert {"SG-One: lr 0.2.", "AMP: beta 1."} <= set(notes)
    assert not any(note.startswith("EOP-Net: ") for note in notes)
    two = Results([one for one in made if one.key.method != "amp"])
    halves = make_table("eopnet2", two).notes  # neither rate is the usual one
    assert {"EOP-Net: lr 0.1.", "SG-One: lr 0.2."} <= set(halves)


def test_a_method_without_training_names_its_photos_and_its_start_alone() -> None:
    made = []
    for method, own in (("eopnet", {"npm_scale": 20.0}), ("popnet", {}), ("sgone", {}), ("label_transfer", {})):
        about = {"epochs": 5, "size": 96, "variant": "lite", "options": own}
        made.append(replace(made_up(RunKey(method, "synth-atr", 1, "k")), provenance={"settings": about}))
    notes = make_table("eopnet2", Results(made)).notes
    assert "Trained methods, unless said otherwise: epochs 5; size 96; variant lite." in notes
    assert "EOP-Net: npm_scale 20." in notes
    assert not any(note.startswith(("POPNet: ", "SG-One: ")) for note in notes)
    assert "Nearest-patch label transfer, which is not trained: size 96; variant lite." in notes


def test_a_row_that_was_never_planned_says_so(full: Results) -> None:
    shown = dict(cells(make_table("eopnet2", full), group="panet-bg-panet", kind="measured"))
    reasons = {cell.reason for cell in shown.values() if cell.kind == "missing"}
    assert reasons == {"not planned: this row exists for fold 1, k-way only"}


def test_the_table_says_how_much_each_was_tuned() -> None:
    made = [made_up(RunKey(method, "synth-atr", 1, "k")) for method in ("eopnet", "sgone")]
    tuned = {"eopnet": "4 trials, the first kept", "sgone": "4 trials", "amp": "4 trials"}
    (note,) = [note for note in make_table("eopnet2", Results(made, tuned=tuned)).notes if "tried" in note]
    assert note.endswith("SG-One: 4 trials; EOP-Net: 4 trials, the first kept.")  # AMP has no result here


def test_quick_runs_were_tuned_as_lite_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """quick takes the settings of lite, so what was tried for them is told there too; smoke has settings of its own."""
    key = RunKey("panet", "synth-atr", 1, "k")
    monkeypatch.setattr(results, "_read", lambda key, profile, *_: made_up(key, profile=profile))
    told = {name: results.load_results(name, [key], committed=tmp_path).tuned for name in ("quick", "lite", "smoke")}
    assert told["quick"] == told["lite"]
    assert "trials" in told["quick"]["panet"]
    assert "panet" not in told["smoke"]


def test_costs_come_from_one_run_or_say_why_not() -> None:
    rows = [
        {"method": "eopnet", "macs_g": 120.9, "params_m": 44.2, "fps": 2.0, "relative": 1.0, "reason": ""},
        {"method": "persam", "reason": "needs SAM weights"},
    ]
    about = {
        "variant": "official",
        "size": 512,
        "classes": 5,
        "device": "cpu",
        "machine": "a CPU",
        "date": "2026-01-01",
    }
    table = make_table("eopnet8", Results(), costs=[{**about, "rows": rows, "notes": ["As released: 243.6 G."]}])
    shown = dict(cells(table, group="eopnet", kind="measured"))
    assert [cell.shown for cell in shown.values()][3:7] == ["120.9", "44.2", "2.00", "1.00"]
    assert any("243.6" in note for note in table.notes)
    assert any(note.endswith(") needs SAM weights.") for note in table.notes)
    assert dict(cells(table, group="eopnet", kind="paper"))["MACs (G)"].value == 129.3
    ratios = {row.group: row.cells[-1].shown for row in table.rows if row.kind == "paper"}
    assert ratios == {"panet": "0.19", "ppnet": "0.03", "popnet": "0.65", "eopnet": "1.00"}  # 2.3, 0.3, 7.8 of 12.0
    assert not any(column.kind == "runs" for column in table.columns)


def test_unknown_tables_get_a_sentence() -> None:
    with pytest.raises(UserError, match="popnet1"):
        make_table("eopnet9", Results())


def test_braces_fold_seeds_only() -> None:
    cell = runs_cell([Cell("1", runs=("a-seed0", "a-seed1", "b-seed2-x")), Cell("2", runs=("a-seed10", "a-seed0"))])
    assert (cell.text, cell.mono) == ("a-seed{0,1,10} b-seed2-x", True)
    assert runs_cell([]).text == "–"


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="cells"):
        Table("x", "x", "x", (Column("a"),), (Row((Cell("1"), Cell("2"))),))


def test_a_new_table_is_one_declared_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a table costs: its entry in `tables/declared.yaml`, over runs of the plan or kept ones, and a test."""
    rows = [{"method": name, "condition": "papers", "name": name} for name in ("eopnet", "sgone")]
    entry = {"kind": "parts", "title": "Two methods", "first": "method", "datasets": ["ccp-os"], "rows": rows}
    monkeypatch.setattr(tables, "declared", lambda: {"two": entry})
    run = made_up(RunKey("eopnet", "ccp-os", 1, "k", condition="papers"))
    table = make_table("two", Results([run]))
    assert [column.full for column in table.columns][1] == "measured on CCP-OS (real photos), fold 1: novel mIoU"
    assert [row.cells[1].kind for row in table.rows] == ["measured", "missing"]
    assert table.source == "in no paper"
