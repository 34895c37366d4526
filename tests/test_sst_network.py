"""SST as a whole: what trains, what is left at test, its switches, what it refuses."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from sst_tiny import SMALL, THREE, domain_batch, sst

from oshp_lite.errors import UserError
from oshp_lite.models.base import PredictOptions
from oshp_lite.models.encoders import EncoderConfig, build_encoder
from oshp_lite.models.sst.config import SSTConfig
from oshp_lite.models.sst.network import SST


def terms(net: SST, **changes: Any) -> dict[str, torch.Tensor]:
    batch = domain_batch(net, **changes)
    return net.losses(net(batch, progress=0.0), batch, 0.0)


# ------------------------------------------------------------------------------------------------------- training


def test_the_objective_weighs_its_terms_as_the_paper() -> None:
    found = {name: float(value.detach()) for name, value in terms(sst()).items()}
    assert list(found) == ["seg", "aux", "cosine", "scr_dataset", "scr_image", "total"]
    own = 10 * found["seg"] + found["aux"] + 5 * (found["scr_dataset"] + found["scr_image"])
    assert found["total"] == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("changes", [{}, {"transfer": "none"}, {"transfer": "dataset"}, {"share_scales": True}])
def test_every_weight_learns(changes: dict[str, Any]) -> None:
    net = sst(**changes)
    terms(net)["total"].backward()
    idle = {name for name, part in net.named_parameters() if part.grad is None or not bool((part.grad != 0).any())}
    # fresh deformable layers do not look at their query, and what is the same for all keys drops out of a softmax
    idle = {name for name in idle if not name.endswith("bias") and name != "pixels.level"}
    if changes.get("transfer") == "dataset":
        idle = {name for name in idle if ".maps." not in name and ".weigh." not in name}
    assert not idle


def test_pairs_are_all_or_a_chain() -> None:
    assert list(sst().transfers) == ["pascal>atr", "pascal>cihp", "atr>cihp"]
    assert list(sst(pairs="progressive").transfers) == ["pascal>atr", "atr>cihp"]
    assert not sst(domains=("atr",)).transfers


def test_the_ladder_of_table_6_leaves_parts_out() -> None:
    plain = sst(auxiliary=False, transfer="none")
    assert set(terms(plain)) == {"seg", "total"}
    assert not plain.aggregation
    assert not plain.enhancement
    assert set(terms(sst(transfer="none"))) == {"seg", "aux", "cosine", "total"}
    for level in ("dataset", "image"):
        assert set(terms(sst(transfer=level))) == {"seg", "aux", "cosine", f"scr_{level}", "total"}
    assert bool((sst(adjacency="ones").enhancement["atr"].adjacency == 1).all())  # type: ignore[union-attr]


SWITCHES = [
    {"masks": "predicted"},
    {"shrink": "nearest"},
    {"maximum": "product"},
    {"absent": "zeros"},
    {"stop_gradient": "original"},
    {"stop_gradient": "mapped"},
    {"centred": True},
    {"contrast": 1.0},
    {"scale_sum": "mean"},
    {"image_pairs": "matched"},
    {"share_scales": True},
    {"masking": "logits"},
    {"dynamic": "sigmoid"},
    {"self_loops": False},
    {"adjacency": "shuffled"},
    {"static": "ones"},
    {"static": "shuffled"},
    {"static": "attributes"},
]


def twins(**changes: Any) -> tuple[SST, SST]:
    """The plain network and one with a switch turned, of equal weights where both have them."""
    net, other = sst(), sst(**changes)
    own, priors = other.state_dict(), ("static", "adjacency")
    for name, value in net.state_dict().items():
        if name in own and not name.endswith(priors):
            own[name] = value
    other.load_state_dict(own)
    return net.eval(), other.eval()


@pytest.mark.parametrize("changes", SWITCHES, ids=lambda changes: "-".join(f"{k}-{v}" for k, v in changes.items()))
def test_every_switch_changes_the_training_and_nothing_at_test(changes: dict[str, Any]) -> None:
    pair, slopes = twins(**changes), []
    batch = domain_batch(pair[0])
    for net in pair:
        net.losses(net(batch, progress=0.0), batch, 0.0)["total"].backward()
        slopes.append(net.enhancement["atr"].start.grad)  # type: ignore[union-attr]
    assert not torch.equal(*slopes)  # type: ignore[arg-type]
    assert bool(torch.isfinite(slopes[1]).all())  # type: ignore[arg-type]
    for domain, ids in pair[0].parse(batch.query_image).items():
        assert torch.equal(ids, pair[1].parse(batch.query_image)[domain])


def test_the_scale_of_the_dynamic_prior_does_not_matter() -> None:
    """SCR is a cosine, so the product of Eq. 9 may be divided by sqrt(D) or not."""
    pair = twins(dynamic="plain")
    batch = domain_batch(pair[0])
    losses = [net.losses(net(batch, progress=0.0), batch, 0.0)["total"] for net in pair]
    torch.testing.assert_close(*losses)


def test_absent_classes_give_finite_gradients() -> None:
    net = sst()
    batch = domain_batch(net)
    empty = torch.zeros_like(batch.query_mask)  # type: ignore[arg-type]
    empty[1] = 255
    batch = replace(batch, query_mask=empty)
    net.losses(net(batch, progress=0.0), batch, 0.0)["total"].backward()
    assert all(bool(torch.isfinite(part.grad).all()) for part in net.parameters() if part.grad is not None)


def test_it_learns() -> None:
    torch.manual_seed(0)
    net = sst(domains=("pascal", "ccp"), adjacency="ones")
    batch, first = domain_batch(net, each=2, size=(32, 32)), {}
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for _ in range(25):
        optimizer.zero_grad()
        found = net.losses(net(batch, progress=0.0), batch, 0.0)
        found["total"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10)
        optimizer.step()
        last = {name: float(value.detach()) for name, value in found.items()}
        first = first or last
    assert last["seg"] < 0.8 * first["seg"]
    assert last["aux"] < 0.7 * first["aux"]
    assert last["scr_image"] < 0.3 * first["scr_image"]


# ----------------------------------------------------------------------------------------------------- dedicated


def dedicated(**changes: Any) -> SST:
    return sst(domains=("pascal",), source=("atr", "cihp"), **changes)


@pytest.mark.parametrize("source_image", ["target", "source"])
def test_the_source_stays_frozen_and_the_target_learns(source_image: str) -> None:
    net = dedicated(source_image=source_image)
    assert list(net.transfers) == ["pascal>atr", "pascal>cihp"]
    before = copy.deepcopy(net.source.state_dict())
    net.train()
    assert not net.source.training
    found = terms(net)
    assert {"seg", "aux", "scr_dataset", "scr_image"} <= set(found)
    found["total"].backward()
    assert all(part.grad is None for part in net.source.parameters())
    assert net.encoder.stem[0].weight.grad is not None  # type: ignore[union-attr, index]
    after = net.source.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # BatchNorm's statistics too


def test_the_source_sees_what_it_predicts_itself() -> None:
    """A target image has no labels of the source's kind; another truth for it changes nothing on the source's side."""
    net = dedicated().eval()
    batch = domain_batch(net)
    rows = net.rows_of(batch)
    label = batch.query_mask
    one = net._seen_by_source("atr", batch, label, rows)  # type: ignore[arg-type]
    other = net._seen_by_source("atr", batch, torch.zeros_like(label), rows)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(one.rows, other.rows, strict=True))


# ----------------------------------------------------------------------------------------------------------- test


@pytest.mark.parametrize("make", [sst, dedicated])
def test_removing_the_modules_changes_no_bit(make: Any) -> None:
    net = make().eval()
    bare = net.plain()
    gone = ("aggregation.", "enhancement.", "transfers.", "source.")
    assert not [name for name in bare.state_dict() if name.startswith(gone)]
    batch = domain_batch(net)
    for domain, ids in net.parse(batch.query_image).items():
        assert torch.equal(ids, bare.parse(batch.query_image)[domain])
    options = PredictOptions(scores=True)
    episode = replace(batch, query_mask=None, support_mask=torch.zeros_like(batch.support_mask))
    scores = [one.predict(episode, options).scores for one in (net, bare)]
    assert torch.equal(*scores)  # type: ignore[arg-type]


def test_one_network_parses_in_every_label_space() -> None:
    net = sst().eval()
    image = domain_batch(net, each=1).query_image[:1]
    found = net.parse(image)
    assert list(found) == list(THREE)
    for name, ids in found.items():
        view = net.turned_to(name)
        assert torch.equal(view.predict(domain_episode(image)).ids, ids)
        assert view.n_ids == net.config.count(name)
    assert net.config.target == "pascal"


def domain_episode(image: torch.Tensor) -> Any:
    from oshp_lite import Episode

    empty = torch.zeros(len(image), *image.shape[-2:], dtype=torch.long)
    return Episode(image, image, empty, empty)


def test_views_are_summed_and_a_mirrored_view_changes_sides() -> None:
    net = sst(domains=("atr",), test_flip=True).eval()
    image = domain_batch(net, each=1).query_image
    options = PredictOptions(scores=True)
    scores, turned = (net.predict(domain_episode(one), options).scores for one in (image, image.flip(-1)))
    assert scores is not None
    assert turned is not None
    swapped = [*range(9), 10, 9, 11, 13, 12, 15, 14, 16, 17]
    torch.testing.assert_close(turned.flip(-1)[:, swapped], scores, atol=1e-4, rtol=1e-4)
    single = replace(net.config, test_flip=False)
    net.config = single
    assert not torch.allclose(net.predict(domain_episode(image), options).scores * 2, scores)  # type: ignore[operator]
    net.config = replace(single, test_scales=(0.5, 1.0, 1.5))
    assert net.predict(domain_episode(image), options).scores.shape == scores.shape  # type: ignore[union-attr]


def test_its_encoder_is_the_one_shot_methods_encoder() -> None:
    net = sst()
    lite = EncoderConfig.preset("lite", width=SMALL["width"], lite_channels=SMALL["lite_channels"])
    plain = build_encoder(lite)
    plain.load_state_dict(net.encoder.state_dict())
    image = torch.rand(2, 3, 33, 47)
    torch.testing.assert_close(plain.eval()(image), net.encoder.eval().pyramid(image)[0])  # type: ignore[operator]


def test_the_papers_backbone() -> None:
    pytest.importorskip("transformers")
    net = SST(domains=("pascal",), backbone="resnet50", dim=32, heads=4, layers=1, hidden=32)
    net.train()
    norms = [part for part in net.encoder.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert len(norms) == 53
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert net.parse(torch.rand(1, 3, 65, 70))["pascal"].shape == (1, 65, 70)
    state = {f"resnet.{name}": value + 1 for name, value in net.encoder.body.state_dict().items()}  # type: ignore[union-attr]
    assert net.encoder.load(state, "x") == len(state)  # type: ignore[operator]
    with pytest.raises(UserError, match="does not hold this backbone"):
        net.encoder.load({}, "x")  # type: ignore[operator]


# ------------------------------------------------------------------------------------------------------- bad input


def test_a_batch_that_lacks_a_domain_is_one_sentence() -> None:
    net = sst()
    batch = domain_batch(net)
    batch = replace(batch, domain=torch.zeros(6, dtype=torch.long))
    with pytest.raises(UserError, match="the batch holds no image of atr, cihp; every batch needs one of each domain"):
        net.losses(net(batch, progress=0.0), batch, 0.0)


def test_a_domain_without_a_graph_is_measured_first() -> None:
    net = sst(domains=("atr", "ccp"))
    assert net.unmeasured == ["ccp"]
    with pytest.raises(UserError, match="no label graph is published for ccp; measure contacts first"):
        terms(net)
    net.set_priors({"ccp": torch.eye(12)})
    assert bool(torch.isfinite(terms(net)["total"]))


def test_an_id_beyond_its_domain_is_named() -> None:
    net = sst()
    batch = domain_batch(net)
    batch.query_mask[0, 9, 9] = 7  # type: ignore[index]
    with pytest.raises(ValueError, match="a mask of pascal holds id 7; ids below 7 and 255"):
        net.losses(net(batch, progress=0.0), batch, 0.0)


WRONG = [
    ({"domains": ("atr", "mars")}, "unknown label space 'mars'"),
    ({"domains": ("atr", "atr")}, "no entry may occur twice"),
    ({"domains": ("atr", "ccp"), "adjacency": "graph"}, "the label space ccp-os has no published label graph"),
    ({"domains": ("atr", "ccp"), "static": "atoms"}, "the labels of ccp-os are no merges of atoms"),
    ({"domains": ("atr",), "source": ("atr",)}, "the domain atr is both source and target"),
    ({"domains": ("atr", "cihp"), "source": ("pascal",)}, "dedicated parsing has one target domain, not 2"),
    ({"domains": ("atr",), "head": "cihp"}, "head is 'cihp'; it must be one of the domains"),
    ({"auxiliary": False}, "transfer compares what the auxiliary modules learn"),
    ({"static": "words"}, "words names no file"),
    ({"contrast": 1.0, "transfer": "none"}, "contrast compares rows that transfer maps"),
    ({"dim": 30, "heads": 4}, "dim is 30; it must be a multiple of 4 and of heads, 4"),
    ({"test_scales": ()}, "test_scales is empty"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words[:20] for _, words in WRONG])
def test_settings_that_cannot_be_are_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        sst(**changes)
    assert "\n" not in str(caught.value)


def test_a_head_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="this network has no head for 'lip'; it parses pascal, atr, cihp"):
        sst().parse(torch.rand(1, 3, 32, 32), ["lip"])


def test_the_papers_settings_are_the_default() -> None:
    paper = SSTConfig()
    assert (paper.alpha, paper.beta, paper.scr_weight) == (10, 1, 5)
    assert (paper.backbone, paper.dim, paper.layers, paper.heads, paper.points) == ("resnet50", 256, 6, 8, 4)
