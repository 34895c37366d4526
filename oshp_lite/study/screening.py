"""Any method's predictions within EOP-Net's person mask, counted from what both runs kept; no network runs again.

The papers' comparison gives the person mask to one side only, so every row is also judged with it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic


def screened_matrices(
    run: Run, mask_run: Run, config: RunConfig, dataset: OneShotDataset, kept: Path
) -> NDArray[np.int64] | None:
    """Return int64 [N,I,I] (1-way [N,2,2]), rows truth, of the predictions of `run` within `mask_run`'s person masks.

    Kept under `kept` once made. None when the two runs do not have predictions and masks of the same test pairs.
    """
    from oshp_lite.engine.evaluate import load_predictions
    from oshp_lite.engine.metrics import pair_matrices

    path = kept / f"screened-{run.identity}-{mask_run.identity}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored["matrices"], np.int64)
    except (OSError, KeyError, ValueError):
        pass
    predictions, persons = load_predictions(run.folder), load_predictions(mask_run.folder, "person")
    n_ids = dataset.space.n_ids if config.data.way == "k" else 2
    try:  # one pair at a time is in memory
        within = (ids * (person > 0) for ids, person in zip(predictions, persons, strict=True))
        made = pair_matrices(within, _truths(config, dataset), n_ids).numpy()
    except (UserError, ValueError):  # kept nothing, or has another test list or another size
        return None
    buffer = io.BytesIO()
    np.savez_compressed(buffer, matrices=made.astype(np.min_scalar_type(int(made.max()))))
    write_atomic(path, buffer.getvalue())
    return made


def _truths(config: RunConfig, dataset: OneShotDataset) -> Iterator[NDArray[np.uint8]]:
    """Yield every test pair's truth, uint8 [H,W], in order; k-way ids that the support does not show are background."""
    from oshp_lite.engine.evaluate import batches, truth_of
    from oshp_lite.engine.loading import run_fold, test_set

    fold = run_fold(config, dataset)
    for _, batch in batches(test_set(config, dataset, fold), config):
        truth = truth_of(batch, fold.n_ids, config) if config.data.way == "k" else batch.query_mask
        assert truth is not None
        for one in truth:
            yield one.numpy().astype(np.uint8)
