"""PerSAM on a tiny random SAM: the real decoder with PerSAM's two corrections, against an implementation of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nn_tiny import episode, one
from sam_tiny import GRID, PATCH, SIDE, Decoder, tiny_sam
from torch import Tensor, nn

from oshp_lite.errors import UserError
from oshp_lite.models.base import ABSENT
from oshp_lite.models.baselines import persam
from oshp_lite.models.baselines.external import VARIABLE, Frame, Sam, patch_decoder, target_in_final_attention
from oshp_lite.models.baselines.persam import (
    boxes_of,
    cells_as_released,
    cells_by_area,
    extreme_points,
    guidance_of,
    mask_loss,
)
from oshp_lite.models.registry import build, method

transformers = pytest.importorskip("transformers", reason="PerSAM needs transformers: pip install oshp-lite[sam]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sam")
    tiny_sam().save_pretrained(place)
    return place


def prompts(model: Any, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        sparse, dense = model.prompt_encoder(
            input_points=points[:, None], input_labels=labels[:, None], input_boxes=None, input_masks=None
        )
        return sparse[:, 0].double(), dense[0].double(), model.get_image_wide_positional_embeddings()[0].double()


@pytest.fixture(scope="module")
def case() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(1, 256, GRID, GRID, generator=draw),
        "points": torch.rand(3, 2, 2, generator=draw) * SIDE,
        "labels": torch.tensor([[1, 0]]).expand(3, 2),
        "g": torch.rand(3, GRID * GRID, generator=draw),
        "t": torch.randn(3, 256, generator=draw),
    }


def wanted(model: nn.Module, case: dict[str, Tensor], g: bool, t: bool) -> tuple[Tensor, Tensor]:
    sparse, dense, place = prompts(model, case["points"], case["labels"])
    decoder, found = Decoder(model), []
    for p in range(3):
        guide, target = case["g"][p].double() if g else None, case["t"][p].double() if t else None
        found.append(decoder(case["image"][0].double() + dense, place, sparse[p], guide, target))
    return torch.stack([x for x, _ in found]), torch.stack([y for _, y in found])


@pytest.mark.parametrize("g", [True, False])
@pytest.mark.parametrize("t", [True, False])
@pytest.mark.parametrize("several", [True, False])
def test_decoder_is_persams(case: dict[str, Tensor], g: bool, t: bool, several: bool) -> None:
    sam = Sam(model=tiny_sam())
    logits, iou = sam.decode(
        case["image"],
        case["points"],
        case["labels"],
        several=several,
        guidance=case["g"] if g else None,
        target=case["t"] if t else None,
    )
    all_logits, all_iou = wanted(tiny_sam(), case, g, t)
    keep = slice(1, None) if several else slice(0, 1)
    assert float((logits - all_logits[:, keep]).abs().max()) < 2e-5 * float(all_logits.abs().max().clamp(min=1))
    assert float((iou - all_iou[:, keep]).abs().max()) < 1e-5


def test_without_guidance_it_is_stock_sam_and_both_corrections_matter(case: dict[str, Tensor]) -> None:
    stock = tiny_sam()

    def plain(model: Any, g: bool, t: bool) -> Tensor:
        with torch.no_grad():
            return model(
                image_embeddings=case["image"].expand(3, -1, -1, -1),
                input_points=case["points"][:, None],
                input_labels=case["labels"][:, None],
                multimask_output=False,
                attention_similarity=case["g"][:, None, None] if g else None,
                target_embedding=case["t"][:, None, None].clone() if t else None,
            ).pred_masks[:, 0]

    sam = Sam(model=tiny_sam())
    decode = {"embedding": case["image"], "points": case["points"], "labels": case["labels"]}
    assert torch.allclose(sam.decode(**decode)[0], plain(stock, False, False), atol=1e-5)
    right = sam.decode(**decode, guidance=case["g"], target=case["t"])[0]
    size = float(right.abs().mean())
    final_only = tiny_sam()
    with target_in_final_attention(final_only, case["t"][:, None, None]):
        late = plain(final_only, True, True)
    # neither correction; the attention alone; the final query alone (63, 11 and 61 percent of the mean logit)
    others = (plain(stock, True, True), plain(patch_decoder(tiny_sam()), True, True), late)
    apart = [float((right - other).abs().mean()) / size for other in others]
    assert min(apart) > 0.02
    # after a guided call the decoder is as before: the hook is gone
    assert torch.allclose(sam.decode(**decode)[0], plain(stock, False, False), atol=1e-5)


def test_only_the_mask_decoder_is_changed() -> None:
    model = patch_decoder(tiny_sam())
    assert {m.config._attn_implementation for m in model.mask_decoder.modules() if hasattr(m, "config")} == {
        "oshp_persam"
    }
    assert model.vision_encoder.config._attn_implementation != "oshp_persam"
    assert tiny_sam().mask_decoder.config._attn_implementation != "oshp_persam"


# --------------------------------------------------------------------------------------------- places and frames


def test_frames_points_and_boxes() -> None:
    frame = Frame((40, 52), SIDE, PATCH)
    assert frame.inner == (98, 128)
    maps = torch.zeros(2, 40, 52)
    maps[0, 5, 7], maps[0, 30, 2] = 1, -1
    maps[1, 39, 51], maps[1, 0, 0] = 1, -1
    x, y = 128 / 52, 98 / 40
    expected = torch.tensor([[[7 * x, 5 * y], [2 * x, 30 * y]], [[51 * x, 39 * y], [0, 0]]])
    assert torch.allclose(extreme_points(maps, frame), expected)
    mask = torch.zeros(1, 40, 52, dtype=torch.bool)
    mask[0, 3:9, 11:21] = True
    assert torch.allclose(boxes_of(mask, frame), torch.tensor([[11 * x, 3 * y, 20 * x, 8 * y]]))
    ramp = torch.arange(52.0).expand(1, 1, 40, 52)
    square = frame.pad(F.interpolate(ramp, size=frame.inner, mode="bilinear"))
    assert torch.allclose(frame.back(square)[..., 4:48], ramp[..., 4:48], atol=0.2)


def test_cells_of_a_mask() -> None:
    frame = Frame((64, 64), SIDE, PATCH)  # a token is 8 x 8 pixels of the mask
    mask = torch.zeros(3, 64, 64, dtype=torch.bool)
    mask[0, :16, :12] = True  # two whole columns of tokens by half
    mask[1, 20:22, 33:36] = True  # too thin to cover a token
    area = cells_by_area(mask, frame)
    assert area[0].nonzero().tolist() == [[0, 0], [1, 0]]
    assert area[1].nonzero().tolist() == [[2, 4]]
    assert not area[2].any()
    assert not cells_as_released(mask, frame)[1].any()
    rng = np.random.default_rng(0)
    random = torch.from_numpy(rng.random((1, 64, 64)) > 0.5)
    found = cells_as_released(random, frame)[0].numpy()
    big = np.asarray(F.interpolate(random[:, None].float(), size=(SIDE, SIDE), mode="bilinear")[0, 0].double())
    normal = (255 * big - 123.675) / 58.395
    middle = normal.reshape(GRID, PATCH, GRID, PATCH)[:, 7:9, :, 7:9].mean((1, 3))  # no smoothing: four pixels
    clear = np.abs(middle) > 1e-3
    assert (found == (middle > 0))[clear].all()


def test_guidance() -> None:
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 40, 52, generator=draw)
    frame = Frame((40, 52), SIDE, PATCH)
    block, stretched = guidance_of(maps, frame), guidance_of(maps, frame, "stretched")
    assert block.shape == stretched.shape == (2, GRID * GRID)
    assert not block.view(2, GRID, GRID)[:, 7:].any()
    flat = maps.numpy().reshape(2, -1)
    normal = (flat - flat.mean(1, keepdims=True)) / flat.std(1, ddof=1, keepdims=True)
    small = F.interpolate(torch.from_numpy(normal).view(2, 1, 40, 52), size=(8, 8), mode="bilinear")
    assert torch.allclose(stretched, torch.sigmoid(small).flatten(1), atol=1e-5)
    square = Frame((40, 40), SIDE, PATCH)
    assert torch.allclose(guidance_of(maps[..., :40], square), guidance_of(maps[..., :40], square, "stretched"))


def test_mask_loss_is_dice_plus_focal() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(2, 50)), (rng.random((2, 50)) > 0.6).astype(float)
    p = 1 / (1 + np.exp(-logits))
    dice = 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)
    of_truth = np.where(truth == 1, p, 1 - p)
    focal = np.where(truth == 1, 0.25, 0.75) * (1 - of_truth) ** 2 * -np.log(of_truth)
    found = mask_loss(torch.from_numpy(logits), torch.from_numpy(truth)).numpy()
    assert np.abs(found - dice - focal.mean(1)).max() < 1e-12


# -------------------------------------------------------------------------------------------------- the method


def small(folder: Path, **changes: Any) -> Any:
    return build("persam", **{"n_ids": 6, "variant": "lite", "weights": str(folder), **changes})


def episodes(way: str = "k") -> Any:
    batch = episode(way)
    return replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float())


@pytest.mark.parametrize("rule", ["logit", "similarity"])
def test_answers_are_of_the_support_and_of_the_episode_alone(folder: Path, rule: str) -> None:
    net, batch = small(folder, kway_rule=rule), episodes()
    with torch.inference_mode():
        answer = net.predict(batch).ids
    assert answer.shape == (2, 40, 52)
    for row in range(2):
        assert set(answer[row].unique().tolist()) <= {0, *batch.support_mask[row].unique().tolist()}
        assert torch.equal(net.predict(one(batch, row)).ids[0], answer[row])
    order = torch.tensor([0, 3, 1, 5, 2, 4])
    moved = replace(batch, support_mask=order[batch.support_mask])
    assert torch.allclose(net(moved).fine[:, order], net(batch).fine, atol=1e-4)
    empty = replace(batch, support_mask=batch.support_mask * 0)
    assert not net.predict(empty).ids.any()


def test_one_way_is_k_way_with_one_class(folder: Path) -> None:
    batch = episodes("1")
    answer = small(folder, way="1").predict(batch).ids
    as_k = replace(batch, support_mask=batch.support_mask * 3, class_ids=None)
    assert torch.equal(small(folder, absent_test="full").predict(as_k).ids, answer * 3)


def test_no_weights_of_sam_are_in_the_state(folder: Path) -> None:
    net = small(folder)
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == {"mix": (2,)}
    assert not net.trainable
    assert not net.encoder.state_dict()


def test_three_passes_refine_the_first(folder: Path) -> None:
    """The passes by hand: points, g and t; then the mask; then its box too, each time the best of three."""
    net, batch = small(folder), one(episodes(), 0)
    query, support, masks = batch.query_image[0], batch.support_image[0], batch.support_mask == 2
    known, found = net.one_image(query, support, masks)
    assert known.tolist() == [True]
    sam = net.sam
    here, there = Frame((40, 52), SIDE, PATCH), Frame((48, 36), SIDE, PATCH)
    source, place = sam.embed(support)[0], sam.embed(query)[0]
    inside = cells_by_area(masks, there)[0]
    target = torch.stack([source[:, y, x] for y, x in inside.nonzero()]).mean(0)
    cosine = (place * target[:, None, None]).sum(0) / (place.norm(dim=0) * target.norm())
    similarity = here.back(F.interpolate(cosine[None, None], scale_factor=4, mode="bilinear"))[0]
    own = net._similarity(target[None], place[None], here)
    assert torch.allclose(own, similarity, atol=1e-6)
    similarity = own  # borders are flat, so that the last bit decides where the extremes lie
    points, labels = extreme_points(similarity, here), torch.tensor([[1, 0]])
    prompt = {"embedding": place[None], "points": points, "labels": labels}
    low, _ = sam.decode(**prompt, guidance=guidance_of(similarity, here), target=target[None])
    three, rated = sam.decode(**prompt, masks=low, several=True)
    low = three[:, rated.argmax()][:, None]
    if bool((here.back(low) > 0).any()):
        boxes = boxes_of(here.back(low)[:, 0] > 0, here)
        three, rated = sam.decode(**prompt, masks=low, boxes=boxes, several=True)
        low = three[:, rated.argmax()][:, None]
    assert torch.allclose(found, here.back(low)[:, 0] * rated.max().clamp(min=1e-3), atol=1e-4)


def test_paper_rule_leaves_thin_classes_unanswered_and_empty_masks_do_not_crash(folder: Path) -> None:
    batch = episodes()
    batch.support_mask[:] = 0
    batch.support_mask[:, 10:12, 10:12] = 2
    net = small(folder, mask_rule="paper", absent_test="full", guidance="stretched")
    assert float(net(batch).fine[:, 2].max()) == ABSENT
    assert float(small(folder, absent_test="full")(batch).fine[:, 2].max()) > ABSENT


def test_persam_f_fits_the_supports_mask(folder: Path) -> None:
    net, batch = small(folder, persam_f=True, f_steps=60), one(episodes(), 0)
    frame, masks = Frame((48, 36), SIDE, PATCH), batch.support_mask == 2
    embedding = net.sam.embed(batch.support_image[0])
    similarity = torch.rand(1, 48, 36, generator=torch.Generator().manual_seed(0))
    mix = net._fit(similarity, embedding, masks, frame)
    assert mix.shape == (1, 3)
    assert float(mix.sum()) == pytest.approx(1, abs=1e-5)
    points = extreme_points(similarity, frame)[:, :1]
    low, _ = net.sam.decode(embedding, points, torch.ones(1, 1, dtype=torch.int64), several=True)
    full, truth = frame.back(low).flatten(2), masks.flatten(1).float()
    losses = [float(mask_loss(torch.einsum("pm,pmn->pn", w, full), truth)) for w in (torch.full((1, 3), 1 / 3), mix)]
    assert losses[1] < losses[0]
    with torch.inference_mode():
        assert net.predict(batch).ids.shape == (1, 40, 52)


def test_embeddings_are_remembered(folder: Path) -> None:
    net, image = small(folder, cache=1), episodes().query_image
    first = net.sam.embed(image[0])
    assert torch.equal(net.sam.embed(image[0].clone()), first)
    net.sam.embed(image[1])
    assert len(net.sam._known) == 1


def test_without_weights_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    spec = method("persam")
    told = spec.lacking({})
    assert told.startswith("needs SAM weights: pip install 'oshp-lite[sam]'")
    assert VARIABLE in told
    with pytest.raises(UserError, match="needs SAM weights"):
        build("persam", n_ids=6, variant="lite")
    monkeypatch.setenv(VARIABLE, str(folder))
    assert spec.lacking({}) == ""
    assert not build("persam", n_ids=6, variant="lite").trainable
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{}")
    with pytest.raises(UserError, match="needs SAM weights"):
        small(damaged)
    monkeypatch.setattr(persam, "find_spec", lambda name: None)
    assert spec.lacking({"weights": str(folder)})
