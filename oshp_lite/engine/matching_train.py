"""Training `models.matching` by the trainer that every method has: killed at any moment, resumed.

It is no contender of the study and so not on the registry's list: its runs lie in folders of their own.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.loading import TrainingBatches
from oshp_lite.engine.models import initialise, model_options
from oshp_lite.engine.outcome import WEIGHTS
from oshp_lite.engine.provenance import code_fingerprint
from oshp_lite.engine.schedule import make_optimizer
from oshp_lite.engine.train import Position, Training, threads_set
from oshp_lite.errors import UserError
from oshp_lite.models.base import OneShotModel
from oshp_lite.models.matching.network import Matching


class MatchingTraining(Training):
    """The training of such a parser; with `train.visible` "all" it learns every class of the dataset.

    Raises UserError for a configuration of another method or way.
    """

    def __init__(self, config: RunConfig, dataset: OneShotDataset, folder: Path) -> None:
        if config.model.method != Matching.Config.name or config.data.way != "k":
            raise UserError("this trainer makes networks of model.method=matching with data.way=k alone")
        super().__init__(config, dataset, folder)

    def make_batches(self) -> TrainingBatches:
        """Return pairs of photos, with labels of the fold's base classes or of all."""
        if self.config.train.visible == "all":
            self.fold = replace(self.fold, training=self.fold.classes, novel=())
        return super().make_batches()

    def make_parser(self) -> tuple[OneShotModel, str]:
        """Return the network with its first weights, and in words where those come from."""
        network = Matching(**model_options(self.config, self.fold.n_ids))
        return network, initialise(network, self.config, self.init_weights)

    def _begin(self) -> None:
        self.code = code_fingerprint()
        self.position = Position()
        parser, self.start_from = self.make_parser()
        layout = torch.channels_last if self.config.train.channels_last else torch.contiguous_format
        self.parser = parser.to(self.device).to(memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.config.train, self.parser)
        self._saved = self._begun = time.monotonic()


def train_matching(config: RunConfig, dataset: OneShotDataset, folder: Path, progress: bool = True) -> Path:
    """Train in `folder`, from wherever an earlier call left it; returns the weights' path. Raises as `train` does."""
    training = MatchingTraining(config, dataset, folder)
    with threads_set(config.train.threads), torch.random.fork_rng():
        training.run(progress)
    return folder / WEIGHTS
