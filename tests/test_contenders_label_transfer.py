"""Label transfer: nearest neighbours, soft labels, levels and models from outside."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from contenders_tiny import SMALL, small
from nn_tiny import episode

from oshp_lite.data.episode import IGNORE
from oshp_lite.errors import UserError
from oshp_lite.models.baselines import frozen
from oshp_lite.models.baselines.frozen import cell_labels
from oshp_lite.models.baselines.label_transfer import LabelTransfer, transfer
from oshp_lite.models.registry import build, method


def test_transfer_is_the_nearest_neighbour() -> None:
    rng = np.random.default_rng(0)
    query, support = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(2, 4, 2, 6))
    labels = rng.dirichlet(np.ones(3), (2, 12))
    usable = rng.random((2, 12)) > 0.3
    given_ = [torch.from_numpy(x) for x in (query, support, labels, usable)]
    for k in (1, 4):
        found = transfer(*given_, top_k=k, temperature=0.3).numpy()
        for b in range(2):
            q, s = query[b].reshape(4, -1).T, support[b].reshape(4, -1).T
            cosine = (q / np.linalg.norm(q, axis=1)[:, None]) @ (s / np.linalg.norm(s, axis=1)[:, None]).T
            cosine[:, ~usable[b]] = -np.inf
            for cell in range(15):
                order = np.argsort(-cosine[cell])[:k]
                weight = np.exp(cosine[cell, order] / 0.3)
                wanted = (weight[:, None] * labels[b, order]).sum(0) / weight.sum()
                assert np.abs(found[b, :, cell // 5, cell % 5] - wanted).max() < 1e-12


def test_cell_labels_are_area_shares() -> None:
    mask = torch.zeros(1, 8, 8, dtype=torch.int64)
    mask[:, :4, :3] = 2
    mask[:, 4:, :4] = IGNORE
    shares, usable = cell_labels(mask, 3, (2, 2))
    assert shares[0, 0].tolist() == [0.25, 0.0, 0.75]
    assert shares[0, 1].tolist() == [1.0, 0.0, 0.0]
    assert usable[0].tolist() == [True, True, False, True]


def test_ignored_cells_never_vote_and_nothing_is_learned() -> None:
    net: LabelTransfer = small("label_transfer")
    assert not net.trainable
    batch = episode()
    batch.support_mask[:, :, :12] = IGNORE
    labels, usable = cell_labels(batch.support_mask, 6, (12, 9))
    assert not usable.view(2, 12, 9)[:, :, :3].any()
    assert torch.allclose(labels.sum(2), usable.float())
    assert not net(batch).fine.requires_grad


def test_levels_and_centring_change_the_features() -> None:
    batch = episode()
    maps = {
        name: small("label_transfer", level=name).features(batch.query_image)
        for name in ("last", "context", "decode8", "decode4")
    }
    assert maps["context"].shape[-1] == 4
    assert torch.equal(maps["last"], maps["decode4"])
    assert not torch.equal(small("label_transfer", centre=False)(batch).fine, small("label_transfer")(batch).fine)


def test_missing_dino_models_are_told_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"label_transfer: nothing usable at .*config.json"):
        build("label_transfer", **SMALL, source=str(tmp_path))


def test_what_dino_needs_is_told_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv(frozen.VARIABLE, str(tmp_path / "nothing"))
    lacking = method("label_transfer").lacking
    assert lacking({}) == ""
    told = lacking({"source": "dino"})
    assert told.startswith("needs DINO weights: ")
    assert frozen.VARIABLE in told
    if find_spec("transformers") is not None:
        (tmp_path / "config.json").write_text("{}")
        monkeypatch.setenv(frozen.VARIABLE, str(tmp_path))
        assert lacking({"source": "dino"}) == ""
    monkeypatch.setattr(frozen, "find_spec", lambda name: None)
    assert lacking({"source": str(tmp_path)})


def test_a_dino_model_can_be_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    batch = episode()
    batch = replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float())
    net = build("label_transfer", **SMALL, source=str(tmp_path), source_size=70)
    assert not [name for name in net.state_dict() if not name.startswith("encoder.")]
    assert net.features(batch.query_image).shape == (2, 16, 4, 5)
    answer = net.predict(batch).ids
    assert set(answer.unique().tolist()) <= set(range(5))
    monkeypatch.setenv(frozen.VARIABLE, str(tmp_path))
    assert torch.equal(build("label_transfer", **SMALL, source="dino", source_size=70).predict(batch).ids, answer)
    deeper = build("label_transfer", **SMALL, source=str(tmp_path), source_size=70, level="1")
    assert deeper.features(batch.query_image).shape == (2, 16, 4, 5)
    own = replace(
        batch,
        support_image=batch.query_image,
        support_mask=batch.query_mask,
        support_foreground=batch.query_foreground,
    )
    same = build("label_transfer", **SMALL, source=str(tmp_path), source_size=560, top_k=1, centre=False)
    assert float((same.predict(own).ids == own.query_mask)[own.query_mask != IGNORE].double().mean()) > 0.9
    with pytest.raises(UserError, match="level"):
        build("label_transfer", **SMALL, source=str(tmp_path), level="9").predict(batch)
