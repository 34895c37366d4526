"""One-shot parsing in crowds over three trainings (ours; no paper has it): step q of the plan, judged in four ways.

    oshp-lite matrix --profile lite --steps q
    python -m oshp_lite.study.crowds

The second command pairs the one-shot network and the detector of each seed, parses the test pairs of `synth-crowd` in
the ways of `engine.crowds`, and keeps the scores in `notebooks/results/crowds.json`, seed by seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

from oshp_lite.data.registry import find_dataset
from oshp_lite.engine.config import from_dict
from oshp_lite.engine.crowds import WAYS, judge_crowds
from oshp_lite.engine.runs import WEIGHTS, Run, RunStore
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, runs_root, write_json_atomic
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.predict import load_network
from oshp_lite.predict.people import load_detector
from oshp_lite.script import exit_code
from oshp_lite.study.experiments import matrix
from oshp_lite.study.plan import config_of

STEP, DATASET, SMALL = "q", "synth-crowd", "0-0.25"
WORTH = 0.05
"""Gain in novel mIoU of small people, below a quarter of the photo's height, from which boxes pay off."""
MEASURES = {
    "novel_miou": "novel mIoU",
    "human_miou": "human mIoU",
    "ap_p_vol": "AP^p mean",
    "pcp_50": "PCP .5",
    "novel_pcp_50": "novel PCP .5",
}


def record_file() -> Path:
    """Where the record lies."""
    return project_root() / "notebooks" / "results" / "crowds.json"


def kept_record() -> dict[str, Any] | None:
    """The record that comes with the project, or None."""
    return cast(dict[str, Any], read_json(record_file())) if record_file().exists() else None


def runs_of_seed(seed: int, store: RunStore, data: str | Path | None = None) -> dict[str, Run]:
    """The one-shot network's and the detector's run of a seed, by method. UserError for one that is not there."""
    runs = {}
    for key in (one for one in matrix("lite", [STEP]) if one.seed == seed):
        run = store.find(config_of(key, "lite"), data)
        if run is None:
            raise UserError(
                f"{store.root} has no {key.method} of seed {seed}; run oshp-lite matrix --steps {STEP} first"
            )
        runs[key.method] = run
    if set(runs) != {"eopnet", "instance"}:
        raise UserError(f"step {STEP} has no seed {seed}; its seeds are {', '.join(map(str, seeds()))}")
    return runs


def seeds() -> list[int]:
    """The seeds that step q declares."""
    return sorted({key.seed for key in matrix("lite", [STEP])})


def judge_seed(runs: Mapping[str, Run], data: str | Path | None = None, pairs: int | None = None) -> dict[str, Any]:
    """Judge a seed's two runs on the (first) test pairs; the runs' names beside the scores in [0,1] by way."""
    net = load_network(runs["eopnet"].folder / WEIGHTS)
    detector = load_detector(runs["instance"].folder / WEIGHTS)
    assert isinstance(net, EOPNet)
    assert net.record is not None
    config = from_dict(net.record.config)
    config = replace(config, data=replace(config.data, dataset=DATASET))
    dataset = find_dataset(config.data, data, progress=False)
    scores = judge_crowds(net, detector, dataset, config, most=pairs)
    return {
        "runs": {name: run.folder.name for name, run in runs.items()},
        "data": dataset.fingerprint,
        "scores": scores,
    }


def judge(store: RunStore, data: str | Path | None = None, pairs: int | None = None, path: Path | None = None) -> Path:
    """Judge every seed that the record lacks, and return the record's place. Each seed is kept when it is done."""
    path = path or record_file()
    record = (
        cast(dict[str, Any], read_json(path)) if path.exists() else {"dataset": DATASET, "pairs": pairs, "seeds": {}}
    )
    if record["pairs"] != pairs:
        raise UserError(f"{path} was made of other test pairs; remove it, or choose --pairs as it was")
    for seed in seeds():
        runs = runs_of_seed(seed, store, data)
        names = {name: run.folder.name for name, run in runs.items()}
        if record["seeds"].get(str(seed), {}).get("runs") != names:
            record["seeds"][str(seed)] = judge_seed(runs, data, pairs)
            write_json_atomic(path, record)
    return path


def table(record: Mapping[str, Any] | None) -> str:
    """The scores in per cent, mean and standard deviation over seeds, as a Markdown table; a line for no record."""
    kept = [one["scores"] for one in record["seeds"].values()] if record else []
    if not kept:
        return f"*not run*: `oshp-lite matrix --profile lite --steps {STEP}`, then `python -m oshp_lite.study.crowds`"
    heights = list(kept[0]["whole"]["by_height"])
    columns = [*MEASURES.values(), *(f"novel mIoU, height {one.replace('-10', ' on')}" for one in heights)]
    lines = ["| parsed | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for way in WAYS:
        rows = [[own[way][name] for name in MEASURES] for own in kept]
        rows = [
            row + [own[way]["by_height"][at]["novel_miou"] for at in heights]
            for row, own in zip(rows, kept, strict=True)
        ]
        lines.append(f"| {way} | {' | '.join(_cell(values) for values in zip(*rows, strict=True))} |")
    return "\n".join(lines)


def _cell(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")


def gains(record: Mapping[str, Any], way: str = "regions") -> list[float]:
    """What a way adds to the whole photo's novel mIoU of small people, by seed, in [-1,1]."""
    pairs = [one["scores"] for one in record["seeds"].values()]
    both = [[own[name]["by_height"][SMALL]["novel_miou"] for name in (way, "whole")] for own in pairs]
    return [one - other for one, other in both if one is not None and other is not None]


def verdict(record: Mapping[str, Any] | None) -> str:
    """Whether detected boxes pay off: `WORTH` in the mean, and no seed against it, over three seeds."""
    made = gains(record) if record else []
    if len(made) < len(seeds()):
        return f"{'undecided' if made else 'not run'}: {len(made)} of {len(seeds())} seeds"
    text = (
        f"{100 * mean(made):+.1f} points of novel mIoU for small people ({', '.join(f'{100 * x:+.1f}' for x in made)})"
    )
    return f"{'boxes pay off' if mean(made) >= WORTH and min(made) > 0 else 'boxes do not pay off'}: {text}"


@exit_code
def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.crowds", description=judge.__doc__)
    parser.add_argument("--data", help="folder of the datasets")
    parser.add_argument("--runs", help="folder of the runs")
    parser.add_argument("--pairs", type=int, help="the first N test pairs only (default: all)")
    parser.add_argument("--out", type=Path, help="the record (default: notebooks/results/crowds.json)")
    given = parser.parse_args(words)
    path = judge(RunStore(runs_root(given.runs)), given.data, given.pairs, given.out)
    record = read_json(path)
    print(f"{table(record)}\n\n{verdict(record)}\nkept {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
