"""Training and judging a run over several label domains: the ordinary trainer and evaluation on its batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from oshp_lite.data.domains import DomainBatches, TestPhotos
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.domains import DomainSet, begin_from, measure_contacts, training_photos
from oshp_lite.engine.evaluate import Evaluation, run_evaluation, save_pairs
from oshp_lite.engine.loading import quiet_worker
from oshp_lite.engine.metrics import Scores, score_intervals, scores_from_kway_matrices
from oshp_lite.engine.models import build_parser
from oshp_lite.engine.outcome import PAIRS, WEIGHTS, keep_evaluation
from oshp_lite.engine.train import Training, threads_set
from oshp_lite.labels.whole import whole_fold
from oshp_lite.models.sst.network import SST


class DomainTraining(Training):
    """The ordinary training (steps, rates, exact resume, records) on batches that hold every domain."""

    parser: SST
    dataset: DomainSet  # type: ignore[assignment]  # its space, name and fingerprint are all that the trainer reads

    def make_batches(self) -> DomainBatches:  # type: ignore[override]
        """Return batches with photos of every domain."""
        train, workers = self.config.train, self.config.data.workers
        self.photos = training_photos(self.config, self.dataset)
        how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
        how |= {"worker_init_fn": quiet_worker, "pin_memory": self.device.type == "cuda"}
        return DomainBatches(self.photos, train.batch_size, train.seed, limit=train.steps_per_epoch, **how)

    def make_parser(self) -> tuple[SST, str]:
        """Return the network with contacts measured where no public graph has them, and where its weights come from."""
        network = cast(SST, build_parser(self.config, self.fold))
        known, loops = dict(zip(self.dataset.members, self.photos, strict=True)), network.config.self_loops
        network.set_priors(
            {
                name: measure_contacts(known[name], network.config.count(name), self_loops=loops)
                for name in network.unmeasured
            }
        )
        return network, begin_from(network, self.init_weights) if self.init_weights else "random weights"

    def _evaluate(self) -> dict[str, float]:
        """Mean IoU and mean accuracy of every domain on its first test photos, to draw curves with."""
        config = replace(self.config, eval=replace(self.config.eval, bootstrap=0, samples=0))
        limit = self.config.train.eval_queries
        judged = judge(self.parser, self.dataset, config, progress=False, limit=limit)
        self.parser.train()
        scores = {name: one.scores for name, one in judged.items()}
        return {f"miou_{name}": one.human_miou for name, one in scores.items()} | {
            f"accuracy_{name}": one.mean_accuracy for name, one in scores.items()
        }


def train_domains(
    config: RunConfig,
    domains: DomainSet,
    folder: Path | str,
    init_weights: Path | str | None = None,
    progress: bool = True,
    *,
    init_identity: str | None = None,
) -> None:
    """Train a domain run in `folder`, from wherever an earlier call left it; as `train` in every other respect."""
    training = DomainTraining(config, cast(Any, domains), Path(folder), init_weights, init_identity)
    with threads_set(config.train.threads), torch.random.fork_rng():
        training.run(progress)


def judge(
    network: SST, domains: DomainSet, config: RunConfig, *, progress: bool = True, limit: int | None = None
) -> dict[str, Evaluation]:
    """Parse the test photos of every domain by its own head, all raw ids competing, and score them; by domain.

    `human_miou` is the mean over all labels of the domain, background included, labels without a pixel in truth and
    prediction left out; `mean_accuracy` over labels with a pixel in the truth (section 4.1, as in Grapy-ML). Photos are
    fitted into `eval.test_size`. `limit` takes the first test photos.
    """
    choice, judged = config.eval, {}
    whole = replace(choice, absent_test="full", restrict=False, bootstrap=0)  # the "support" is the truth: no hints
    for name in network.config.names:
        dataset = domains.members[name]
        photos = TestPhotos(dataset, choice.test_size, channels=config.data.channels, limit=limit)
        run = replace(config, eval=whole)
        made = run_evaluation(network.turned_to(name), dataset, run, progress=progress, episodes=cast(Any, photos))
        fold = whole_fold(dataset.space.name)
        scores = scores_from_kway_matrices(made.matrices, fold)
        if choice.bootstrap:
            each = list(range(len(photos)))
            scores.intervals = score_intervals(made.matrices, made.class_ids, each, fold, repeats=choice.bootstrap)
        scores.details = made.scores.details
        judged[name] = replace(made, scores=scores)
    return judged


def pairs_file(config: RunConfig, domain: str) -> str:
    """The file with the confusion matrices of a domain's test photos: the run's ordinary one for the target."""
    return PAIRS if domain == config.data.dataset else f"pairs-{domain}.npz"


def execute(
    config: RunConfig,
    domains: DomainSet,
    folder: Path | str,
    init_weights: Path | str | None = None,
    progress: bool = True,
    init_identity: str | None = None,
) -> Scores:
    """Train a domain run (or go on with it), judge every domain, write it all; returns the scores of the target.

    The details of its scores hold every domain's scores under "domains". The other domains' matrices are written beside
    the run's own: see `pairs_file`.
    """
    folder = Path(folder)
    train_domains(config, domains, folder, init_weights, progress, init_identity=init_identity)
    with threads_set(config.train.threads):
        network = cast(SST, load_parser(folder / WEIGHTS, config.train.device))
        judged = judge(network, domains, config, progress=progress)
    own = judged[config.data.dataset]
    kept = ("human_miou", "mean_accuracy", "overall_accuracy", "iou", "intervals", "n_pairs")
    for name, one in judged.items():
        if one is not own:
            save_pairs(folder / pairs_file(config, name), one)
    summary = {name: {key: one.scores.as_dict()[key] for key in kept} for name, one in judged.items()}
    own.scores.details["domains"] = summary
    photos = [(position, position, 0) for position in range(len(own.matrices))]
    return keep_evaluation(folder, config, cast(Any, domains), own, photos)
