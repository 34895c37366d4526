"""Notebook 14: a small network that parses people one by one, to look into.

The network that comes with the book: `oshp-lite train --profile lite --dataset synth-crowd` with these settings, a few
minutes of one processor, and then `python -m oshp_lite.book.lessons people RUN_FOLDER`.

    model.method=instance model.options.labels=pascal model.options.width=32 model.options.lite_channels=[16,32,48,56]
    model.options.lite_depth=1 model.options.box_hidden=96 data.size=128 eval.test_size=128 train.epochs=9
    data.synthetic={n_train: 700, n_test: 100, size: 128}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oshp_lite.book.lessons.record import Lesson, lessons_folder, run_facts, write_lesson
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.rivals import BottomUpNet
from oshp_lite.predict.people import load_detector

NAME = "people"
SCORES = ("ap_p", "pcp", "ap_r", "ap_p_vol", "pcp_vol", "ap_r_vol", "miou")


def weights_file(folder: Path | None = None) -> Path:
    """Where the network's weights lie, beside the record."""
    return (folder or lessons_folder()) / f"{NAME}.safetensors"


def kept_network(folder: Path | None = None) -> RegionNet:
    """Read the network that comes with the book. UserError when its file is missing or damaged."""
    return load_detector(weights_file(folder))


def keep(run: Run, folder: Path | None = None) -> Path:
    """Keep a run's network at half precision, with its facts and scores; returns the record.

    Scores are those of the run's test photos, in [0,1], with detected and with true boxes and by crowdedness.
    UserError for a run of another method, or of one that detects nobody.
    """
    network = run.parser()
    if not isinstance(network, RegionNet) or isinstance(network, BottomUpNet) or network.record is None:
        raise UserError(f"{run.folder.name} holds no network that detects people; train method instance")
    state = {name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()}
    save_weights(weights_file(folder), state, network.record)
    facts = {
        "lesson": NAME,
        "run": run_facts(run),
        "photos": run.scores["counts"],
        "detected": _brief(run.scores),
        "true boxes": _brief(run.scores["given_boxes"]),
        "crowdedness": {name: _brief(one) for name, one in run.scores["bins"].items()},
        "loss": [round(float(row["loss_total"]), 4) for row in run.history],
    }
    return write_lesson(NAME, Lesson(facts), folder)


def _brief(scores: Any) -> dict[str, Any]:
    return {name: scores[name] for name in SCORES}
