"""Any method's predictions within EOP-Net's person mask, counted from what both runs kept; no network runs again.

The papers' comparison gives the person mask to one side only, so every row is also judged with it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.engine.config import RunConfig


def screened_matrices(
    run: Run, mask_run: Run, config: RunConfig, dataset: OneShotDataset, kept: Path
) -> NDArray[np.int64] | None:
    """Return int64 [N,I,I] (1-way [N,2,2]) of the predictions of `run` within the person masks of `mask_run`.

    Kept under `kept` once made. None when the two runs do not have predictions and masks of the same test pairs.
    """
    path = kept / f"screened-{run.identity}-{mask_run.identity}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored["matrices"], np.int64)
    except (OSError, KeyError, ValueError):
        pass
    from oshp_lite.engine.evaluate import load_predictions

    n_ids = dataset.space.n_ids if config.data.way == "k" else 2
    try:
        made = confusions(
            load_predictions(run.folder),
            load_predictions(mask_run.folder, "person"),
            truths(config, dataset),
            n_ids,
        )
    except (UserError, ValueError):  # kept nothing, or has another test list or another size
        return None
    buffer = io.BytesIO()
    np.savez_compressed(buffer, matrices=made.astype(np.min_scalar_type(int(made.max()))))
    write_atomic(path, buffer.getvalue())
    return made


def confusions(
    predictions: Iterable[NDArray[Any]], persons: Iterable[NDArray[Any]], truths: Iterable[NDArray[Any]], n_ids: int
) -> NDArray[np.int64]:
    """Return int64 [N,I,I], rows truth, of predictions within person masks; one pair [H,W] at a time is in memory.

    Raises ValueError when the three have not equally many pairs, none, or maps of unlike size.
    """
    rows = []
    for prediction, person, truth in zip(predictions, persons, truths, strict=True):
        if prediction.shape != person.shape or prediction.shape != truth.shape:
            raise ValueError(f"maps of unlike size: {prediction.shape}, {person.shape}, {truth.shape}")
        rows.append(count(truth, prediction.astype(np.int64) * (person > 0), n_ids))
    return np.stack(rows)


def truths(config: RunConfig, dataset: OneShotDataset) -> Iterator[NDArray[np.uint8]]:
    """Yield every test pair's truth, uint8 [H,W], in order; k-way ids that the support does not show are background."""
    from oshp_lite.engine.evaluate import batches, truth_of
    from oshp_lite.engine.loading import run_fold, test_set

    fold = run_fold(config, dataset)
    for _, batch in batches(test_set(config, dataset, fold), config):
        truth = truth_of(batch, fold.n_ids, config) if config.data.way == "k" else batch.query_mask
        assert truth is not None
        for one in truth:
            yield one.numpy().astype(np.uint8)


def count(truth: Any, prediction: Any, n_ids: int) -> NDArray[np.int64]:
    """Return the confusion matrix int64 [n_ids,n_ids], rows truth, of two maps of ids [H,W]; truth 255 is left out."""
    kept = truth != 255
    pairs = truth[kept].astype(np.int64) * n_ids + prediction[kept]
    return np.bincount(pairs, minlength=n_ids * n_ids).reshape(n_ids, n_ids)
