"""Make the records of notebooks 03 to 05 and 13: `python -m oshp_lite.book.lessons LESSON RUN_FOLDER`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from oshp_lite.book.lessons import background, dual_metric, relations, stages
from oshp_lite.book.lessons.heads import bench_of
from oshp_lite.book.lessons.record import Lesson, run_facts, write_lesson
from oshp_lite.data.registry import find_dataset
from oshp_lite.engine.evaluate import load_pairs
from oshp_lite.engine.outcome import CONFIG, PAIRS, PROVENANCE, SCORES
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml, read_json
from oshp_lite.script import exit_code

LESSONS = ("background", "dual-metric", "stages", relations.NAME)


def make(name: str, run: Run, data: str | None, photos: int, pairs: int | None, steps: int, seeds: int) -> Lesson:
    """Measure one lesson on a run. UserError for a run that does not fit."""
    config = run.config
    if config.data.way != "k" or config.train.task != "parse":
        raise UserError(f"the lessons need a k-way run of a one-shot method; {run.folder.name} is none")
    dataset, network = find_dataset(config.data, data, progress=False), run.parser()
    if name == "stages":
        return stages.measure(network, dataset, config, run.history, pairs)
    bench = bench_of(network, dataset, config, photos, pairs)
    whole = load_pairs(run.folder / PAIRS)[0].numpy()[bench.numbers]
    how: dict[str, Any] = {"steps": steps, "seeds": seeds, "whole": whole}
    return Lesson(background.measure(bench, **how)) if name == "background" else dual_metric.measure(bench, **how)


def _run(folder: Path) -> Run:
    """Open a run's folder. UserError when it holds no finished run."""
    try:
        settings = parse_yaml((folder / CONFIG).read_text(encoding="utf-8"))
        return Run(folder.resolve(), settings, read_json(folder / SCORES), read_json(folder / PROVENANCE))
    except (OSError, UserError, yaml.YAMLError):
        raise UserError(f"{folder} holds no finished run; name the folder of one") from None


@exit_code
def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.book.lessons", description=__doc__)
    parser.add_argument("lesson", choices=LESSONS)
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER", help="a finished run; its label condition is recorded")
    parser.add_argument("--data", help="folder of datasets")
    parser.add_argument("--out", type=Path, help="folder of the records (default: notebooks/results/lessons)")
    parser.add_argument("--photos", type=int, default=600, help="training photos the heads learn from")
    parser.add_argument("--pairs", type=int, help="test pairs; default: one for each query photo and class")
    parser.add_argument("--steps", type=int, default=400, help="training steps of a head, 4 pairs each")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(words)
    began = time.monotonic()
    run = _run(given.run)
    if given.lesson == relations.NAME:
        print(f"kept {relations.keep(run, given.out)}")
        return 0
    settings = {name: getattr(given, name) for name in ("photos", "steps", "seeds")}
    lesson = make(given.lesson, run, given.data, given.photos, given.pairs, given.steps, given.seeds)
    facts = {
        "lesson": given.lesson,
        "run": run_facts(run),
        "settings": {} if given.lesson == "stages" else settings,
    }
    content = facts | dict(lesson.content) | {"seconds": round(time.monotonic() - began)}
    print(f"kept {write_lesson(given.lesson, Lesson(content, lesson.arrays), given.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
