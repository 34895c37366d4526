"""Results at hand: a damaged committed result stops nothing, and screening holds one test truth at a time."""

from __future__ import annotations

import shutil
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from oshp_lite.cli import main
from oshp_lite.data.synthetic.generate import generate
from oshp_lite.engine import evaluate
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import Scores, pair_matrices
from oshp_lite.engine.runs import present_code
from oshp_lite.files import read_json, write_json_atomic
from oshp_lite.study import plan, results
from oshp_lite.study.claims import CLAIMS, ledger
from oshp_lite.study.plan import config_of
from oshp_lite.study.records import Measured, NotRun, RunKey
from oshp_lite.study.results import committed_folder, load_results, read_committed
from oshp_lite.study.tables import make_tables
from oshp_lite.study.tables.measure import where_measured

KEYS = [RunKey(method, "synth-atr", 1, "k") for method in ("eopnet", "popnet", "sgone", "amp", "panet")]


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with five committed results: one `null`, one cut short, one without counts, one with other counts."""
    folder = tmp_path / "notebooks" / "results" / "runs"
    folder.mkdir(parents=True)
    for key in KEYS:
        for ending in ("json", "npz"):
            shutil.copy(committed_folder() / f"{key.slug}.{ending}", folder)
    null, short, missing, other = (folder / f"{key.slug}.json" for key in KEYS[1:])
    null.write_text("null")
    short.write_text(short.read_text()[:500])
    missing.with_suffix(".npz").unlink()
    shutil.copy(folder / f"{KEYS[0].slug}.npz", other.with_suffix(".npz"))
    monkeypatch.setattr(results, "committed_folder", lambda: folder)
    monkeypatch.setattr(plan, "project_root", lambda: tmp_path)
    for name in ("RUNS", "DATA"):
        monkeypatch.setenv(f"OSHP_{name}", str(tmp_path / name))
    return folder


def test_a_damaged_committed_result_is_named_and_stops_nothing(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_hand = load_results("lite")
    assert isinstance(at_hand.get(KEYS[0]), Measured)
    for key in KEYS[1:]:
        missing = at_hand.get(key)
        assert isinstance(missing, NotRun)
        assert f"its committed result is damaged: {key.slug}" in missing.reason.replace("file ", "")
        assert str(damaged) not in missing.reason
    assert len(make_tables(at_hand)) > 5
    (verdict,) = ledger(at_hand, "lite", [claim for claim in CLAIMS if claim.id == "amp-low-human"])[:1]
    assert verdict.word == "not run"
    assert "damaged" in verdict.reason
    assert main(["matrix", "--profile", "lite", "--steps", "a", "--dry-run"]) == 0
    assert "eopnet-synth-atr-fold1-kway" in capsys.readouterr().out


def test_a_committed_result_of_older_code_is_marked(tmp_path: Path) -> None:
    """Until its code is known to give the same numbers as the present (`code_equivalent`)."""
    key = KEYS[0]
    for ending in ("json", "npz"):
        shutil.copy(committed_folder() / f"{key.slug}.{ending}", tmp_path)
    path = tmp_path / f"{key.slug}.json"
    record = read_json(path)

    def data_column(**change: str) -> str:
        write_json_atomic(path, {**record, "provenance": {**record["provenance"], **change}})
        (measured,) = read_committed("lite", tmp_path)[0].values()
        return where_measured([measured], "synth-atr")

    assert data_column(code_equivalent="of another time").endswith("committed, older code")
    assert data_column(code_equivalent=present_code("eopnet")).endswith("; committed")


class Store:
    """Stands in for the run store: EOP-Net and PANet with the true masks as predictions, the whole photo as person."""

    def __init__(self, folder: Path, people: Any) -> None:
        self.folder, self.people = folder, people
        self.store = SimpleNamespace(root=folder)

    def find(self, config: Any) -> Any:
        place = self.folder / config.model.method
        if config.model.method not in ("eopnet", "panet"):
            return None
        if not place.is_dir():
            fold = run_fold(config, self.people)
            episodes = test_set(config, self.people, fold)
            masks = [episodes[number].query_mask for number in range(len(episodes))]
            matrices = pair_matrices(masks, masks, fold.n_ids)  # type: ignore[arg-type]
            maps = [mask.to(torch.uint8) for mask in masks if mask is not None]
            persons = [torch.ones_like(mask, dtype=torch.bool) for mask in maps]
            made = evaluate.Evaluation(Scores("k", 0, 0, 0, {}), matrices, [0] * len(maps), [], maps, persons)
            evaluate.save_predictions(place / "predictions.npz", made)
            evaluate.save_pairs(place / "pairs.npz", made)
        return SimpleNamespace(
            folder=place, identity=place.name, scores={}, history=[], provenance={}, older_code=False
        )

    def dataset(self, data: Any) -> Any:
        return self.people


def test_screening_holds_one_batch_of_truths_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: of the truths that the evaluator makes, at most two batches are alive at once."""
    people = generate("synth-atr", tmp_path / "people", 24, 16, 64, progress=False)
    alive: Counter[str] = Counter()
    original = evaluate.truth_of

    def counted(*given: Any) -> torch.Tensor:
        truth = original(*given).numpy().copy()
        alive["now"] += 1
        alive["ever"] += 1
        alive["peak"] = max(alive["peak"], alive["now"])
        weakref.finalize(truth, lambda: alive.subtract({"now": 1}))
        return torch.from_numpy(truth)

    monkeypatch.setattr(evaluate, "truth_of", counted)
    key = RunKey("panet", "synth-atr", 1, "k")
    store: Any = Store(tmp_path / "runs", people)
    found = load_results("smoke", [key], finder=store).get(key)
    assert isinstance(found, Measured)
    assert found.screened is not None
    config = config_of(key, "smoke")
    assert alive["ever"] >= len(found.counts) / config.eval.batch_size
    assert alive["ever"] > 4
    assert alive["peak"] <= 2
    again = load_results("smoke", [key], finder=store).get(key)
    assert isinstance(again, Measured)
    assert again.screened is not None
    np.testing.assert_array_equal(again.screened, found.screened)
