"""Version 5 of the drawn people: deterministic, exact masks, every class, both kinds of cloth; the audit's probes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.book.realism import PROBED, ccp_ids_of_atoms, cut_out, mean_iou, mean_map, read_record, table
from oshp_lite.book.realism import People as Crops
from oshp_lite.book.scenes import portrait_shot
from oshp_lite.cli import main
from oshp_lite.data.synthetic import ATOMS, portrait
from oshp_lite.data.synthetic.portrait.easel import Easel, Light, Tint
from oshp_lite.data.synthetic.portrait.fabrics import ANY, CLOTH, COLOURS, WEAVES, Fabric, Shop
from oshp_lite.data.synthetic.portrait.frame import tube
from oshp_lite.data.synthetic.probes import (
    balanced_probe,
    largest_component,
    outline_features,
    silhouette_probe,
    texture_features,
    texture_probe,
)
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.scenes import SPECS
from oshp_lite.errors import UserError
from oshp_lite.files import read_image, read_mask
from oshp_lite.labels import CCP_CLASSES, label_space

SPACES = ("atr", "lip", "cihp", "pascal")
MASKS = {
    ("synth-atr", 3): "c125d947a94603fb81bcacc4383c030aec36038c5b70eac0a89d98817558507d",
    ("synth-lip", 7): "b4a04082052b798941baa03a97f8ac04e6f3b973a71a6f440a6292065a326f44",
    ("synth-cihp", 1): "d8ebbb54d5a999b4996b21d75cabf503a063f1c5a7a2fe4af0ea37dc58ab9583",
}
"""(dataset, index) -> SHA-256 of atoms and persons at 64 pixels, seed 0: a change of these is another version."""


EVERYTHING = (("synth-atr", 12), ("synth-atr", 4), ("synth-lip", 14), ("synth-lip", 3), ("synth-cihp", 1))
"""Scenes that hold every class of every label space between them."""


@pytest.fixture(scope="module")
def crowd():
    return [portrait.scene(name, 0, index, 48) for name, index in EVERYTHING]


@pytest.mark.parametrize(("name", "index"), list(MASKS))
def test_a_scene_depends_on_its_name_seed_and_index_only(name, index):
    one, other, far = (portrait.scene(name, seed, index, 64) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.image, other.image)
    assert hashlib.sha256(one.atoms.tobytes() + one.persons.tobytes()).hexdigest() == MASKS[name, index]
    assert (one.atoms != far.atoms).any()


def test_every_class_of_every_space_occurs_and_masks_agree(crowd):
    for space in SPACES:
        seen = set(np.unique(np.stack([s.mask(space) for s in crowd])).tolist())
        assert seen == set(range(len(label_space(space).names))), space
    for s in crowd:
        np.testing.assert_array_equal(s.atoms > 0, s.persons > 0)
        assert s.image.shape == (48, 48, 3)
        assert s.image.dtype == np.uint8
        assert int(s.atoms.max()) < len(ATOMS)


@given(st.sampled_from(list(SPECS)), st.integers(0, 2**31), st.integers(0, 10**7), st.sampled_from(CLOTH))
@settings(max_examples=6, deadline=None)
def test_any_seed_and_index_gives_people(name, seed, index, cloth):
    s = portrait.scene(name, seed, index, 32, cloth)
    assert 0.005 < (s.atoms > 0).mean() < 0.98
    assert s.image.std() > 3
    assert s.persons.max() >= SPECS[name].people[0]


def test_the_outline_in_the_picture_is_that_of_the_mask():
    """A piece painted white on black without shading: more than half white = owned."""
    easel = Easel(np.zeros((60, 60, 3), dtype=np.uint8), Light((0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    easel.person = 1
    corners = np.array([(9.3, 4.1), (51.2, 18.7), (40.0, 55.5), (6.0, 39.9)])
    easel.layer([(corners, 5)], Tint(np.full(3, 255.0)), 3.0, depth=0.0, rim=0.0, cast=0.0)
    image, atoms, persons = easel.finish()
    np.testing.assert_array_equal(atoms == 5, image[..., 0] > 127.5)
    np.testing.assert_array_equal(persons == 1, atoms == 5)


def test_light_comes_from_where_the_scene_says():
    """A ball is brighter on the side of the light, and its shadow darkens people behind it, not the place."""
    sides = {}
    for x in (-0.7, 0.7):
        easel = Easel(np.full((90, 90, 3), 200, dtype=np.uint8), Light((x, -0.1, 0.7)))
        easel.person = 1
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        easel.layer([(45 + 30 * np.stack([np.cos(turn), np.sin(turn)], 1), 5)], Tint(np.full(3, 150.0)), 24.0)
        image = easel.finish()[0]
        sides[x] = image[15, 8:12].mean() - image[15, 18:22].mean()
        assert image[0, 0, 0] == 200
    assert sides[-0.7] > 5
    assert sides[0.7] < -5


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=3, max_size=3), st.floats(0.1, 2.0))
@settings(max_examples=25, deadline=None)
def test_tubes_are_finite_and_stay_near_their_limb(joints, end):
    points = [np.array(p) for p in joints]
    shapes = tube(points, (np.full(4, 3.0), np.full(4, 3.0)), (7, 8), 0.0, end)
    everything = np.concatenate([p for p, _ in shapes])
    assert np.isfinite(everything).all()
    low, high = np.min(joints, 0), np.max(joints, 0)
    assert (everything > low - 5).all()
    assert (everything < high + 5).all()
    assert {a for _, a in shapes} <= {7, 8}


def test_every_weave_paints_a_box_of_any_place():
    colours = [COLOURS[name] for name in ("navy", "white", "red")]
    for weave in sorted({w for table_ in (*WEAVES.values(), ANY) for w in table_}):
        piece = Fabric(weave, *colours, cm=3.0, period=3.4, origin=(5.0, 9.0)).turned(0.3)
        one, shifted = piece.colours(-7, 3, 20, 12), piece.colours(-2, 3, 15, 12)
        assert np.isfinite(one).all()
        np.testing.assert_allclose(np.broadcast_to(one, (12, 20, 3))[:, 5:], shifted, atol=1e-3)


def test_cloth_says_nothing_or_something():
    """In one mode the kind of garment has no part in the draw; in the other it decides the weave."""
    kinds = ("jeans", "sweater", "shoe")
    blind = [[Shop(Rng("shop", i), 700, portrait.NOTHING).of(kind) for kind in kinds] for i in range(40)]
    assert all(len({piece.weave for piece in row}) == 1 for row in blind)  # the same draws, whatever the kind
    worn = [[Shop(Rng("shop", i), 700, portrait.LIFE).of(kind).weave for kind in kinds] for i in range(40)]
    assert {row[0] for row in worn} == {"denim"}
    assert {row[1] for row in worn} <= set(WEAVES["sweater"])
    assert {row[2] for row in worn} == {"leather"}
    for index in (4, 28):
        life, nothing = (portrait.scene("synth-atr", 0, index, 48, cloth) for cloth in CLOTH)
        np.testing.assert_array_equal(life.atoms, nothing.atoms)  # only the cloth differs
        assert (life.image != nothing.image).any()


def test_shots_and_picture_files(tmp_path, capsys):
    made = portrait_shot(3, 64)
    np.testing.assert_array_equal(made.person > 0, portrait.scene("synth-atr", 0, 3, 64).mask("atr") > 0)
    order = ["data", "draw", "--out", str(tmp_path), "--count", "2", "--first", "3", "--size", "64"]
    assert main(order) == 0
    assert "2 pictures" in capsys.readouterr().out
    drawn = portrait.scene("synth-atr", 0, 3, 64)
    np.testing.assert_array_equal(read_image(tmp_path / "synth-atr_000003.png"), drawn.image)
    np.testing.assert_array_equal(read_mask(tmp_path / "synth-atr_000003_mask.png"), drawn.mask("atr"))
    for wrong in (["--cloth", "velvet"], ["--version", "4", "--cloth", "says nothing"], ["--size", "8"]):
        assert main([*order, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "wrong", [("synth-xyz", 64, "as in life"), ("synth-atr", 8, "as in life"), ("synth-atr", 64, "")]
)
def test_bad_requests_get_one_sentence(wrong):
    with pytest.raises(UserError):
        portrait.scene(wrong[0], 0, 0, wrong[1], wrong[2])


# ------------------------------------------------------------------------------------------------ the probes


def made_up(seed: int, told: bool) -> tuple[np.ndarray, np.ndarray]:
    """Photos with a wide and a tall garment; where `told`, one is striped along and the other across."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 110, (40, 48, 48, 3)).astype(np.uint8)
    masks = np.zeros((40, 48, 48), np.uint8)
    for k in range(40):
        y, x = rng.integers(0, 4, 2)
        masks[k, y : y + 14, x : x + 40], masks[k, y + 18 : y + 42, x + 4 : x + 16] = 1, 2
        if told:
            images[k, y : y + 14 : 2, x : x + 40] += 60
            images[k, y + 18 : y + 42, x + 4 : x + 16 : 2] += 60
    return images, masks


def test_the_texture_probe_knows_stripes_from_noise():
    assert texture_probe(*made_up(0, told=True), (1, 2))["balanced_accuracy"] > 0.95
    blind = texture_probe(*made_up(1, told=False), (1, 2))
    assert abs(blind["balanced_accuracy"] - 0.5) < 0.15
    assert blind["chance"] == 0.5


def test_texture_features_know_no_colour_and_no_brightness():
    patch = np.random.default_rng(0).normal(size=(5, 7, 7)) * 20
    np.testing.assert_allclose(texture_features(patch), texture_features(patch + 60), atol=1e-9)


def test_the_silhouette_probe_knows_wide_from_tall():
    _, masks = made_up(2, told=False)
    assert silhouette_probe(masks, (1, 2))["balanced_accuracy"] > 0.95
    square = np.zeros_like(masks)
    square[:, 4:14, 4:14], square[:, 20:30, 6:16] = 1, 2
    assert silhouette_probe(square, (1, 2))["balanced_accuracy"] == 0.5  # one shape: no better than guessing


def test_the_largest_component_and_its_outline():
    mask = np.zeros((9, 12), bool)
    mask[1:4, 1:9] = mask[6:8, 2:5] = True
    part = largest_component(mask)
    assert part.sum() == 24
    assert not part[6:].any()
    moved = np.roll(part, (4, 2), (0, 1))
    np.testing.assert_array_equal(outline_features(part), outline_features(moved))


def test_a_probe_without_examples_says_so():
    with pytest.raises(ValueError, match="cannot learn"):
        balanced_probe(np.zeros((3, 2)), np.zeros(3, int), np.zeros((1, 2)), np.zeros(1, int))


# ------------------------------------------------------------------------------------------------ transfer to CCP


def test_atoms_become_classes_of_ccp_os():
    names, ids = list(CCP_CLASSES), ccp_ids_of_atoms()
    expected = {"face": "skin", "shoe": "shoes", "socks": "legwear", "coat": "coat", "scarf": "background"}
    for index, atom in enumerate(ATOMS):
        if atom.material in expected:
            assert names[ids[index]] == expected[atom.material]
    assert set(names) == {names[i] for i in ids[: len(ATOMS)]}
    assert set(PROBED) <= set(names)


def test_crops_and_scores_by_hand():
    person = np.zeros((40, 60), np.uint8)
    person[10:30, 20:30] = 3
    photo, ids = cut_out(np.repeat(person[..., None] * 40, 3, 2), person, person)
    assert photo.shape[:2] == ids.shape
    assert abs((ids == 3).mean() - (20 / 24) * (10 / 12)) < 0.05
    truth, guess = np.array([[1, 1, 2, 0]]), np.array([[1, 2, 2, 0]])
    mean, ious = mean_iou(truth, guess)
    assert ious == {"hat": 50.0, "hair": 50.0}
    assert mean == 50.0
    people = Crops(np.zeros((3, 1, 2, 3), np.uint8), np.array([[[1, 2]], [[1, 0]], [[3, 0]]], np.uint8))
    np.testing.assert_array_equal(mean_map(people), [[1, 0]])


def test_the_record_holds_what_the_notebook_reports():
    record = read_record()
    assert set(record["probes"]) == set(record["transfer"])
    assert len(table(record).splitlines()) == 2 + len(record["probes"])
    for row in record["transfer"].values():
        assert row["mean"] == pytest.approx(np.mean(row["miou"]), abs=0.051)
        assert len(row["miou"]) == record["settings"]["seeds"]
