"""The test pairs of notebook 08: kept with every method's predictions, read without runs or data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oshp_lite.errors import UserError
from oshp_lite.study.figures import contenders
from oshp_lite.study.figures.contenders import LEAD, keep_pairs, kept_pairs
from oshp_lite.study.figures.pairs import PredictedPair
from oshp_lite.study.records import Results, measured_of

SKIRT = 5


class Store:
    """In place of a `Finder`: a dataset that nobody opens."""

    def dataset(self, data: Any) -> str:
        return "photos"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Results:
    """Measured runs of two methods over five pairs with a skirt each, and their predictions."""
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 50, (5, 18, 18))
    matrices[:, SKIRT, SKIRT] += 60
    keys = [LEAD, replace(LEAD, method="panet")]
    runs = [measured_of(key, "lite", matrices, [SKIRT] * 5, queries=np.arange(5)) for key in keys]
    every = {key.method: rng.integers(0, 18, (5, 8, 8)) for key in keys}

    def read(dataset: Any, config: Any, predictions: Any, positions: list[int]) -> list[PredictedPair]:
        photo = np.zeros((8, 8, 3), np.uint8)
        masks = [np.full((8, 8), place) for place in positions]
        return [PredictedPair(photo, photo, mask, mask, {}, LEAD.split.space) for mask in masks]

    monkeypatch.setattr(contenders, "read_pairs", read)
    monkeypatch.setattr(contenders, "_of_run", lambda config, finder: every[config.model.method])
    results = Results(runs)
    results.every = every  # type: ignore[attr-defined]
    return results


def test_the_pairs_are_kept_with_the_predictions_of_every_run(results: Results, tmp_path: Path) -> None:
    path = keep_pairs(results, finder=Store(), folder=tmp_path)  # type: ignore[arg-type]
    assert path is not None
    kept = kept_pairs(tmp_path)
    assert len(kept.pairs) == len(contenders.SHARES)
    assert set(kept.made) == {"eopnet", "panet"}
    assert kept.made["panet"]["slug"] == "panet-synth-atr-fold1-kway-papers-seed0"
    every = results.every  # type: ignore[attr-defined]
    for pair in kept.pairs:
        place = int(pair.truth[0, 0])
        for method, mask in pair.predictions.items():
            np.testing.assert_array_equal(mask, every[method][place])
    assert kept.pairs[0].novel == LEAD.split.novel


def test_the_same_pairs_are_not_written_again(results: Results, tmp_path: Path) -> None:
    path = keep_pairs(results, finder=Store(), folder=tmp_path)  # type: ignore[arg-type]
    assert path is not None
    before = path.stat().st_mtime_ns
    assert keep_pairs(results, finder=Store(), folder=tmp_path) == path  # type: ignore[arg-type]
    assert path.stat().st_mtime_ns == before


def test_without_the_leading_run_nothing_is_kept(tmp_path: Path) -> None:
    assert keep_pairs(Results(), finder=Store(), folder=tmp_path) is None  # type: ignore[arg-type]
    with pytest.raises(UserError, match="matrix record"):
        kept_pairs(tmp_path)


def test_a_damaged_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "contenders.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="is damaged"):
        kept_pairs(tmp_path)


def test_what_is_committed_names_runs_under_the_papers_condition() -> None:
    kept = kept_pairs()
    assert "eopnet" in kept.made
    assert all("-papers-" in run["slug"] for run in kept.made.values()), json.dumps(dict(kept.made))
    assert all(pair.query.shape == (128, 128, 3) for pair in kept.pairs)
