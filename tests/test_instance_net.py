"""The instance-level parser: what it learns from, its joins, its rules for a photo, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oshp_lite.data.people import PeopleTruth
from oshp_lite.data.people_batches import PeopleBatch, labelled_photo, people_batch
from oshp_lite.data.synthetic.scenes import scene
from oshp_lite.engine.instance_metrics import PeopleMeter
from oshp_lite.errors import UserError
from oshp_lite.models.encoders.lite import LiteEncoder
from oshp_lite.models.instance import config as config_module
from oshp_lite.models.instance.boxes import overlaps
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.instance.detector import match_anchors, sample_regions
from oshp_lite.models.instance.heads import AttentionHead, ParsingHead, crop_targets
from oshp_lite.models.instance.network import InstanceNet
from oshp_lite.models.instance.pyramid import LiteTrunk, Pyramid, ResNetTrunk
from oshp_lite.models.instance.regions import Pasted, RegionRules, assemble
from oshp_lite.models.sst.backbone import DEPTHS

JOINS = ("none", "dot_after_conv3_sum", "dot_after_conv4_sum", "concat_after_conv4_trans", "concat_after_conv4")
TINY = {"variant": "lite", "n_ids": 20, "lite_channels": (8, 12, 16, 16), "lite_depth": 1, "pyramid": 16, "width": 8}
TINY |= {"rois": 24, "rpn_before": (20, 20), "rpn_after": (20, 20), "box_hidden": 32}


def photo_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() * (2 / 255) - 1


def photo(index: int = 0, size: int = 64) -> tuple[PeopleTruth, PeopleBatch]:
    drawn = scene("synth-cihp", 0, index, size)
    truth = PeopleTruth(drawn.mask("cihp"), drawn.persons)
    return truth, labelled_photo(photo_tensor(drawn.image), truth.classes, truth.persons, least=12)


@pytest.fixture(scope="module")
def batch() -> PeopleBatch:
    return people_batch([photo(index)[1] for index in (0, 1)])


def lite(**changes: object) -> InstanceConfig:
    return InstanceConfig.preset(**{**TINY, **changes})


# ------------------------------------------------------------------------------------------------------ presets


def test_the_table_of_presets_is_what_they_are() -> None:
    """The module's table, line by line, against both presets."""
    paper, small = InstanceConfig.paper(), InstanceConfig.lite()
    rows = [line.split() for line in (config_module.__doc__ or "").splitlines() if line.startswith("    ")][1:]
    assert len(rows) == 20
    for name, *rest in rows:
        text = " ".join(rest)
        for preset in (paper, small):
            shown = str(getattr(preset, name))
            shown = shown.replace(".0,", ",").replace(".0)", ")") if name == "anchor_sizes" else shown
            shown = shown.removesuffix(".0") if name == "canonical" else shown
            assert shown in text, (name, shown, text)
    shared = ("rpn_iou", "rpn_nms", "roi_iou", "roi_share", "fusion", "join", "alpha", "score", "nms")
    assert all(getattr(paper, name) == getattr(small, name) for name in shared)
    assert (paper.alpha, paper.join, paper.roi_iou, paper.roi_share) == (5, "concat_after_conv4", 0.5, 0.25)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parsing_size": 20}, "twice attention_size"),
        ({"groups": 3}, "multiple of groups"),
        ({"convs": 2, "join": "dot_after_conv3_sum"}, "at least 3"),
        ({"anchor_sizes": (8.0,)}, "4 entries"),
        ({"join": "concat_before"}, "must be one of"),
        ({"anchors": 3}, "no option 'anchors'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        lite(**changes)


# ----------------------------------------------------------------------------------------------------- backbones


def test_pyramid_has_the_strides_and_every_level_gets_a_gradient() -> None:
    net = Pyramid(lite())
    levels = net(torch.randn(2, 3, 70, 96))
    assert [tuple(level.shape) for level in levels] == [(2, 16, -(-70 // s), 96 // s) for s in (4, 8, 16, 32)]
    sum(level.square().sum() for level in levels).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_weights_of_a_lite_encoder_fit_the_trunk() -> None:
    whole, trunk = LiteEncoder(8, (8, 12, 16, 16), 1), LiteTrunk(8, (8, 12, 16, 16), 1)
    state = whole.state_dict()
    trunk.load_state_dict({name: state[name] for name in trunk.state_dict()})
    image = torch.randn(1, 3, 32, 48)
    at8 = whole.eval().stage8(whole.stage4(whole.stem(image)))
    torch.testing.assert_close(trunk.eval()(image)[1], at8)


def test_resnet_trunk_has_four_levels_and_takes_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shallow one; loaded weights keep their normalisation, in training too."""
    pytest.importorskip("transformers")
    monkeypatch.setitem(DEPTHS, "resnet101", (1, 1, 1, 1))
    trunk = ResNetTrunk()
    maps = trunk.eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [(256 * 2**i, 16 // 2**i, 24 // 2**i) for i in range(4)]
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({f"resnet.{name}": value for name, value in trunk.body.state_dict().items()}, path)
    loaded = ResNetTrunk(str(path)).train()
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    torch.testing.assert_close(loaded(torch.zeros(1, 3, 64, 96)), maps)
    assert all(torch.equal(before[name], value) for name, value in loaded.state_dict().items())
    with pytest.raises(UserError, match="trunk_weights nowhere does not exist"):
        ResNetTrunk("nowhere")


# ------------------------------------------------------------------------------------------------------- sampling


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 4))
def test_no_photo_with_people_is_without_a_positive(seed: int, people: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (people, 2))
    truth = torch.tensor(np.concatenate([corners, corners + rng.uniform(1, 40, (people, 2))], 1)).reshape(-1, 4)
    anchors = torch.tensor([[x, y, x + 8, y + 8] for x in range(0, 96, 8) for y in range(0, 96, 8)], dtype=truth.dtype)
    label, person = match_anchors(anchors, truth, (0.7, 0.3))
    regions = sample_regions(anchors[rng.permutation(144)[:20]], truth, lite())
    if people:
        best = overlaps(anchors, truth).argmax(0)
        assert (label[best] == 1).all(), "someone's best anchor is no positive"
        assert torch.equal(person, overlaps(anchors, truth).argmax(1))
        assert (regions.person >= 0).any()
        over = overlaps(regions.boxes, truth).max(1).values > 0.5
        assert torch.equal(over, regions.person >= 0)
    else:
        assert (label == 0).all()
        assert (regions.person == -1).all()
    assert (regions.person >= 0).sum() <= 24 * 0.25
    assert len(regions.boxes) <= 24


def test_crowds_are_capped_and_negatives_fill_up() -> None:
    truth = torch.tensor([[float(10 * i), 0.0, 10.0 * i + 9, 20.0] for i in range(30)])
    proposals = torch.cat([truth, torch.tensor([[0.0, 60.0 + i, 9.0, 70.0 + i] for i in range(40)])])
    person = sample_regions(proposals, truth, lite()).person
    assert (int((person >= 0).sum()), int((person < 0).sum())) == (6, 18)


def test_targets_of_a_box_are_this_person_alone() -> None:
    classes, persons = torch.zeros(8, 8, dtype=torch.int64), torch.zeros(8, 8, dtype=torch.int64)
    classes[:, :4], persons[:, :4] = 3, 1
    classes[:, 4:], persons[:, 4:] = 5, 2
    classes[0, 0], persons[7, 7] = 255, 255
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [-4.0, 0.0, 4.0, 8.0]])
    mask, parts = crop_targets(classes, persons, boxes, torch.tensor([1, 2]), 8)
    assert mask[0, 3].tolist() == [1] * 4 + [0] * 4
    assert parts[0, 3].tolist() == [3] * 4 + [0] * 4
    assert parts[1, 3].tolist() == [0] * 8  # the second person is not in the second box; pixels outside repeat the edge
    assert mask[0, 0, 0] == mask[0, 7, 7] == parts[0, 0, 0] == 255


# ---------------------------------------------------------------------------------------------------------- heads


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("fusion", ["max", "conv_max", "single"])
def test_every_join_has_the_same_outputs_and_reaches_its_weights(join: str, fusion: str) -> None:
    config = lite(join=join, fusion=fusion, canonical=32.0)
    head, levels = (
        ParsingHead(config),
        [torch.randn(1, 16, 64 // s, 64 // s, requires_grad=True) for s in (4, 8, 16, 32)],
    )
    boxes = [torch.tensor([[4.0, 4.0, 30.0, 60.0], [0.0, 0.0, 12.0, 12.0]])]
    attention = None if join == "none" else torch.rand(2, 1, 14, 14, requires_grad=True)
    logits = head(levels, boxes, attention)
    assert logits.shape == (2, 20, 28, 28)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in head.parameters())
    assert attention is None or (attention.grad is not None and attention.grad.abs().sum() > 0)
    reached = sum(level.grad is not None and bool(level.grad.abs().sum() > 0) for level in levels)
    assert reached == (4 if fusion != "single" else 2)


def test_joins_by_hand() -> None:
    """The first convolutions are the same; what follows is written out from Table 5's names."""
    levels, boxes = [torch.randn(1, 16, 64 // s, 64 // s) for s in (4, 8, 16, 32)], [torch.tensor([[4.0, 4, 30, 60]])]
    attention = torch.rand(1, 1, 14, 14)
    for join in JOINS[1:]:
        head = ParsingHead(lite(join=join)).eval()
        features = head.pooled(levels, boxes)
        second, third, fourth = head.convs
        if join == "dot_after_conv3_sum":
            features = third(second(features))
            out = head.classes(fourth(features * attention + features))
        else:
            features = fourth(third(second(features)))
            if join == "dot_after_conv4_sum":
                out = head.classes(features * (1 + attention))
            else:
                both = torch.cat([features, attention], 1)
                out = head.classes(head.transform(both) if join.endswith("trans") else both)
        double = torch.nn.functional.interpolate(out, scale_factor=2, mode="bilinear")
        torch.testing.assert_close(head(levels, boxes, attention), double)


def test_losses_of_the_branches_by_hand() -> None:
    rng = np.random.default_rng(0)
    logits, mask = rng.normal(size=(2, 1, 4, 4)), rng.integers(0, 2, (2, 4, 4))
    mask[0, 0, 0] = 255
    chance = 1 / (1 + np.exp(-logits[:, 0]))
    own = -np.where(mask == 1, np.log(chance), np.log(1 - chance))[mask != 255].mean()
    assert AttentionHead.loss(torch.tensor(logits), torch.tensor(mask)).item() == pytest.approx(own, rel=1e-6)
    nothing = torch.zeros(0, 1, 4, 4, requires_grad=True)
    assert AttentionHead.loss(nothing, torch.zeros(0, 4, 4, dtype=torch.int64)).item() == 0


# -------------------------------------------------------------------------------------------------------- learning


def test_total_is_equation_one(batch: PeopleBatch) -> None:
    net = InstanceNet(**TINY, alpha=5.0)
    torch.manual_seed(0)
    terms = net.losses(net(batch), batch, 0.0)
    value = {name: term.item() for name, term in terms.items()}
    detection = sum(value[name] for name in ("proposal", "proposal_box", "box_class", "box"))
    assert value["detection"] == pytest.approx(detection, rel=1e-5)
    assert value["total"] == pytest.approx(detection + value["attention"] + 5 * value["parsing"], rel=1e-5)
    terms["total"].backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None]
    assert not unused


def test_half_precision_keeps_the_boxes(batch: PeopleBatch) -> None:
    """Boxes and places of readings have float32's digits; the losses are near those in full."""
    net = InstanceNet(**TINY)
    totals = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half), torch.random.fork_rng():
            torch.manual_seed(0)
            seen = net(batch)
            totals.append(net.losses(seen, batch, 0.0)["total"].item())
        assert seen.proposals.anchors.dtype == seen.proposals.boxes[0].dtype == torch.float32
    assert totals[1] == pytest.approx(totals[0], rel=0.02)


def one(size: int, classes: Tensor, persons: Tensor) -> PeopleBatch:
    return labelled_photo(torch.randn(3, size, size), classes.numpy(), persons.numpy())


def test_photos_without_people_and_people_without_parts_learn() -> None:
    empty = one(64, torch.zeros(64, 64, dtype=torch.int64), torch.zeros(64, 64, dtype=torch.int64))
    net = InstanceNet(**TINY)
    terms = net.losses(net(empty), empty, 0.0)
    assert terms["parsing"].item() == terms["attention"].item() == terms["box"].item() == 0
    terms["total"].backward()
    persons = torch.zeros(64, 64, dtype=torch.int64)
    persons[10:50, 20:40] = 7  # a person of background pixels alone
    bare = one(64, torch.zeros(64, 64, dtype=torch.int64), persons)
    mixed = people_batch([empty, bare])
    terms = net.losses(net(mixed), mixed, 0.0)
    assert all(torch.isfinite(value) for value in terms.values())
    assert terms["attention"].item() > 0


def test_small_people_are_left_out_of_the_truth() -> None:
    persons = np.zeros((16, 16), np.int64)
    persons[0, :5], persons[4:10, 4:10] = 1, 3
    made = labelled_photo(torch.zeros(3, 16, 16), np.zeros((16, 16), np.int64), persons, least=30)
    assert made.ids is not None
    assert made.boxes is not None
    assert (made.ids[0].tolist(), made.boxes[0].tolist()) == ([3], [[4, 4, 10, 10]])


def test_initial_weights_depend_on_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    states = [InstanceNet(**TINY, seed=seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(before, torch.random.get_rng_state())
    same = [all(torch.equal(states[0][name], other[name]) for name in other) for other in states[1:]]
    assert same == [True, False]


def test_it_fits_one_crowd() -> None:
    """Seconds of training on five people who overlap: all are detected and most of their parts are right."""
    drawn = scene("synth-cihp", 0, 0, 64)
    truth = PeopleTruth(drawn.mask("pascal"), drawn.persons)
    made = labelled_photo(photo_tensor(drawn.image), truth.classes, truth.persons, least=12)
    size = {"n_ids": 7, "pyramid": 24, "lite_channels": (12, 24, 32, 32), "box_hidden": 64, "rpn_before": (30, 30)}
    net, steps = InstanceNet(**{**TINY, **size}).train(), 100
    optimizer = torch.optim.AdamW(net.parameters())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 8e-3 * min(1, (step + 1) / 10) * (1 - 0.9 * step / steps)
            net.losses(net(made), made, 0.0)["total"].backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
            optimizer.zero_grad()
    scores = []
    for boxes in (None, made.boxes):
        meter = PeopleMeter(7)
        meter.add("a", truth, net.predict(made.images, boxes=boxes)[0])
        scores.append(meter.scores())
    detected, given = scores
    assert detected.at("ap_p", 0.4) > 0.9
    assert given.at("ap_p", 0.4) == 1
    assert given.at("pcp", 0.3) > 0.5
    assert detected.at("ap_r", 0.3) > 0.5


# ------------------------------------------------------------------------------------------------ from boxes to a photo


def test_prediction_leaves_the_network_as_it_was(batch: PeopleBatch) -> None:
    net = InstanceNet(**TINY).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    results = net.predict(batch.images)
    assert net.training
    assert net.pyramid.encoder.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    for result in results:
        assert result.classes is not None
        assert result.classes.shape == (64, 64)
        assert len(result.people or ()) <= net.config.detections


def test_given_boxes_are_parsed_in_the_place_of_detected_ones(batch: PeopleBatch) -> None:
    net = InstanceNet(**TINY)
    assert batch.boxes is not None
    parsed = net.detect(batch.images, batch.boxes)
    assert [len(photo.boxes) for photo in parsed] == [len(own) for own in batch.boxes]
    assert all((photo.scores == 1).all() for photo in parsed)
    torch.testing.assert_close(parsed[0].probabilities.sum(1), torch.ones_like(parsed[0].probabilities[:, 0]))
    leaving = [torch.tensor([[-20.0, -20.0, 30.0, 100.0]]), torch.zeros(0, 4)]
    assert [len(result.people or ()) for result in net.predict(batch.images, boxes=leaving)] == [1, 0]
    with pytest.raises(UserError, match=r"box 1 of photo 2 .* has no area"):
        net.detect(batch.images, [leaving[0], torch.tensor([[5.0, 5.0, 5.0, 9.0]])])


def region(label: int, left: int, score: float, chance: float = 0.8, width: int = 4) -> Pasted:
    return Pasted(np.full((3, width), label, np.uint8), np.full((3, width), chance, np.float32), 0, left, score)


def test_rules_of_a_photo() -> None:
    """Two boxes that overlap in two columns, and one below the painting score."""
    regions = [region(1, 0, 0.9), region(2, 2, 0.5), region(3, 6, 0.1)]
    result = assemble(regions, (3, 10), RegionRules(), 4)
    assert result.classes is not None
    assert result.persons is not None
    assert result.classes[0].tolist() == [1, 1, 1, 1, 2, 2, 0, 0, 0, 0]
    assert result.persons[0].tolist() == [1, 1, 1, 1, 2, 2, 0, 0, 0, 0]
    assert [int((one.labels > 0).sum()) for one in result.people or ()] == [12, 12, 12]
    assert [len(one.classes) for one in result.parts or ()] == [1, 1, 0]
    assert [float(one.scores[0]) for one in (result.parts or ())[:2]] == pytest.approx([0.72, 0.4])
    below = assemble(regions, (3, 10), RegionRules(order="descending", people="merged", part_score="box"), 4)
    assert below.classes is not None
    assert below.classes[0].tolist() == [1, 1, 2, 2, 2, 2, 0, 0, 0, 0]
    assert [int((one.labels > 0).sum()) for one in below.people or ()] == [6, 12, 0]
    assert [float(one.scores[0]) for one in (below.parts or ())[:2]] == [0.9, 0.5]
    apart = assemble(regions, (3, 10), RegionRules(parts="unmerged", part_score="class", people_least=0.3), 4)
    assert [int((one.ids > 0).sum()) for one in apart.parts or ()] == [12, 12]
    assert float((apart.parts or ())[0].scores[0]) == pytest.approx(0.8)
    unsure = assemble([region(1, 0, 0.9, chance=0.2)], (3, 10), RegionRules(unsure=True), 4)
    assert unsure.classes is not None
    assert not unsure.classes.any()
    with pytest.raises(UserError, match="region rule order"):
        RegionRules(order="upwards")  # type: ignore[arg-type]


def test_three_hundred_parts_of_a_hundred_people() -> None:
    labels = np.array([[1, 2, 3]], np.uint8)
    regions = [Pasted(labels, np.ones((1, 3), np.float32), n // 10, 3 * (n % 10), 1 - n / 200) for n in range(100)]
    result = assemble(regions, (10, 30), replace(RegionRules(), least=0.0), 4)
    assert sum(len(one.classes) for one in result.parts or ()) == 300
    assert result.persons is not None
    truth = PeopleTruth(np.tile(labels, (10, 10)), result.persons)
    meter = PeopleMeter(4)
    meter.add("a", truth, result)
    assert meter.scores().counts["parts"] == 300
    assert meter.scores().ap_r == meter.scores().ap_p == (1.0,) * 9
