"""What the instance-level parser is compared with, several views of a photo, and scenes under other labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.data.people_batches import PeopleBatch, labelled_photo, people_batch
from oshp_lite.data.synthetic import generate
from oshp_lite.data.synthetic.relabelled import relabelled
from oshp_lite.data.synthetic.scenes import scene
from oshp_lite.engine.instance_views import mirrored_boxes, predict_views, swapped_classes
from oshp_lite.errors import UserError
from oshp_lite.labels import label_space
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.network import InstanceNet
from oshp_lite.models.instance.rivals import BottomUpNet, SeparateNet, edge_target, group

TINY = {"variant": "lite", "n_ids": 20, "lite_channels": (8, 12, 16, 16), "lite_depth": 1, "pyramid": 16, "width": 8}
TINY |= {"rois": 16, "rpn_before": (20, 20), "rpn_after": (20, 20), "box_hidden": 32, "detections": 6}


@pytest.fixture(scope="module")
def batch() -> PeopleBatch:
    drawn = [scene("synth-cihp", 0, index, 48) for index in (0, 1)]
    images = [torch.from_numpy(one.image.transpose(2, 0, 1).copy()).float() * (2 / 255) - 1 for one in drawn]
    rows = zip(images, drawn, strict=True)
    return people_batch([labelled_photo(image, one.mask("cihp"), one.persons, least=12) for image, one in rows])


# ------------------------------------------------------------------------------------------------------ designs


@pytest.mark.parametrize(("design", "kind"), [("separate", SeparateNet), ("bottom-up", BottomUpNet)])
def test_a_design_is_built_learns_and_parses(design: str, kind: type[RegionNet], batch: PeopleBatch) -> None:
    net = InstanceNet(**TINY, design=design).train()
    assert type(net) is kind
    assert type(InstanceNet(InstanceConfig.preset(**TINY, design=design))) is kind
    terms = net.losses(net(batch), batch, 0.0)
    terms["total"].backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without
    results = net.predict(batch.images, size=(40, 56))
    assert net.training
    for one in results:
        assert one.classes is not None
        assert one.classes.shape == (40, 56)
        assert one.people is not None
        assert one.parts is not None


def test_an_unknown_design_is_refused() -> None:
    with pytest.raises(UserError, match="design"):
        InstanceNet(**TINY, design="sideways")


def test_detector_and_separate_parser_share_nothing(batch: PeopleBatch) -> None:
    """The parser's loss moves no weight of the detector, and the detector's none of the parser."""
    net = InstanceNet(**TINY, design="separate").train()
    terms = net.losses(net(batch), batch, 0.0)
    parser = ("other.", "whole.")
    terms["parsing"].backward(retain_graph=True)
    moved = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved
    assert all(name.startswith(parser) for name in moved)
    assert len(net.encoders()) == 2
    given = net.predict(batch.images, boxes=batch.boxes)
    assert [len(one.people or ()) for one in given] == [len(own) for own in batch.boxes or ()]


def test_a_photo_without_people_is_learnt_from(batch: PeopleBatch) -> None:
    none = labelled_photo(batch.images[0], np.zeros((48, 48), np.uint8), np.zeros((48, 48), np.uint8))
    for design in ("separate", "bottom-up"):
        net = InstanceNet(**TINY, design=design).train()
        assert torch.isfinite(net.losses(net(none), none, 0.0)["total"])


def test_bottom_up_refuses_boxes(batch: PeopleBatch) -> None:
    with pytest.raises(UserError, match="has no boxes"):
        InstanceNet(**TINY, design="bottom-up").predict(batch.images, boxes=batch.boxes)


# ----------------------------------------------------------------------------------------------------- grouping


def test_edges_lie_on_both_sides_of_a_border_and_nowhere_near_ignore() -> None:
    persons = torch.tensor([[0, 0, 1, 1, 2, 2, 2, 0, 0, 0, 255]]).repeat(3, 1)[None]
    wanted = [0, 1, 1, 1, 1, 0, 1, 1, 0, 255, 255]
    assert edge_target(persons)[0].tolist() == [wanted] * 3


def test_groups_by_hand() -> None:
    """Two people who touch are cut along the edge and grow back over it; a speck is nobody, its pixels no one's."""
    person = torch.zeros(5, 12, dtype=torch.bool)
    person[1:4, 1:8] = True
    person[0, 11] = True
    edges = torch.zeros_like(person)
    edges[:, 4] = True
    ids = group(person, edges, 2)
    assert ids[0, 11] == 0
    assert set(ids[1:4, 1:4].unique().tolist()) | set(ids[1:4, 5:8].unique().tolist()) == {1, 2}
    assert ids[2, 1] != ids[2, 7]
    assert (ids[1:4, 4] > 0).all()
    assert (ids[~person] == 0).all()
    assert not group(torch.zeros_like(person), edges, 1).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_groups_are_the_connected_parts(seed: int, least: int) -> None:
    """Without edges: 4-connected, at least so large, numbered without gaps; against a flood fill in plain Python."""
    rng = np.random.default_rng(seed)
    person = rng.random((7, 9)) < 0.55
    ids = group(torch.from_numpy(person), torch.zeros(7, 9, dtype=torch.bool), least).numpy()
    seen = np.zeros_like(person)
    for start in zip(*np.nonzero(person), strict=True):
        if seen[start]:
            continue
        stack, island = [start], []
        seen[start] = True
        while stack:
            y, x = stack.pop()
            island.append((y, x))
            for place in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= place[0] < 7 and 0 <= place[1] < 9 and person[place] and not seen[place]:
                    seen[place] = True
                    stack.append(place)
        values = {int(ids[place]) for place in island}
        assert len(values) == 1
        assert (values != {0}) == (len(island) >= least)
    assert set(np.unique(ids)) <= set(range(ids.max() + 1))


# -------------------------------------------------------------------------------------------------------- views


def test_mirrored_boxes_come_back() -> None:
    boxes = torch.tensor([[1.0, 2.0, 5.0, 9.0]])
    assert mirrored_boxes(boxes, 20).tolist() == [[15.0, 2.0, 19.0, 9.0]]
    torch.testing.assert_close(mirrored_boxes(mirrored_boxes(boxes, 20), 20), boxes)
    assert swapped_classes(5, [(1, 2)]).tolist() == [0, 2, 1, 3, 4]


def test_one_view_is_the_ordinary_prediction(batch: PeopleBatch) -> None:
    net, sides = InstanceNet(**TINY).eval(), label_space("cihp").sides
    plain = net.predict(batch.images[:1], size=(40, 56))[0]
    one = predict_views(net, batch.images[:1], sides, size=(40, 56), scales=(1.0,), mirror=False)
    np.testing.assert_array_equal(one.classes, plain.classes)
    assert [p.score for p in one.people or ()] == [p.score for p in plain.people or ()]


def test_views_of_a_mirrored_photo_are_the_mirror_of_its_views(batch: PeopleBatch) -> None:
    """With both directions as views, left and right of the result change places with those of the photo."""
    net, space = InstanceNet(**TINY).eval(), label_space("cihp")
    image = batch.images[:1]
    here, there = (predict_views(net, one, space.sides, scales=(1.0,)) for one in (image, image.flip(-1)))
    assert here.classes is not None
    assert there.classes is not None
    swap = swapped_classes(20, space.sides).numpy()
    assert (swap[there.classes[:, ::-1]] == here.classes).mean() > 0.99  # ties of equal scores apart


# ------------------------------------------------------------------------------------------------------- labels


def test_scenes_under_other_labels_keep_photos_and_people(tmp_path: Path) -> None:
    dataset = generate("synth-cihp", tmp_path / "people", 8, 8, 32, progress=False)
    made = relabelled(dataset, "pascal", progress=False)
    assert made.space is label_space("pascal")
    assert made.fingerprint != dataset.fingerprint
    assert made.stems("test") == dataset.stems("test")
    for stem in (*made.stems("train")[:2], *made.stems("test")[:2]):
        np.testing.assert_array_equal(made.image(stem), dataset.image(stem))
        np.testing.assert_array_equal(made.instances(stem), dataset.instances(stem))
        np.testing.assert_array_equal(made.mask(stem) > 0, dataset.mask(stem) > 0)
    assert relabelled(dataset, "pascal", progress=False).root == made.root
    with pytest.raises(UserError, match="was not drawn"):
        relabelled(made, "atr", progress=False)
