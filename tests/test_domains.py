"""Runs over several label domains: batches, sizes, universal and dedicated training, exact resume, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_fixtures import bars
from sst_tiny import SMALL
from test_engine_train import Killed, assert_same, ending, killed_after

from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.domains import DomainBatch, DomainBatches, DomainPhotos, TestPhotos, shares
from oshp_lite.data.registry import domain_data
from oshp_lite.data.synthetic import scene
from oshp_lite.data.transforms import Recipe
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.engine.checkpoint import load_parser, read_record, read_weights
from oshp_lite.engine.config import RunConfig, from_dict
from oshp_lite.engine.domain_runs import DomainTraining, execute, judge, train_domains
from oshp_lite.engine.domains import DomainSet, network_config, open_domains, training_photos
from oshp_lite.engine.evaluate import load_pairs
from oshp_lite.engine.runs import read_history
from oshp_lite.errors import UserError
from oshp_lite.labels.whole import whole_fold

TO_PASCAL = np.zeros(256, np.uint8)
TO_PASCAL[[1, 2, 3, 11]], TO_PASCAL[[4, 7]], TO_PASCAL[[5, 6]], TO_PASCAL[[9, 10]], TO_PASCAL[255] = 1, 2, 5, 6, 255
"""ATR's ids of the bars -> body parts."""
COUNTS = {"synth-pascal": 10, "synth-atr": 24, "ccp-os": 16}


def domain(root: Path, name: str, n_train: int) -> OneShotDataset:
    """Bars labelled in one label space; every domain has photos of its own."""
    space = {"synth-pascal": "pascal", "synth-atr": "atr", "ccp-os": "ccp-os"}[name]
    recipe = {"bars": [name, n_train]}
    writer = DatasetWriter(
        root / name, name=name, space=space, train_split=n_train // 2, test_split=2, test_pairs="spread", recipe=recipe
    )
    with writer:
        for phase, count in (("train", n_train), ("test", 5)):
            for index in range(count):
                image, mask = bars(index, np.random.default_rng([len(name), len(phase), index]), 40, 32)
                mask = TO_PASCAL[mask] if space == "pascal" else np.minimum(mask, 11) if space == "ccp-os" else mask
                writer.add(phase, f"{phase}{index:03d}", image, mask)  # type: ignore[arg-type]
    return open_dataset(root / name)


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OneShotDataset]:
    root = tmp_path_factory.mktemp("domains")
    return {name: domain(root, name, count) for name, count in COUNTS.items()}


def config(names: tuple[str, ...] = ("synth-pascal", "synth-atr"), **changes: Any) -> RunConfig:
    options = {**SMALL, "domains": names, **changes.pop("options", {})}
    plain: dict[str, Any] = {
        "data": {"dataset": options.get("head") or names[0], "size": 32, "augment": "paper"},
        "model": {"method": "sst", "options": options},
        "train": {
            "epochs": 2,
            "steps_per_epoch": 2,
            "batch_size": 3,
            "warmup_steps": 2,
            "threads": 1,
            "visible": "all",
            "save_seconds": 1e6,
            "clip": 10.0,
        },
        "eval": {"test_size": 32, "bootstrap": 20, "samples": 1, "batch_size": 4},
    }
    return from_dict(changes, from_dict(plain))


def opened(domains: dict[str, OneShotDataset], run: RunConfig) -> DomainSet:
    options = network_config(run)
    names = (*options.domains, *(options.source if options.source_image == "source" else ()))
    return DomainSet(domains[options.target], {name: domains[name] for name in names})


# ----------------------------------------------------------------------------------------------------------- data


def test_every_batch_holds_every_domain_and_small_ones_come_round_again(domains: dict[str, OneShotDataset]) -> None:
    run = config(("synth-pascal", "synth-atr"))
    photos = training_photos(run, opened(domains, run))
    batches = DomainBatches(photos, 3, seed=1)
    assert (len(batches), batches.order.each) == (12, (1, 2))  # 24 ATR photos, two a batch
    seen: dict[int, list[str]] = {0: [], 1: []}
    for batch in batches.of(0):
        assert batch.domain is not None
        assert batch.domain.tolist() == [0, 1, 1]
        for number, names in zip(batch.domain.tolist(), batch.names, strict=True):  # type: ignore[arg-type]
            seen[number].append(names[0])
    assert sorted(seen[1]) == sorted(photos[1].stems)
    assert sorted(set(seen[0])) == sorted(photos[0].stems)
    assert len(seen[0]) == 12
    assert len(DomainBatches(photos[:1], 3, seed=1, limit=50)) == 50  # ten photos, a budget of 150
    later = next(batches.of(1, 5))
    again = next(DomainBatches(photos, 3, seed=1).of(1, 5))
    assert torch.equal(later.query_image, again.query_image)
    assert torch.equal(later.query_mask, again.query_mask)  # type: ignore[arg-type]


def test_shares_of_a_batch() -> None:
    assert shares(6, 3) == (2, 2, 2)
    assert shares(4, 3) == (1, 1, 2)
    with pytest.raises(UserError, match=r"train.batch_size is 2 but every batch must hold each of the 3 domains"):
        shares(2, 3)


def test_ids_stay_raw_and_a_mirrored_photo_exchanges_sides(domains: dict[str, OneShotDataset]) -> None:
    dataset = domains["synth-atr"]
    recipe = Recipe("paper", (40, 32), scale="joint")
    photos = DomainPhotos(dataset, whole_fold("atr"), recipe)
    shoes = {int(i) for n in range(24) for lap in range(4) for i in photos[lap, n].query_mask.unique()}  # type: ignore[union-attr]
    assert {3, 9, 10} <= shoes  # sunglasses and right shoes, which one-shot parsing drops and merges
    whole = photos.cache.read(photos.stems[0], False).mask
    turned = photos.cache.read(photos.stems[0], True).mask[:, ::-1]
    swap = {9: 10, 10: 9}
    assert np.array_equal(np.vectorize(lambda i: swap.get(i, i))(turned), whole)
    with pytest.raises(UserError, match=r"data.augment is mild, which cannot tell left from right"):
        DomainPhotos(dataset, whole_fold("atr"), Recipe("mild", (40, 32)))


def test_test_photos_keep_their_labels(domains: dict[str, OneShotDataset]) -> None:
    photos = TestPhotos(domains["synth-atr"], 32, limit=3)
    assert len(photos) == len(photos.pairs()) == 3
    assert photos[0].query_mask is not None
    assert {9, 10} & set(photos[0].query_mask.unique().tolist())


def test_the_three_label_domains_show_different_people() -> None:
    scenes = [scene(name, 0, 0, 64) for name in ("synth-pascal", "synth-atr")]
    assert not np.array_equal(scenes[0].image, scenes[1].image)
    assert [len(np.unique(scenes[0].mask(space))) > 2 for space in ("pascal", "atr", "cihp")] == [True] * 3


def test_procedural_domains_keep_the_papers_proportions() -> None:
    names = ("synth-pascal", "synth-atr", "synth-cihp", "ccp-os")
    for head, n_train in (("synth-pascal", 30), ("synth-atr", 270), ("synth-cihp", 480)):
        synthetic = {"n_train": n_train, "n_test": 8}
        run = config(names, options={"head": head}, data={"synthetic": synthetic})
        sizes = [domain_data(run.data, name).synthetic.n_train for name in names[:3]]
        assert sizes == [30, 270, 480]
    assert domain_data(run.data, "ccp-os").dataset == "ccp-os"


def test_a_share_of_the_targets_photos(domains: dict[str, OneShotDataset]) -> None:
    some = {}
    for share in (0.25, 0.5, 1.0):
        run = config(options={"target_share": share})
        target, other = training_photos(run, opened(domains, run))
        some[share] = set(target.stems)
        assert len(other) == 24
    assert [len(stems) for stems in some.values()] == [2, 5, 10]
    assert some[0.25] < some[0.5] < some[1.0]


def test_hidden_classes_have_no_label_in_any_domain(domains: dict[str, OneShotDataset]) -> None:
    run = config(("synth-atr", "ccp-os"), train={"visible": "base"})
    for photos, names in zip(training_photos(run, opened(domains, run)), ((5, 6, 7), (6, 7, 8)), strict=True):
        assert set(names) <= set(photos.fold.novel)
        ids = {int(i) for n in range(len(photos)) for i in photos[0, n].query_mask.unique()}  # type: ignore[union-attr]
        assert not ids & set(names)


# -------------------------------------------------------------------------------------------------------- training


def test_universal_training_goes_on_exactly(
    domains: dict[str, OneShotDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(train={"save_steps": 1})
    data = opened(domains, run)
    train_domains(run, data, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patched:
        killed_after(patched, 3)
        with pytest.raises(Killed):
            train_domains(run, data, tmp_path / "cut", progress=False)
    train_domains(run, data, tmp_path / "cut", progress=False)
    assert_same(ending(tmp_path / "whole"), ending(tmp_path / "cut"))
    rows = read_history(tmp_path / "whole")
    assert {"loss_seg", "loss_aux", "loss_scr_dataset", "loss_scr_image", "loss_cosine"} <= set(rows[0])
    record = read_record(tmp_path / "whole" / "weights.safetensors")
    assert record.options["domains"] == ["synth-pascal", "synth-atr"]


@pytest.fixture(scope="module")
def first_stage(domains: dict[str, OneShotDataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = config(("synth-atr",), train={"epochs": 1})
    folder = tmp_path_factory.mktemp("stage")
    train_domains(run, opened(domains, run), folder, progress=False)
    return folder / "weights.safetensors"


def second(path: Path, **changes: Any) -> RunConfig:
    options = {"source": ["synth-atr"], **changes.pop("options", {})}
    init = {"kind": "file", "path": str(path)}
    return config(("synth-pascal",), options=options, init=init, **changes)


@pytest.mark.parametrize("source_image", ["target", "source"])
def test_dedicated_training_goes_on_exactly_and_keeps_its_source(
    source_image: str, domains: dict[str, OneShotDataset], first_stage: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    run = second(first_stage, options={"source_image": source_image}, train={"save_steps": 1})
    data = opened(domains, run)
    begun = DomainTraining(run, data, tmp_path / "none")
    before = read_weights(first_stage)
    own = begun.parser.state_dict()
    for name, value in before.items():
        assert torch.equal(own[f"source.{name}"], value), name
        if name.startswith(("encoder.", "pixels.", "decoder.")):
            assert torch.equal(own[name], value)
    train_domains(run, data, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patched:
        killed_after(patched, 3)
        with pytest.raises(Killed):
            train_domains(run, data, tmp_path / "cut", progress=False)
    train_domains(run, data, tmp_path / "cut", progress=False)
    assert_same(ending(tmp_path / "whole"), ending(tmp_path / "cut"))
    after = read_weights(tmp_path / "whole" / "weights.safetensors")
    assert all(torch.equal(after[f"source.{name}"], value) for name, value in before.items())
    assert not torch.equal(after["encoder.stem.0.weight"], before["encoder.stem.0.weight"])


def test_plain_fine_tuning_is_the_second_stage_without_a_source(
    domains: dict[str, OneShotDataset], first_stage: Path, tmp_path: Path
) -> None:
    run = second(first_stage, options={"source": [], "auxiliary": False, "transfer": "none"})
    begun = DomainTraining(run, opened(domains, run), tmp_path)
    before = read_weights(first_stage)
    assert torch.equal(begun.parser.state_dict()["decoder.lateral.weight"], before["decoder.lateral.weight"])
    assert "tensors of the parsing network from weights.safetensors" in begun.start_from


def test_another_methods_encoder_can_be_the_start(domains: dict[str, OneShotDataset], tmp_path: Path) -> None:
    from oshp_lite.engine.checkpoint import save_weights
    from oshp_lite.models.base import CheckpointRecord
    from oshp_lite.models.registry import build

    plain = build("segment", variant="lite", seed=5, **{name: SMALL[name] for name in ("width", "lite_channels")})
    path = tmp_path / "segment.safetensors"
    save_weights(path, plain.state_dict(), CheckpointRecord("segment", {}, "k", 18, "atr"))
    run = config(init={"kind": "file", "path": str(path)})
    begun = DomainTraining(run, opened(domains, run), tmp_path)
    assert torch.equal(begun.parser.state_dict()["encoder.stem.0.weight"], plain.state_dict()["encoder.stem.0.weight"])
    refused(domains, second(path), tmp_path, "holds a network of segment, but model.options.source is synth-atr")


def test_contacts_are_measured_where_no_graph_is_published(domains: dict[str, OneShotDataset], tmp_path: Path) -> None:
    run = config(("synth-atr", "ccp-os"))
    parser = DomainTraining(run, opened(domains, run), tmp_path).parser
    assert not parser.unmeasured
    measured = parser.enhancement["ccp-os"].adjacency  # type: ignore[union-attr]
    assert set(measured.unique().tolist()) == {0.0, 1.0}
    assert bool((measured.diagonal() == 1).all())


def test_a_finished_run_has_scores_of_every_domain(domains: dict[str, OneShotDataset], tmp_path: Path) -> None:
    run = config(train={"epochs": 1, "eval_every": 1, "eval_queries": 2})
    data = opened(domains, run)
    result = execute(run, data, tmp_path, progress=False)
    summary = result.details["domains"]
    assert list(summary) == ["synth-pascal", "synth-atr"]
    assert summary["synth-pascal"]["human_miou"] == pytest.approx(result.human_miou)
    assert "human_miou" in result.intervals
    network = load_parser(tmp_path / "weights.safetensors")
    judged = judge(network, data, run, progress=False)  # type: ignore[arg-type]
    assert judged["synth-atr"].scores.human_miou == pytest.approx(summary["synth-atr"]["human_miou"])
    matrices, _ = load_pairs(tmp_path / "pairs-synth-atr.npz")
    assert matrices.shape == (5, 18, 18)
    photos = TestPhotos(data.members["synth-atr"], 32)
    labelled = sum(int((photos[n].query_mask != 255).sum()) for n in range(5))  # type: ignore[operator, union-attr]
    assert int(matrices.sum()) == labelled  # every labelled pixel counts, whatever class it has
    row = read_history(tmp_path)[0]
    assert {"miou_synth-pascal", "miou_synth-atr", "accuracy_synth-atr"} <= set(row)


def test_scores_do_not_depend_on_what_the_truth_shows(domains: dict[str, OneShotDataset]) -> None:
    """The pretended support is the query's truth; no id is masked because the truth lacks it."""
    from oshp_lite.models.sst.network import SST

    net = SST(variant="lite", **{**SMALL, "domains": ("synth-pascal", "synth-atr")}).eval()
    photo = TestPhotos(domains["synth-atr"], 32)[0]
    run = config(("synth-atr", "synth-pascal"))
    judged = judge(net, opened(domains, run), run, progress=False, limit=1)
    ids = net.parse(photo.query_image[None])["synth-atr"][0]
    assert torch.equal(judged["synth-atr"].predictions[0].long(), ids)


# ----------------------------------------------------------------------------------------------------- the store


def test_the_store_makes_a_domain_run_once(
    domains: dict[str, OneShotDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oshp_lite.engine import domains as opening
    from oshp_lite.engine import runs

    def find(data: Any, root: Any = None, *, progress: bool = True) -> OneShotDataset:
        return domains[data.dataset]

    monkeypatch.setattr(opening, "find_dataset", find)
    store, run = runs.RunStore(tmp_path / "runs"), config(train={"epochs": 1})
    assert store.find(run, tmp_path) is None
    made = store.ensure(run, tmp_path, progress=False)
    assert made.config.as_dict() == run.as_dict()
    assert not made.older_code
    assert set(made.scores["details"]["domains"]) == {"synth-pascal", "synth-atr"}
    assert "pairs-synth-atr.npz" in made.provenance["files"]
    assert made.samples
    again = store.ensure(run, tmp_path, progress=False)
    assert again.provenance["finished"] == made.provenance["finished"]
    other = config(train={"epochs": 1}, options={"transfer": "none"})
    assert store.find(other, tmp_path) is None  # the network's choices are part of what a run is
    assert made.parser().config.domains == ("synth-pascal", "synth-atr")


def test_what_a_domain_run_learnt_starts_a_one_shot_method(first_stage: Path) -> None:
    from oshp_lite.engine.models import load_encoder
    from oshp_lite.models.registry import build

    lite = {name: SMALL[name] for name in ("width", "lite_channels")}
    net = build("eopnet", variant="lite", n_ids=18, **lite)
    assert load_encoder(net, first_stage) == len(net.encoders()[0].state_dict())
    assert torch.equal(net.state_dict()["encoder.stem.0.weight"], read_weights(first_stage)["encoder.stem.0.weight"])


# ------------------------------------------------------------------------------------------------------- bad input


def refused(domains: dict[str, OneShotDataset], run: RunConfig, folder: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        DomainTraining(run, opened(domains, run), folder)
    assert "\n" not in str(caught.value)


def test_bad_input_is_one_sentence(domains: dict[str, OneShotDataset], first_stage: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.safetensors"
    for run, words in (
        (config(train={"batch_size": 1}), "every batch must hold each of the 2 domains"),
        (config(data={"dataset": "synth-atr"}), "data.dataset is synth-atr but the network predicts synth-pascal"),
        (second(first_stage, options={"source": ["ccp-os"]}), "holds a network of the domains synth-atr, but"),
        (second(first_stage, options={"dim": 32}), "other shapes"),
        (second(none), "none.safetensors"),
    ):
        refused(domains, run, tmp_path, words)
    for options, words in (({"domains": []}, "domains is empty"), ({"domains": ["synth-mars"]}, "'synth-mars'")):
        with pytest.raises(UserError, match=words):
            network_config(config(options=options))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no weights")
    refused(domains, second(damaged), tmp_path, "damaged")


def test_real_photos_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the dataset ccp-os is not at"):
        open_domains(config(("ccp-os",)), tmp_path)


def test_a_batch_of_domains_moves_like_any_other(domains: dict[str, OneShotDataset]) -> None:
    run = config()
    batch = next(DomainBatches(training_photos(run, opened(domains, run)), 3, seed=0).of(0))
    moved = batch.to("cpu")
    assert isinstance(moved, DomainBatch)
    assert moved.domain is not None
