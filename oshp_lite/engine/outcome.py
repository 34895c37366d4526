"""What a finished run leaves in its folder beside its weights: scores, test pairs, pictures, where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oshp_lite.engine.config import RunConfig
from oshp_lite.files import sha256_json, write_json_atomic

if TYPE_CHECKING:
    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.engine.evaluate import Evaluation
    from oshp_lite.engine.metrics import Scores

CONFIG, HISTORY, WEIGHTS = "config.yaml", "history.csv", "weights.safetensors"
SCORES, PAIRS, PREDICTIONS, PROVENANCE = "scores.json", "pairs.npz", "predictions.npz", "provenance.json"
VERIFIED = (CONFIG, HISTORY, WEIGHTS, SCORES, PAIRS, PREDICTIONS)
"""Files of a finished run whose digests stand in provenance.json."""


def keep_evaluation(
    folder: Path, config: RunConfig, dataset: OneShotDataset, evaluation: Evaluation, pairs: Sequence[Sequence[int]]
) -> Scores:
    """Write an evaluation on the test pairs (query, support, class) and return its scores; see `keep_scores`."""
    from oshp_lite.engine.evaluate import save_pairs, save_predictions, save_samples

    evaluation.scores.details |= {"test_data": dataset.fingerprint, "test_pairs": sha256_json(list(map(list, pairs)))}
    save_pairs(folder / PAIRS, evaluation)
    save_predictions(folder / PREDICTIONS, evaluation)
    save_samples(folder, evaluation, dataset, config.data.channels)
    keep_scores(folder, config, dataset, evaluation.scores.as_dict())
    return evaluation.scores


def keep_scores(folder: Path, config: RunConfig, dataset: OneShotDataset, scores: Mapping[str, Any]) -> None:
    """Write scores.json and, last of all, provenance.json: a folder without it is unfinished.

    `scores` as JSON takes them, with the device that they were computed on in their details.
    """
    from oshp_lite.engine.checkpoint import read_record
    from oshp_lite.engine.provenance import provenance

    device = str(scores["details"]["device"])
    record = provenance(dataset.fingerprint, device=device, seed=config.train.seed, method=config.model.method)
    write_json_atomic(folder / SCORES, scores)
    write_json_atomic(folder / PROVENANCE, {**record, "code": read_record(folder / WEIGHTS).more["code"]})
