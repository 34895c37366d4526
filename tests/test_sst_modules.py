"""SST's modules against their equations written out in NumPy (tests/sst_reference.py), and what each must keep to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sst_reference as paper
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oshp_lite.models.sst.config import SSTConfig
from oshp_lite.models.sst.decoder import WindowBlock
from oshp_lite.models.sst.deformable import DeformableAttention, PixelEncoder, cell_places, directions
from oshp_lite.models.sst.semantics import (
    Aggregation,
    Enhancement,
    associate,
    auxiliary_logits,
    mean_cosine,
    pool_regions,
    region_weights,
)
from oshp_lite.models.sst.transfer import Semantics, Transfer, consistency, distance, pair_up

D, Z1, Z2 = 8, 5, 4
SIZES = [(2, 3), (4, 6), (8, 12)]


def config(**changes: Any) -> SSTConfig:
    return SSTConfig.preset("lite", dim=D, heads=2, **changes)


def close(mine: Tensor, true: np.ndarray | float) -> None:
    np.testing.assert_allclose(mine.detach().numpy(), true, atol=1e-10, rtol=1e-9)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masks(count: int, seed: int = 0, absent: tuple[int, ...] = (2,)) -> Tensor:
    """Two label maps int64 [2,32,48] with a stripe of 255, some classes absent."""
    mask = torch.randint(0, count, (2, 16, 16), generator=drawn(seed)).repeat_interleave(2, 1).repeat_interleave(3, 2)
    for index in absent:
        mask[mask == index] = 0
    mask[:, :3] = 255
    return mask


def maps(seed: int = 0) -> list[Tensor]:
    return [torch.randn(2, D, *size, generator=drawn(seed + n), dtype=torch.float64) for n, size in enumerate(SIZES)]


def layer(module: Any) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def qkv(module: Any) -> dict[str, dict[str, np.ndarray]]:
    return {name: layer(getattr(module, name)) for name in ("query", "key", "value")}


# ------------------------------------------------------------------------------------------------------------ MSA


def aggregated(count: int = Z1, seed: int = 0, **changes: Any) -> tuple[Aggregation, list[Tensor], list[Tensor]]:
    torch.manual_seed(seed)
    module = Aggregation(config(**changes), count).double()
    return module, *module(maps(seed), masks(count, seed))


def test_msa_is_the_papers() -> None:
    module, pooled, present = aggregated()
    for level, size in enumerate(SIZES):
        weight = layer(module.project[level])["weight"]
        for image in range(2):
            shares = paper.area(masks(Z1)[image].numpy(), Z1, size)
            close(pooled[level][image], paper.msa(maps()[level][image].numpy(), shares, weight))
            assert present[level][image].tolist() == (shares.sum((1, 2)) > 0).tolist()


def test_a_small_part_survives_in_area_masks_and_not_in_nearest_ones() -> None:
    mask = torch.zeros(1, 32, 32, dtype=torch.long)
    mask[0, 9, 9] = 1
    assert float(region_weights(mask, 2, (2, 2))[0, 1].sum()) == pytest.approx(1 / 256)
    assert float(region_weights(mask, 2, (2, 2), shrink="nearest")[0, 1].sum()) == 0


def test_the_maximum_of_a_negative_region_stays_negative_unless_masks_are_multiplied() -> None:
    features = -torch.rand(1, 3, 4, 4, generator=drawn()) - 0.1
    weights = torch.zeros(1, 2, 4, 4)
    weights[:, 0, :2], weights[:, 1, 2:] = 1, 1
    assert bool((pool_regions(features, weights)[1] < 0).all())
    assert torch.equal(pool_regions(features, weights)[1][0, 0], features[0, :, :2].amax((1, 2)))
    assert bool((pool_regions(features, weights, maximum="product")[1] == 0).all())


def test_absent_classes_have_zero_rows_and_finite_gradients() -> None:
    features = [one.requires_grad_() for one in maps()]
    torch.manual_seed(0)
    pooled, present = Aggregation(config(), Z1).double()(features, masks(Z1, absent=(1, 2, 3)))
    assert not any(bool(there[:, 1:4].any()) for there in present)
    assert all(bool((rows[:, 1:4] == 0).all()) for rows in pooled)
    torch.stack([rows.square().sum() for rows in pooled]).sum().backward()
    assert all(one.grad is not None and bool(torch.isfinite(one.grad).all()) for one in features)


# ------------------------------------------------------------------------------------------------------------ MSE


def enhanced(prior: Tensor, **changes: Any) -> Enhancement:
    torch.manual_seed(1)
    return Enhancement(config(**changes), prior.double()).double()


def test_mse_is_the_papers() -> None:
    _, pooled, present = aggregated()
    prior = (torch.rand(Z1, Z1, generator=drawn()) > 0.5).double()
    module = enhanced(prior)
    rows = module(pooled, present)
    parts = [{name: layer(getattr(module, name)[level]) for name in ("query", "key", "value")} for level in range(3)]
    for image in range(2):
        own = [[one[image].detach().numpy() for one in part] for part in (pooled, present)]
        true = paper.mse(module.start.detach().numpy(), own[0], own[1], prior.numpy(), parts)
        for level in range(4):
            close(rows[level][image], true[level])
        features = maps()[-1][image].numpy()
        own_logits = auxiliary_logits(maps()[-1], rows[-1])[image]
        close(own_logits, np.einsum("dhw,zd->zhw", features, true[-1]))


@pytest.mark.parametrize("masking", ["weights", "logits"])
def test_without_neighbours_a_category_hears_of_itself_alone(masking: Any) -> None:
    _, pooled, present = aggregated()
    module = enhanced(torch.eye(Z1), masking=masking)
    before = module(pooled, present)[1]
    layer_v, draw = module.value[0], drawn()
    query, key, value = module.query[0](module.start), module.key[0](pooled[0]), layer_v(pooled[0])
    moved = value.clone()
    moved[:, 3] += torch.randn(D, generator=draw, dtype=torch.float64)
    rows = [
        module.start + associate(query, key, v, module.adjacency, present[0], masking=masking) for v in (value, moved)
    ]
    torch.testing.assert_close(rows[0], before)
    assert ((rows[0] - rows[1]).abs().sum(2) > 0).tolist() == [[False, False, False, True, False]] * 2


def test_masked_logits_renormalise_and_masked_weights_do_not() -> None:
    rows = torch.randn(Z1, D, generator=drawn(), dtype=torch.float64)
    ones, prior = torch.ones(Z1, D, dtype=torch.float64), torch.eye(Z1, dtype=torch.float64)
    prior[0, 1] = 1
    summed = associate(rows, rows, ones, prior, None, masking="logits")
    close(summed, np.ones((Z1, D)))
    shrunk = associate(rows, rows, ones, prior, None)
    assert bool((shrunk < 0.999).all())


def test_no_key_at_all_gives_zeros_and_finite_gradients() -> None:
    rows = torch.randn(Z1, D, generator=drawn(), requires_grad=True)
    none = torch.zeros(Z1, dtype=torch.bool)
    for masking in ("weights", "logits"):
        out = associate(rows, rows, rows, torch.eye(Z1), none, masking=masking)  # type: ignore[arg-type]
        assert bool((out == 0).all())
        out.sum().backward()
        assert rows.grad is not None
        assert bool(torch.isfinite(rows.grad).all())


# ---------------------------------------------------------------------------------------------------- MST and SCR


def two_domains(**changes: Any) -> tuple[Transfer, Semantics, Semantics]:
    torch.manual_seed(2)
    chosen = config(**changes)
    sides = []
    for count, seed in ((Z1, 0), (Z2, 5)):
        _, pooled, present = aggregated(count, seed, **changes)
        rows = Enhancement(chosen, torch.ones(count, count)).double()(pooled, present)
        sides.append(Semantics(rows, pooled, present))
    torch.manual_seed(3)
    static = torch.rand(Z2, Z1, generator=drawn(9), dtype=torch.float64)
    return Transfer(chosen, static).double(), *sides


def arrays(side: Semantics, image: int) -> tuple[list[np.ndarray], ...]:
    return tuple([one[image].detach().numpy() for one in part] for part in side)


@pytest.mark.parametrize("dynamic", ["scaled", "plain", "sigmoid"])
@pytest.mark.parametrize("centred", [False, True])
def test_mst_and_scr_are_the_papers(dynamic: str, centred: bool) -> None:
    transfer, one, two = two_domains(dynamic=dynamic, centred=centred)
    terms = consistency(transfer, one, two)
    static = transfer.static.numpy()
    (x1, s1, p1), (x2, s2, p2) = arrays(one, 0), arrays(two, 0)
    every1, every2 = np.ones(Z1, bool), np.ones(Z2, bool)
    back = paper.mst(x1[0], x2[0], static.T, every2, qkv(transfer.globally[0]))
    forth = paper.mst(x2[0], x1[0], static, every1, qkv(transfer.globally[1]))
    for mine, true in zip(transfer.dataset(one.rows[0][0], two.rows[0][0]), (back, forth), strict=True):
        close(mine, true)
    sums = paper.scr(x1[0], back, every1, centred=centred), paper.scr(x2[0], forth, every2, centred=centred)
    close(terms["scr_dataset"], sum(sums))
    total = 0.0
    for image in range(2):
        (x1, s1, p1), (x2, s2, p2) = arrays(one, image), arrays(two, image)
        for level in range(3):
            weigh = [layer(part[level])["weight"] for part in transfer.weigh]  # type: ignore[index]
            prior = (s2[level] @ weigh[1].T) @ (s1[level] @ weigh[0].T).T
            prior = prior if dynamic == "plain" else prior / np.sqrt(D)
            prior = 1 / (1 + np.exp(-prior)) if dynamic == "sigmoid" else prior
            layers = [qkv(part[level]) for part in transfer.maps]  # type: ignore[index]
            back = paper.mst(x1[level + 1], x2[level + 1], prior.T, p2[level], layers[0])
            forth = paper.mst(x2[level + 1], x1[level + 1], prior, p1[level], layers[1])
            total += paper.scr(x1[level + 1], back, p1[level], centred=centred) / 2
            total += paper.scr(x2[level + 1], forth, p2[level], centred=centred) / 2
    close(terms["scr_image"], total)


def test_absent_classes_leave_finite_gradients_in_scr() -> None:
    for absent in ("leave_out", "zeros"):
        transfer, one, two = two_domains(absent=absent)
        empty = Semantics(one.rows, one.pooled, [torch.zeros_like(there) for there in one.present])
        terms = consistency(transfer, empty, two)
        torch.stack(list(terms.values())).sum().backward()
        grads = [part.grad for part in transfer.parameters() if part.grad is not None]
        assert grads
        assert all(bool(torch.isfinite(grad).all()) for grad in grads)


def test_the_scales_sum_as_printed_or_average() -> None:
    terms = {how: consistency(*two_domains(scale_sum=how))["scr_image"].detach() for how in ("sum", "mean")}
    assert float(terms["sum"] / terms["mean"]) == pytest.approx(3)


def test_stop_gradient_holds_one_side() -> None:
    for held, moved in (("original", "mapped"), ("mapped", "original")):
        draw = drawn()
        rows = {name: torch.randn(2, 3, D, generator=draw).requires_grad_() for name in (held, moved)}
        distance(rows["original"], rows["mapped"], None, config(stop_gradient=held)).backward()
        assert rows[held].grad is None
        assert rows[moved].grad is not None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(20, 1000))
def test_one_common_vector_fools_the_published_loss_and_not_the_centred_one(seed: int, size: float) -> None:
    """Pitfall 11: the auxiliary cross-entropy does not move, every cosine goes to 1."""
    draw = drawn(seed)
    rows, other = (torch.randn(1, 6, D, generator=draw, dtype=torch.float64) for _ in range(2))
    common = size * torch.nn.functional.normalize(torch.randn(D, generator=draw, dtype=torch.float64), dim=0)
    features = torch.randn(1, D, 4, 4, generator=draw, dtype=torch.float64)
    target = torch.randint(0, 6, (1, 4, 4), generator=draw)
    entropy = [torch.nn.functional.cross_entropy(auxiliary_logits(features, x), target) for x in (rows, rows + common)]
    torch.testing.assert_close(*entropy, atol=1e-6, rtol=1e-6)
    shifted = distance(rows + common, other + common, None, config())
    assert float(shifted) < 0.5 * float(distance(rows, other, None, config()))
    assert float(mean_cosine(rows + common)) > float(mean_cosine(rows))
    apart = [distance(rows + k * common, other + k * common, None, config(centred=True)) for k in (0, 1)]
    torch.testing.assert_close(*apart, atol=1e-8, rtol=1e-6)


def test_contrast_tells_parallel_rows_from_matching_ones() -> None:
    transfer, one, two = two_domains(contrast=1.0)
    assert float(consistency(transfer, one, two)["contrast"].detach()) > 0
    from oshp_lite.models.sst.transfer import _contrast

    matching = torch.eye(D)[None, :4]
    parallel = torch.ones(1, 4, D)
    assert float(_contrast(matching, matching, None)) < 0.01 < float(_contrast(parallel, parallel, None))


def test_which_images_meet() -> None:
    assert [one.tolist() for one in pair_up(2, 3, "all")] == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    assert [one.tolist() for one in pair_up(2, 3, "matched")] == [[0, 1], [0, 1]]


# -------------------------------------------------------------------------------------------- deformable attention


def attention(levels: int = 3, **changes: Any) -> DeformableAttention:
    torch.manual_seed(4)
    return DeformableAttention(D, levels=levels, heads=2, points=3, **changes).double()


def test_deformable_attention_is_the_sum_written_out() -> None:
    module = attention()
    with torch.no_grad():
        for part in module.parameters():  # away from the published start, whose weights are mostly 0
            part.add_(0.4 * torch.randn(part.shape, generator=drawn(), dtype=torch.float64))
    query = torch.randn(2, 7, D, generator=drawn(1), dtype=torch.float64)
    places = torch.rand(7, 2, generator=drawn(2), dtype=torch.float64)
    source = torch.randn(2, sum(h * w for h, w in SIZES), D, generator=drawn(3), dtype=torch.float64)
    mine = module(query, places, source, SIZES)
    for image in range(2):
        given = [one.numpy() for one in (query[image], places, source[image])]
        true = paper.deformable(*given, SIZES, layer(module), (2, 3, 3))
        close(mine[image], true)


def identity(module: DeformableAttention) -> DeformableAttention:
    with torch.no_grad():
        module.offsets.bias.zero_()
        for part in (module.value, module.out):
            part.weight.copy_(torch.eye(D))
    return module


def test_without_offsets_it_is_plain_bilinear_reading() -> None:
    cells = torch.randn(1, D, 4, 6, generator=drawn(), dtype=torch.float64)
    source = cells.flatten(2).transpose(1, 2)
    sizes = [(4, 6)]
    module, own = identity(attention(levels=1)), cell_places(sizes, cells)
    close(module(source, own, source, sizes), source.numpy())  # at its own cells it reads them
    larger = torch.nn.functional.interpolate(cells, scale_factor=2, mode="bilinear", align_corners=False)
    finer = cell_places([(8, 12)], cells)
    read = (
        module(torch.zeros(1, 96, D, dtype=torch.float64), finer, source, sizes).transpose(1, 2).unflatten(2, (8, 12))
    )
    close(read[..., 1:-1, 1:-1], larger[..., 1:-1, 1:-1].numpy())  # beyond the outer centres it blends with zeros


def test_a_constant_stays_constant_inside() -> None:
    sizes = [(9, 9), (9, 9)]
    module = attention(levels=2)
    with torch.no_grad():
        for part in (module.value, module.out):
            part.weight.copy_(torch.eye(D))
    source = torch.full((1, 162, D), 2.5, dtype=torch.float64)
    read = module(source, cell_places(sizes, source), source, sizes)[:, :81].unflatten(1, (9, 9))
    close(read[:, 3:6, 3:6], np.full((1, 3, 3, D), 2.5))  # three points reach three cells far


def test_the_published_start() -> None:
    module = DeformableAttention(16, levels=2, heads=8, points=4)
    assert bool((module.offsets.weight == 0).all())
    assert bool((module.weights.weight == 0).all())
    assert bool((module.weights.bias == 0).all())
    ways = directions(8, 2, 4)
    torch.testing.assert_close(ways[1, 0, 0], torch.tensor([1.0, 1.0]))  # 45 degrees, the longer coordinate 1
    torch.testing.assert_close(ways[2, 1, 3], torch.tensor([0.0, 4.0]), atol=1e-6, rtol=0)
    assert torch.equal(module.offsets.bias, ways.flatten())


def test_the_encoder_keeps_the_maps_sizes() -> None:
    torch.manual_seed(0)
    module = PixelEncoder([4, 6], D, layers=2, heads=2, points=2, hidden=8)
    maps_out = module([torch.rand(1, 4, 13, 9), torch.rand(1, 6, 7, 5)])
    assert [tuple(one.shape) for one in maps_out] == [(1, D, 13, 9), (1, D, 7, 5), (1, D, 4, 3)]


# ----------------------------------------------------------------------------------------------------- the windows


def test_cells_see_their_window_and_no_padding() -> None:
    torch.manual_seed(0)
    for shift in (0, 2):
        block = WindowBlock(D, 8, heads=2, side=4, shift=shift).double()
        x = torch.randn(1, 6, 10, D, dtype=torch.float64, requires_grad=True)
        block.attention(x)[0, 5, 9].sum().backward()
        assert x.grad is not None
        seen = (x.grad[0].abs().sum(2) > 1e-9).nonzero()
        top, left = ((4, 8), (2, 6))[shift // 2]
        assert seen.min(0).values.tolist() == [top, left], shift
        assert seen.max(0).values.tolist() == [5, 9], shift


def test_a_shift_brings_no_opposite_edges_together() -> None:
    torch.manual_seed(0)
    block = WindowBlock(D, 8, heads=2, side=4, shift=2).double()
    x = torch.randn(1, 8, 8, D, dtype=torch.float64, requires_grad=True)
    block.attention(x)[0, 0, 0].sum().backward()
    assert x.grad is not None
    seen = (x.grad[0].abs().sum(2) > 1e-9).nonzero()
    assert seen.max(0).values.tolist() == [1, 1]  # its corner of the shifted window; not rows and columns 6 and 7
