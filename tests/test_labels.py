"""Label spaces, merges, folds and palettes."""

from __future__ import annotations

import ast
import copy
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import oshp_lite
from oshp_lite.errors import UserError
from oshp_lite.labels import (
    BACKGROUND,
    CCP_CLASSES,
    CCP_TAGS,
    GROUPS,
    IGNORE,
    colour_of,
    fold,
    label_space,
    one_shot_space,
    tables,
)

SPACES = ("atr", "lip", "cihp", "pascal", "ccp", "ccp-os")
FOLDS = [("atr", 1), ("atr", 2), ("lip", 1), ("lip", 2), ("cihp", 1), ("cihp", 2), ("ccp", 1), ("ccp", 2)]

# The table of the official code, written out once more by hand: raw id -> kept id for the ids that change.
ATR_CHANGES = {3: 0, 8: 0, 10: 9, 13: 12, 15: 14, 17: 0}
LIP_CHANGES = {3: 0, 4: 0, 8: 0, 11: 0, 15: 14, 17: 16, 19: 18}


def ids_of(space: str) -> list[int]:
    return [*range(label_space(space).n_raw), IGNORE]


def masks(space: str) -> st.SearchStrategy[np.ndarray]:
    shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)
    return hnp.arrays(np.uint8, shape, elements=st.sampled_from(ids_of(space)))


@pytest.mark.parametrize(
    ("space", "raw", "kept"), [("atr", 18, 12), ("lip", 20, 13), ("cihp", 20, 13), ("pascal", 7, 7)]
)
def test_sizes(space: str, raw: int, kept: int) -> None:
    labels = label_space(space)
    assert (labels.n_raw, labels.n_ids, len(labels.classes)) == (raw, raw, kept)


@pytest.mark.parametrize(("space", "changes"), [("atr", ATR_CHANGES), ("lip", LIP_CHANGES), ("cihp", LIP_CHANGES)])
def test_merges_match_the_published_table(space: str, changes: dict[int, int]) -> None:
    labels = label_space(space)
    raw = np.array(ids_of(space), np.uint8)
    expected = [changes.get(int(index), int(index)) for index in raw]
    assert labels.merge(raw).tolist() == expected


def test_names_of_the_three_datasets() -> None:
    atr, lip, cihp = (label_space(name) for name in ("atr", "lip", "cihp"))
    assert atr.class_names == tuple(
        "background hat hair upper-clothes skirt pants dress shoes face legs arms bag".split()  # noqa: SIM905
    )
    assert lip.names[10] == "jumpsuits"
    assert cihp.names[10] == "torso-skin"
    assert [a for a, b in zip(lip.names, cihp.names, strict=True) if a != b] == ["jumpsuits"]
    assert atr.id_of("right shoe") == 10
    assert atr.id_of("shoes") == 9
    assert atr.class_name(9) == "shoes"
    with pytest.raises(UserError, match="no class named 'sock'"):
        atr.id_of("sock")
    with pytest.raises(UserError, match="no kept class"):
        atr.class_name(10)


def test_ccp_tags_become_twelve_classes() -> None:
    tags, made = label_space("ccp"), label_space("ccp-os")
    assert (tags.n_raw, tags.n_ids, made.n_raw, made.n_ids) == (59, 12, 12, 12)
    assert tags.classes == made.classes == tuple(range(12))
    dropped = {CCP_TAGS[tag] for tag, kept in tags.kept_as.items() if kept == BACKGROUND}
    assert dropped == {
        *("null", "accessories", "belt", "bracelet", "earrings", "glasses", "gloves", "necklace", "ring", "scarf"),
        *("sunglasses", "tie", "watch"),
    }
    assert sum(len(members.split(",")) for members in CCP_CLASSES.values()) + len(dropped) - 1 == len(CCP_TAGS)
    mask = np.array([[CCP_TAGS.index("blazer"), CCP_TAGS.index("tie"), CCP_TAGS.index("wedges"), 255]], np.uint8)
    assert [made.class_name(index) for index in tags.merge(mask)[0, :3]] == ["coat", "background", "shoes"]
    assert tags.foreground(mask).tolist() == [[1, 1, 1, 255]]


@pytest.mark.parametrize("space", SPACES)
def test_groups_are_a_partition_of_the_classes(space: str) -> None:
    labels = label_space(space)
    assert tuple(labels.groups) == GROUPS
    members = [index for ids in labels.groups.values() for index in ids]
    assert sorted(members) == sorted(labels.foreground_classes)
    assert sorted(labels.test_order) == sorted(labels.foreground_classes)


@pytest.mark.parametrize("space", SPACES)
def test_spaces_and_folds_travel_between_processes(space: str) -> None:
    assert pickle.loads(pickle.dumps(label_space(space))) is label_space(space)
    assert copy.deepcopy(fold("ccp", 2)) == fold("ccp", 2)
    assert len({fold("atr", 1), fold("synth-atr", 1), fold("atr", 2)}) == 2


@pytest.mark.parametrize("space", ["atr", "lip", "cihp"])
def test_aaai_folds_hide_whole_parents(space: str) -> None:
    groups = {name: set(ids) for name, ids in label_space(space).groups.items()}
    if space == "atr":
        assert set(fold("atr", 1, "aaai").novel) == groups["legs"]
        assert set(fold("atr", 2, "aaai").novel) == groups["head"]
    assert all(groups.values())


@pytest.mark.parametrize("space", SPACES)
@given(data=st.data())
def test_swapping_sides_twice_changes_nothing(space: str, data: st.DataObject) -> None:
    labels = label_space(space)
    mask = data.draw(masks(space))
    assert np.array_equal(labels.mirror(labels.mirror(mask)), mask)


@pytest.mark.parametrize("space", SPACES)
@given(data=st.data())
def test_after_the_merge_a_mirror_is_a_plain_mirror(space: str, data: st.DataObject) -> None:
    labels = label_space(space)
    mask = data.draw(masks(space))
    assert np.array_equal(labels.merge(labels.mirror(mask)), labels.merge(mask)[:, ::-1])
    assert np.array_equal(labels.foreground(labels.mirror(mask)), labels.foreground(mask)[:, ::-1])


@pytest.mark.parametrize("space", ["atr", "lip", "cihp", "pascal", "ccp-os"])
@given(data=st.data())
def test_merging_is_idempotent_and_keeps_type(space: str, data: st.DataObject) -> None:
    labels = label_space(space)
    mask = data.draw(masks(space)).astype(data.draw(st.sampled_from([np.uint8, np.int64, np.int32])))
    merged = labels.merge(mask)
    assert merged.dtype == mask.dtype
    assert np.array_equal(labels.merge(merged), merged)
    assert set(np.unique(merged)) <= {*labels.classes, IGNORE}
    assert np.array_equal(merged == IGNORE, mask == IGNORE)


def test_foreground_keeps_dropped_ids() -> None:
    atr = label_space("atr")
    mask = np.array([[atr.id_of("belt"), BACKGROUND, IGNORE, atr.id_of("hat")]])
    assert atr.foreground(mask).tolist() == [[1, 0, IGNORE, 1]]
    assert atr.merge(mask).tolist() == [[0, 0, IGNORE, 1]]
    assert atr.present(mask) == (1,)


@pytest.mark.parametrize("wrong", [18, 254, 256, -1])
def test_foreign_ids_are_refused(wrong: int) -> None:
    mask = np.full((2, 2), wrong, np.int64)
    with pytest.raises(UserError, match=f"mask a.png holds id {wrong}, .* label space atr"):
        label_space("atr").merge(mask, "mask a.png")


def test_float_masks_are_refused() -> None:
    with pytest.raises(UserError, match="whole class ids"):
        label_space("atr").merge(np.zeros((2, 2)))


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="unknown label space 'coco'"):
        label_space("coco")
    assert label_space("synth-lip") is label_space("lip") is label_space("LIP_OS")
    for name in (label_space, one_shot_space, lambda name: fold(name, 1)):
        with pytest.raises(UserError, match="the dataset figures-atr is now called synth-atr"):
            name("figures-atr")  # type: ignore[operator]


def test_the_one_shot_form_of_a_dataset() -> None:
    assert one_shot_space("ccp") is one_shot_space("CCP_OS") is label_space("ccp-os") is fold("ccp", 1).space
    assert one_shot_space("synth-atr") is label_space("atr") is fold("atr-os", 1).space


@pytest.mark.parametrize(("dataset", "number"), FOLDS)
def test_folds_partition_the_classes(dataset: str, number: int) -> None:
    chosen = fold(dataset, number)
    assert set(chosen.training) | set(chosen.novel) == set(chosen.classes)
    assert not set(chosen.training) & set(chosen.novel)
    assert BACKGROUND in chosen.base
    assert chosen.base == chosen.training
    assert len(chosen.novel) == 3
    assert chosen.n_ids == label_space(dataset).n_ids
    assert [index for index in chosen.classes if index in chosen.training] == list(chosen.training)


@pytest.mark.parametrize(
    ("dataset", "number", "novel"),
    [
        ("atr", 1, {"skirt", "pants", "dress"}),
        ("atr", 2, {"hat", "upper-clothes", "bag"}),
        ("lip", 1, {"dress", "pants", "skirt"}),
        ("lip", 2, {"upper-clothes", "coat", "jumpsuits"}),
        ("cihp", 1, {"dress", "pants", "skirt"}),
        ("cihp", 2, {"hat", "upper-clothes", "coat"}),
        ("ccp", 1, {"dress", "skirt", "pants"}),
        ("ccp", 2, {"hat", "upper-clothes", "bag"}),
    ],
)
def test_novel_classes_of_the_journal(dataset: str, number: int, novel: set[str]) -> None:
    chosen = fold(dataset, number)
    assert set(chosen.names(chosen.novel)) == novel


def test_aaai_training_ids() -> None:
    assert fold("atr", 1, "aaai").training == (0, 1, 2, 4, 5, 7, 11, 14, 16)
    assert fold("atr", 2, "aaai").training == (0, 4, 5, 6, 7, 9, 12, 14, 16)


@pytest.mark.parametrize(
    ("dataset", "number", "protocol"),
    [("atr", 0, "journal"), ("lip", 1, "aaai"), ("pascal", 2, "journal"), ("x", 1, "y")],
)
def test_folds_that_do_not_exist(dataset: str, number: int, protocol: str) -> None:
    with pytest.raises(UserError, match="there is no fold"):
        fold(dataset, number, protocol)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"novel": (5, 6, 7, 1)}, "both base and novel"),
        ({"novel": (5, 6)}, "not exactly once"),
        ({"training": (1, 2, 4, 9, 11, 12, 14, 16)}, "background"),
        ({"novel": (5, 6, 7, 3)}, "not exactly once"),
        ({"novel": (5, 6, 7, 7)}, "twice"),
        ({"n_ids": 10}, "0..9"),
    ],
)
def test_leaking_folds_cannot_be_built(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(fold("atr", 1), **changes)


@given(mask=masks("atr"))
def test_hide_novel(mask: np.ndarray) -> None:
    for wrong in (np.array([[-5, 3]]), np.array([[300]]), np.array([[0.5]]), np.array([[True]])):
        with pytest.raises(UserError, match=r"whole ids in 0\.\.255"):
            fold("atr", 1).hide_novel(wrong)
    merged, chosen = label_space("atr").merge(mask), fold("atr", 1)
    for typed in (merged, merged.astype(np.int64)):
        hidden = chosen.hide_novel(typed)
        novel = np.isin(typed, chosen.novel)
        assert hidden.dtype == typed.dtype
        assert (hidden[novel] == BACKGROUND).all()
        assert np.array_equal(hidden[~novel], typed[~novel])


def lab(colour: tuple[int, int, int]) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour (D65)."""
    value = np.array(colour) / 255
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (to_xyz @ linear) / (0.9505, 1, 1.089)
    f = [np.cbrt(t) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("space", ["atr", "lip", "cihp", "pascal", "ccp-os"])
def test_colours_of_a_dataset_can_be_told_apart(space: str) -> None:
    names = label_space(space).class_names
    points = [lab(colour_of(name)) for name in names]
    distances = {
        (a, b): float(np.linalg.norm(points[i] - points[j]))
        for i, a in enumerate(names)
        for j, b in enumerate(names[:i])
    }
    closest = min(distances, key=distances.__getitem__)
    assert distances[closest] > 20, (closest, distances[closest])


def test_one_colour_per_meaning_everywhere() -> None:
    seen: dict[str, tuple[int, ...]] = {}
    for name in ("atr", "lip", "cihp", "pascal", "ccp-os"):
        space = label_space(name)
        assert space.palette.shape == (256, 3)
        assert space.palette.dtype == np.uint8
        for index, meaning in zip(space.classes, space.class_names, strict=True):
            colour = tuple(int(value) for value in space.palette[index])
            assert colour == seen.setdefault(meaning, colour) == colour_of(meaning)
            assert np.array_equal(space.class_palette[index], space.palette[index])
        assert np.array_equal(space.palette[IGNORE], label_space("atr").palette[IGNORE])
    with pytest.raises(UserError, match="no colour"):
        colour_of("spacesuit")
    assert len(np.unique(label_space("ccp").palette[:59], axis=0)) > 40


def test_no_id_list_is_written_down_elsewhere() -> None:
    known = {tuple(label_space(name).classes) for name in ("atr", "lip", "cihp")}
    known |= {tuple(label_space(name).test_order) for name in ("atr", "lip", "cihp")}
    known |= {ids for name in SPACES for ids in label_space(name).folds.values()}
    root = Path(oshp_lite.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path == Path(tables.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                values = tuple(entry.value for entry in node.elts if isinstance(entry, ast.Constant))
                assert values not in known or len(values) != len(node.elts), f"{path.name}:{node.lineno} {values}"
