"""Notebook 13: a small universal network to look into, and how far its relations follow the labels' meaning.

The network that comes with the book: `oshp-lite train --profile lite --dataset synth-cihp` with these settings, five
minutes of one processor, and then `python -m oshp_lite.book.lessons relations RUN_FOLDER`.

    model.method=sst model.options.domains=[synth-pascal,synth-atr,synth-cihp] model.options.head=synth-cihp
    model.options.width=24 model.options.lite_channels=[12,24,32,40] model.options.lite_depth=1 model.options.dim=24
    model.options.hidden=48 data.size=96 eval.test_size=96 train.epochs=18 train.lr=3e-3
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oshp_lite.book.lessons.record import Lesson, lessons_folder, run_facts, write_lesson
from oshp_lite.book.widgets.relations import MEASURES, RelationState, Shown
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.models.sst.network import SST
from oshp_lite.predict.universal import load_universal

NAME = "relations"
CHANCE = "chance"


def weights_file(folder: Path | None = None) -> Path:
    """Where the network's weights lie, beside the record."""
    return (folder or lessons_folder()) / f"{NAME}.safetensors"


def kept_network(folder: Path | None = None) -> SST:
    """Read the network that comes with the book, as it was trained. UserError when its file is missing or damaged."""
    return load_universal(weights_file(folder), precision=None)


def keep(run: Run, folder: Path | None = None) -> Path:
    """Keep a run's network at half precision, with its facts and scores; returns the record.

    UserError for a run that is no universal training with modules.
    """
    network = run.parser()
    if not isinstance(network, SST) or not len(network.transfers) or network.record is None:
        raise UserError(f"{run.folder.name} holds no network that links label sets; train method sst over several")
    domains = {
        name: {measure: scores[measure] for measure in ("human_miou", "mean_accuracy")}
        for name, scores in run.scores["details"]["domains"].items()
    }
    state = {name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()}
    save_weights(weights_file(folder), state, network.record)
    facts = {"lesson": NAME, "run": run_facts(run), "domains": domains, "epochs_cosine": _cosines(run)}
    return write_lesson(NAME, Lesson(facts), folder)


def _cosines(run: Run) -> list[float]:
    """Mean cosine between different categories of X_3 over each epoch."""
    return [round(float(row["loss_cosine"]), 4) for row in run.history]


def agreement(network: SST, photos: Sequence[Shown]) -> dict[str, float]:
    """How often a class's strongest relative shares a pixel with it, by measure, in [0,1], and by chance.

    Over drawn photos that carry the labels of every set, all their classes and all ordered pairs of linked sets; the
    relative is the strongest of those that the photo shows.
    """
    state, hits = RelationState(network, photos), {name: list[float]() for name in (*MEASURES, CHANCE)}
    for index, shown in enumerate(photos):
        state.choose(index)
        for of in state.domains:
            for into in state.linked(of):
                rows, columns = (np.array(state.present(one)) for one in (of, into))
                if not len(columns):
                    continue
                shared = _touched(shown.masks[of], shown.masks[into], rows, columns)
                hits[CHANCE] += shared.mean(1).tolist()
                for measure in MEASURES:
                    weights = state.relation(measure, of, into)[rows][:, columns]
                    hits[measure] += shared[np.arange(len(rows)), torch.argmax(weights, 1).numpy()].tolist()
    return {name: float(np.mean(values)) for name, values in hits.items()}


def _touched(of: Any, into: Any, rows: Any, columns: Any) -> np.ndarray:
    """Which classes of two masks uint8 [H,W] share a pixel: bool [rows,columns]."""
    return np.array([[bool(((of == a) & (into == b)).any()) for b in columns] for a in rows])
