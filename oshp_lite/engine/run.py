"""A run from start to end: train, evaluate, and leave a folder that explains itself."""

from __future__ import annotations

from pathlib import Path

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import run_evaluation, save_answers, save_pairs, save_samples
from oshp_lite.engine.metrics import Scores
from oshp_lite.engine.provenance import provenance
from oshp_lite.engine.train import WEIGHTS, pick_device, threads_set, train
from oshp_lite.files import write_json_atomic

SCORES, PAIRS, ANSWERS, PROVENANCE = "scores.json", "pairs.npz", "answers.npz", "provenance.json"


def execute(
    config: RunConfig,
    dataset: OneShotDataset,
    folder: Path | str,
    init_weights: Path | str | None = None,
    progress: bool = True,
) -> Scores:
    """Train a run (or go on with it), evaluate it, and write everything a run's folder holds; returns the scores.

    config.yaml, history.csv, resume.pt, weights.safetensors (from `train`), scores.json, pairs.npz, answers.npz,
    sample_NN.png and provenance.json, the last one last: a folder without it is unfinished. Raises UserError as
    `train` does.
    """
    folder = Path(folder)
    train(config, dataset, folder, init_weights, progress)
    device = pick_device(config.train.device)
    with threads_set(config.train.threads):
        parser = load_parser(folder / WEIGHTS, device)
        evaluation = run_evaluation(parser, dataset, config, progress=progress)
        told = provenance(dataset.fingerprint, device=str(device), seed=config.train.seed, method=config.model.method)
    save_pairs(folder / PAIRS, evaluation)
    save_answers(folder / ANSWERS, evaluation)
    save_samples(folder, evaluation, dataset, config.data.channels)
    write_json_atomic(folder / SCORES, evaluation.scores.as_dict())
    write_json_atomic(folder / PROVENANCE, told)
    return evaluation.scores
