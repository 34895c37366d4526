"""The table "paper against code": complete, and never out of step with the presets."""

from __future__ import annotations

from dataclasses import fields

import pytest

from oshp_lite.book.differences import DIFFERENCES, VARIANTS, difference_table, preset_table, setting
from oshp_lite.engine.presets import variant_config
from oshp_lite.models.eopnet_config import EOPNetConfig

# Fields that are not among the rows: how the unused parts are held, and how a pass is made (no other result).
NOT_A_DIFFERENCE = {"model.all_branches", "model.trunk_bn"}


def test_the_rows_run_from_1_to_45() -> None:
    assert [entry.row for entry in DIFFERENCES] == list(range(1, 46))


def test_a_row_names_switches_or_takes_a_stance() -> None:
    incomplete = [
        entry.row
        for entry in DIFFERENCES
        if bool(entry.fields) == bool(entry.stance)
        or not (entry.item and entry.paper and entry.code)
        or any(set(entry.settings(variant)) != set(entry.fields) for variant in VARIANTS)
    ]
    assert incomplete == []


def test_every_field_in_which_the_presets_differ_has_a_row() -> None:
    named = {name for entry in DIFFERENCES for name in entry.fields} | NOT_A_DIFFERENCE
    official, paper = EOPNetConfig.official(), EOPNetConfig.paper()
    differing = {f"model.{f.name}" for f in fields(official) if getattr(official, f.name) != getattr(paper, f.name)}
    for dataset in ("atr-os", "lip-os"):
        runs = variant_config("official", dataset), variant_config("paper", dataset)
        for group in ("data", "train", "eval"):
            one, two = (getattr(run, group) for run in runs)
            differing |= {f"{group}.{f.name}" for f in fields(one) if getattr(one, f.name) != getattr(two, f.name)}
    assert differing <= named


def test_the_bold_values_are_the_official_ones() -> None:
    bold = {
        "model.momentum": 0.999,
        "model.proto_warmup": 25,
        "model.bank_during_warmup": "overwrite",
        "model.coarse_proto": "static",
        "model.coarse_attention": "fg_only",
        "model.agm_trunk": "plain2+sep1",
        "model.bg_mean": "all_ids",
        "model.npm_scale": 10.0,
        "model.restrict_to_support": False,
        "model.oneway_head": "code",
        "model.contrast_bg": True,
        "model.absent_test": "resized",
        "data.pre_resize": None,
        "data.scale": "independent",
        "data.pad_label": 0,
        "eval.test_size": None,
        "eval.screening": True,
        "data.pairing": "once",
        "data.cap": 1500,
        "data.protocol": "journal",
        "train.poly_step": 10,
        "train.reset_momentum": True,
        "model.feature_level": "mid",
        "model.joint_encode": False,
        "eval.bi_every": 10,
    }
    assert {name: setting(name, "official") for name in bold} == bold


def test_the_table_has_a_line_for_every_row() -> None:
    lines = difference_table().splitlines()
    assert len(lines) == 2 + 45
    assert all(line.count("|") == 7 for line in lines)
    assert "`model.proto_warmup` = 25" in lines[3]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(AttributeError):
        setting("model.no_such_field", "official")


@pytest.mark.parametrize("group", ["model", "data", "train", "eval"])
def test_all_fields_of_a_group_are_tabulated(group: str) -> None:
    names = {
        f.name for f in fields(EOPNetConfig.official() if group == "model" else getattr(variant_config("paper"), group))
    }
    lines = preset_table(group).splitlines()
    assert {line.split("`")[1] for line in lines[2:]} == names - {"synthetic"}


PAPER = {
    "momentum": 0.999,
    "proto_warmup": 3,
    "warmup_inclusive": False,
    "coarse_proto": "momentum",
    "coarse_attention": "both",
    "coarse_bg_pass": False,
    "agm_trunk": "separable",
    "bg_mean": "present",
    "npm_scale": 10.0,
    "restrict_to_support": True,
    "oneway_head": "kway",
    "contrast_bg": False,
    "absent_test": "full",
    "feature_level": "block20",
    "joint_encode": False,
    "temperature": 0.1,
    "coarse_weight": 1.0,
    "contrast_weight": 1.0,
    "bank_during_warmup": "overwrite",
}
"""The journal's values, as its text and the facts state them."""


def test_the_papers_preset_keeps_its_values() -> None:
    assert {name: setting(f"model.{name}", "paper") for name in PAPER} == PAPER
