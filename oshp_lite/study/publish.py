"""Turn a finished run into the checkpoint that the package ships: half the size, provenance beside it.

`python -m oshp_lite.study.publish RUN_FOLDER` writes `oshp_lite/assets/lite.safetensors` and `lite.json`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from oshp_lite.assets import CHECKPOINT, PROVENANCE
from oshp_lite.engine import outcome
from oshp_lite.engine.checkpoint import read_record, read_weights, save_weights
from oshp_lite.files import read_json, write_json_atomic
from oshp_lite.script import exit_code


def publish(run: Path, weights: Path = CHECKPOINT, provenance: Path = PROVENANCE) -> None:
    """Write a run's weights in float16 (loading turns them back into float32) and say where they come from.

    The scores are those of the run, in float32. Raises UserError when the folder holds no finished run.
    """
    scores, made = read_json(run / outcome.SCORES), read_json(run / outcome.PROVENANCE)
    record, state = read_record(run / outcome.WEIGHTS), read_weights(run / outcome.WEIGHTS)
    half = {name: value.half() if value.dtype == torch.float32 else value for name, value in state.items()}
    save_weights(weights, half, record)
    purpose = "for the tour and for oshp-lite parse; never the start of a measured run"
    names = ("way", "human_miou", "novel_miou", "base_miou", "overall_accuracy", "n_pairs", "intervals")
    kept = {name: scores[name] for name in names if name in scores}
    write_json_atomic(provenance, {"purpose": purpose, "config": record.config, "scores": kept, "run": made})


@exit_code
def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.publish", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    publish(parser.parse_args(words).run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
