"""Any method's answers within EOP-Net's person mask, counted from what both runs kept; no network runs again.

The papers' comparison gives the person mask to one side only, so every row is also judged with it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json, write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.engine.config import RunConfig


class Screener:
    """Confusion matrices of screened answers; truths are read once per test list, results kept in `kept`."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self._truths: tuple[str, list[NDArray[np.int64]]] = ("", [])

    def matrices(self, run: Run, mask_run: Run, config: RunConfig, dataset: OneShotDataset) -> NDArray[np.int64] | None:
        """Return int64 [N,I,I] (1-way [N,2,2]) of the answers of `run` within the person masks of `mask_run`.

        None when the two runs do not have answers and masks of the same test pairs.
        """
        path = self.kept / f"screened-{run.identity}-{mask_run.identity}.npz"
        try:
            with np.load(path, allow_pickle=False) as found:
                return np.asarray(found["matrices"], np.int64)
        except (OSError, KeyError, ValueError):
            pass
        made = self._made(run, mask_run, config, dataset)
        if made is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, matrices=made.astype(np.min_scalar_type(int(made.max()))))
            write_atomic(path, buffer.getvalue())
        return made

    def _made(self, run: Run, mask_run: Run, config: RunConfig, dataset: OneShotDataset) -> NDArray[np.int64] | None:
        from oshp_lite.engine.evaluate import load_answers

        try:
            answers, _ = load_answers(run.folder / "answers.npz")
            _, persons = load_answers(mask_run.folder / "answers.npz")
        except UserError:
            return None  # a run of code that did not keep its answers yet
        truths = self._truths_of(config, dataset)
        if not len(answers) == len(persons) == len(truths):
            return None
        if any(a.shape != p.shape or a.shape != t.shape for a, p, t in zip(answers, persons, truths, strict=True)):
            return None
        n_ids = dataset.space.n_ids if config.data.way == "k" else 2
        rows = [
            count(truth, answer.astype(np.int64) * (person > 0), n_ids)
            for truth, answer, person in zip(truths, answers, persons, strict=True)
        ]
        return np.stack(rows)

    def _truths_of(self, config: RunConfig, dataset: OneShotDataset) -> list[NDArray[np.int64]]:
        """Return every test pair's truth, int64 [H,W]; those of the last test list are kept in memory."""
        from oshp_lite.engine.config import identity_dict
        from oshp_lite.engine.evaluate import batches, truth_of
        from oshp_lite.engine.loading import run_fold, test_set

        told = identity_dict(config)
        data = {name: told["data"][name] for name in ("fold", "protocol", "way", "split")}
        name = sha256_json({"dataset": dataset.fingerprint, "data": data, "eval": told["eval"]})
        if self._truths[0] != name:
            fold = run_fold(config, dataset)
            found: list[NDArray[np.int64]] = []
            for _, batch in batches(test_set(config, dataset, fold), config):
                truth = truth_of(batch, fold.n_ids, config) if config.data.way == "k" else batch.query_mask
                assert truth is not None
                found += [one.numpy() for one in truth]
            self._truths = (name, found)
        return self._truths[1]


def count(truth: Any, answer: Any, n_ids: int) -> NDArray[np.int64]:
    """Return the confusion matrix int64 [n_ids,n_ids], rows truth, of two maps of ids [H,W]; truth 255 is left out."""
    kept = truth != 255
    pairs = truth[kept].astype(np.int64) * n_ids + answer[kept]
    return np.bincount(pairs, minlength=n_ids * n_ids).reshape(n_ids, n_ids)
