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
from oshp_lite.study.collapse import is_collapsed
from oshp_lite.study.experiments import STEPS, matrix
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.statistics import bootstrap, paired_difference
from oshp_lite.study.tables import TABLES, make_table
from oshp_lite.study.tables.measure import runs_cell
from oshp_lite.study.tables.table import Cell, Column, Row, Table


@pytest.fixture(scope="module")
def full() -> Results:
    return made_up_results()


NOVEL = "novel mIoU, fold 1: "
HERE = f"{NOVEL}here, synth-atr (procedural people)"


def cells(table: Table, **about: str) -> list[tuple[str, Cell]]:
    """(full column label, cell) of the first row of that group and kind."""
    row = next(row for row in table.rows if all(getattr(row, name) == value for name, value in about.items()))
    return [(column.full, cell) for column, cell in zip(table.columns, row.cells, strict=True)]


@pytest.fixture(scope="module")
def whole() -> Results:
    return Results(made_up(key) for key in matrix("lite", STEPS) if key.method != "persam")


@pytest.mark.parametrize("name", TABLES)
def test_without_results_every_table_still_stands(name: str) -> None:
    table = make_table(name, Results())
    assert not any(cell.kind == "measured" for row in table.rows for cell in row.cells)
    missing = [cell for row in table.rows for cell in row.cells if cell.kind == "missing"]
    assert all(cell.reason for cell in missing)
    assert any(cell.text == "not run" for cell in missing)
    assert any(note.endswith("not run yet.") for note in table.notes)


WORDS = re.compile(
    r"reproduced|not reproduced|undecided|not testable here|not in print|same \(\d+\)|\d+ (up|down) \(\d+ to \d+\)"
)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("some", [0, 1, 2], ids=["nothing", "some", "everything"])
def test_every_cell_is_one_of_the_kinds_and_measured_ones_name_their_data(
    name: str, some: int, full: Results, whole: Results
) -> None:
    """Design, section 7: the paper's number, a measured one with its runs, or not run and why; verdicts beside them."""
    at_hand = (Results(), full, whole)[some]
    known = {key.slug for key in at_hand.keys()}  # noqa: SIM118 - not a mapping
    table = make_table(name, at_hand)
    for row in table.rows:
        (data,) = [cell for column, cell in zip(table.columns, row.cells, strict=True) if column.kind == "data"]
        for column, cell in zip(table.columns, row.cells, strict=True):
            match cell.kind:
                case "printed":
                    assert cell.printed
                    assert cell.printed.text == cell.text
                case "measured":
                    assert cell.runs
                    assert set(cell.runs) <= known
                    assert re.fullmatch(r"[+-]?\d+\.\d", cell.text), "one decimal"
                    assert any(spec.title in data.text for spec in DATASETS.values())
                    assert "lite; committed" in data.text
                    if row.kind != "measured" and "data" not in column.group and not row.section:
                        several = name.startswith(
                            ("sst", "instance")
                        )  # rows of several datasets: the data column, read above, tells them
                        assert ("measured" if several else "measured on synth-atr") in column.group
                case "missing":
                    assert cell.reason
                    assert cell.value is None
                    assert cell.text in ("not run", "–", "not screened", "not testable here")
                case "verdict":
                    assert WORDS.fullmatch(cell.text), cell.text
                    assert set(cell.runs) <= known
                case "label":
                    assert column.words or not cell.text
    assert (not any(cell.kind == "measured" for row in table.rows for cell in row.cells)) == (not len(at_hand)) or some


def test_a_measured_cell_is_the_bootstrap_over_its_seeds(full: Results) -> None:
    table = make_table("eopnet2", full)
    found = dict(cells(table, group="eopnet"))[HERE]
    assert found.kind == "measured"
    runs = full.seeds(RunKey("eopnet", "synth-atr", 1, "k"))
    expected = bootstrap(runs, "novel")
    assert (found.value, found.low, found.high) == tuple(100 * value for value in expected)
    assert found.spread == pytest.approx(np.std([100 * run.score("novel") for run in runs], ddof=1))
    assert (found.seeds, len(found.runs)) == (3, 3)
    assert re.fullmatch(r"\d+\.\d ±\d\.\d \(n=3\) \[\d+\.\d, \d+\.\d\]", replace(found, best=False).shown)


def test_means_need_both_folds_of_half_the_methods(full: Results, whole: Results) -> None:
    one, both = make_table("eopnet2", full), make_table("eopnet2", whole)
    assert any(column.group == "novel mIoU, mean of both folds" for column in both.columns)
    assert any(column.group == "novel mIoU, fold 1" for column in one.columns)
    popnet, sgone = (dict(cells(one, group=method)) for method in ("popnet", "sgone"))
    mean = popnet["novel mIoU, average: here, synth-atr (procedural people)"]
    folds = [popnet[f"novel mIoU, fold {fold}: here, synth-atr (procedural people)"] for fold in (1, 2)]
    assert mean.value == pytest.approx(np.mean([cell.value for cell in folds if cell.value is not None]))
    assert (mean.folds, mean.spread) == ((1, 2), None)
    assert sgone["novel mIoU, average: here, synth-atr (procedural people)"].kind == "missing"
    accuracy = sgone["overall accuracy, average: here, synth-atr (procedural people)"]
    assert (accuracy.folds, accuracy.mark) == ((1,), "‡")
    assert any(note.startswith("‡") for note in one.notes)
    mean_of = "novel mIoU, mean of both folds: here, synth-atr (procedural people)"
    ceiling = dict(cells(both, kind="ceiling"))[mean_of]
    assert (ceiling.mark, ceiling.best) == ("‡", False)  # run on one fold


def test_ranks_and_verdicts_compare_what_both_have(whole: Results) -> None:
    table = make_table("eopnet2", whole)
    ranks = {}
    for row in table.rows:
        cell = dict(zip((column.full for column in table.columns), row.cells, strict=True))
        if row.section.startswith("Methods that"):
            mean = "novel mIoU, mean of both folds: "
            paper, here = cell[f"{mean}paper, ATR-OS"], cell[f"{mean}here, synth-atr (procedural people)"]
            ranks[row.group] = (paper.value, here.value, cell[f"{mean}rank there and here"].text)
            verdict = cell[f"{mean}order with EOP-Net as in print?"]
            if row.group != "eopnet":
                own, other = (
                    [run for fold in (1, 2) for run in whole.seeds(RunKey(one, "synth-atr", fold, "k"))]
                    for one in ("eopnet", row.group)
                )
                expected = paired_difference(own, other, "novel")
                assert (verdict.value, verdict.low) == pytest.approx((100 * expected.mean, 100 * expected.low))
                sure = "reproduced" if expected.low > 0 else "not reproduced" if expected.high < 0 else "undecided"
                assert verdict.text == sure
    assert set(ranks) == {"panet", "sgone", "amp", "popnet", "eopnet"}
    for paper, here, text in ranks.values():
        there, place = (1 + sum(one[side] > own for one in ranks.values()) for side, own in enumerate((paper, here)))
        words = f"{abs(there - place)} {'up' if place < there else 'down'} ({there} to {place})"
        assert text == (words if there != place else f"same ({there})")


def test_a_collapsed_method_is_marked_and_decides_nothing() -> None:
    keys = [RunKey(method, "synth-atr", 1, "1") for method in ("eopnet", "sgone", "panet", "amp")]
    made = [made_up(key) for key in keys]
    counts = made[1].counts.copy()  # every pixel of the target class is called background
    counts[:, 0, 0] += counts[:, 0, 2]
    counts[:, 0, 1:] = np.stack([counts[:, 1, 0] + counts[:, 1, 2], 0 * counts[:, 1, 0]], 1)
    counts[:, 1] = np.stack([0 * counts[:, 1, 0], 0 * counts[:, 1, 0], counts[:, 0, 1]], 1)
    made[1] = replace(made[1], counts=counts)
    assert is_collapsed(made[1])
    assert not any(map(is_collapsed, (made[0], made[2])))
    table = make_table("eopnet2-1way", Results(made))
    lost = dict(cells(table, group="sgone"))
    assert lost[HERE].mark == "§"
    assert lost[f"{NOVEL}rank there and here"].text == "–"
    assert lost[f"{NOVEL}order with EOP-Net as in print?"].text == "not testable here"
    assert dict(cells(table, group="panet"))[f"{NOVEL}rank there and here"].kind == "verdict"
    assert any(note.startswith("§ collapsed") for note in table.notes)


def test_what_is_ours_is_marked_and_what_is_missing_says_why(full: Results) -> None:
    table = make_table("eopnet2", full)
    names = {row.group: row.cells[0].shown for row in table.rows if row.kind == "both"}
    for method, mark in (("ppnet", "†"), ("finetune", "†"), ("sgone", ""), ("eopnet", ""), ("label_transfer", "†")):
        assert names[method].endswith("†") == bool(mark)
        assert dict(cells(table, group=method))[HERE].kind == "measured"
    assert dict(cells(table, group="ppnet"))[f"{NOVEL}order with EOP-Net as in print?"].text == "not in print"
    sam = dict(cells(table, group="persam"))[HERE]
    assert sam.kind == "missing"
    assert f"({sam.mark}) needs SAM weights." in table.notes
    assert any("background as in PANet" in name for name in names.values())
    released = dict(cells(table, group="eopnet-released"))[HERE]
    assert "checkpoint" in released.reason


def test_screened_rows_stand_apart_below(full: Results) -> None:
    table = make_table("eopnet2", full)
    kinds = [row.kind for row in table.rows]
    assert kinds == sorted(kinds, key=["both", "ceiling", "screened"].index)
    assert "eopnet" not in {row.group for row in table.rows if row.kind == "screened"}
    plain = Results([made_up(RunKey("sgone", "synth-atr", 1, "k"), screened=False)])
    found = dict(cells(make_table("eopnet2", plain), group="sgone", kind="screened"))[HERE]
    assert (found.kind, found.text) == ("missing", "not screened")


def test_bold_is_for_methods_alone(whole: Results) -> None:
    table = make_table("eopnet2", whole)
    for place, column in enumerate(table.columns):
        best = [row for row in table.rows if row.cells[place].best]
        assert {row.kind for row in best} <= {"both"}
        if column.kind == "measured" and "mean of both" in column.group:
            values = [row.cells[place].value for row in table.rows if row.kind == "both" and not row.cells[place].mark]
            assert [row.cells[place].value for row in best] == [max(value for value in values if value is not None)]


def test_printed_numbers_that_do_not_add_up_carry_a_star_and_a_note(full: Results) -> None:
    table = make_table("eopnet2", full)
    shown = dict(cells(make_table("eopnet2-1way", full), group="popnet"))
    assert shown["novel mIoU, average: paper, ATR-OS"].shown == "31.9*"
    table = make_table("eopnet2-1way", full)
    assert any(note.startswith("*") and "33.5" in note for note in table.notes)
    frames = make_table("framework", full)
    assert any(note.startswith("*") and "61.6" in note for note in frames.notes)


def test_the_table_on_real_photos_has_no_number_of_a_paper_in_it(full: Results) -> None:
    table = make_table("ccp", full)
    assert not any(cell.kind == "printed" for row in table.rows for cell in row.cells)
    assert not any("paper" in column.label for column in table.columns)
    assert all("CCP-OS (real photos)" in column.label for column in table.columns if column.kind == "measured")


def test_the_papers_own_data_joins_as_soon_as_something_was_measured_on_it(full: Results) -> None:
    keys = [RunKey("eopnet", "atr-os", 1, "k"), RunKey("eopnet", "synth-atr", 1, "k")]
    both = Results([made_up(key, profile="paper" if key.dataset == "atr-os" else "lite") for key in keys])
    row = dict(cells(make_table("eopnet2", both), group="eopnet"))
    assert row["data and profile"].text.split(" | ") == [
        "synth-atr (procedural people), lite; committed",
        "ATR-OS, paper; committed",
    ]
    assert row[f"{NOVEL}here, ATR-OS"].kind == row[HERE].kind == "measured"
    groups = [label for label, _ in make_table("eopnet6", both).heads]
    assert "measured on ATR-OS, fold 1" in groups
    alone = make_table("eopnet2", Results([made_up(keys[0], profile="paper")]))
    assert not any("synth-atr" in column.label for column in alone.columns)


def test_one_run_serves_several_tables(full: Results) -> None:
    one = dict(cells(make_table("eopnet2", full), group="eopnet"))[HERE]
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
    shown = dict(cells(make_table("eopnet5", full), kind="both"))
    assert {cell.kind for cell in shown.values()} <= {"label", "printed", "measured", "missing"}
    extra = dict(cells(make_table("eopnet2", full), group="panet-bg-panet"))
    reasons = {cell.reason for cell in extra.values() if cell.kind == "missing"}
    assert reasons == {"not run yet"}


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
    assert [cell.shown for cell in shown.values()][3:7] == ["120.9", "44.2", "2.0", "100"]
    assert any("243.6" in note for note in table.notes)
    assert any(note.endswith(") needs SAM weights.") for note in table.notes)
    assert dict(cells(table, group="eopnet", kind="paper"))["MACs (G)"].value == 129.3
    ratios = {row.group: row.cells[-1].shown for row in table.rows if row.kind == "paper"}
    assert ratios == {"panet": "19", "ppnet": "3", "popnet": "65", "eopnet": "100"}  # 2.3, 0.3, 7.8 of 12.0
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
