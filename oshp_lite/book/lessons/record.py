"""What a lesson measured, as a notebook reads it: `notebooks/results/lessons/NAME.json`, and pictures in `NAME.npz`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from oshp_lite.engine.config import as_plain
from oshp_lite.engine.metrics import iou_of
from oshp_lite.engine.runs import Run, is_older
from oshp_lite.engine.statistics import bounds, draw_pairs, mean_over_runs
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, write_atomic, write_json_atomic
from oshp_lite.labels import Fold
from oshp_lite.viz.style import INK, new_figure

Array = NDArray[Any]
MEASURES = {
    "novel": "novel mIoU",
    "base": "base mIoU",
    "human": "human mIoU",
    "missed": "novel pixels called background",
}
"""What a k-way prediction is measured by, in percent; the last one is the papers' testing bias."""


@dataclass(frozen=True)
class Row:
    """One row of a lesson: the confusion matrices int64 [N,C,C] of its pairs, one for each seed (one without seeds)."""

    name: str
    matrices: Sequence[Array]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A record: `content` of the JSON file, `arrays` of the npz file beside it."""

    content: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def table(self, measures: Iterable[str] = MEASURES, part: str = "rows") -> str:
        """Return the rows (or the paired "differences") with their 95 % intervals, in percent, as a Markdown table."""
        measures = list(measures)
        lines = ["| | " + " | ".join(MEASURES[name] for name in measures) + " |", "|---" * (1 + len(measures)) + "|"]
        sign = "+" if part == "differences" else ""
        for row in self.content[part]:
            lines.append(f"| {row['name']} | {' | '.join(_cell(row['scores'][name], sign) for name in measures)} |")
        return "\n".join(lines)

    def made_from(self) -> str:
        """Return one sentence that names the run, its label condition, the pairs and the date."""
        run, pairs = self.content["run"], self.content["pairs"]
        older = ", made by older code" if is_older(run, run["method"]) else ""
        return (
            f"Measured on the run `{run['name']}` (condition `{run['condition']}`, {run['epochs']} epochs{older}), "
            f"{pairs['pairs']} test pairs of {pairs['queries']} query photos; 95 % intervals over query photos and "
            f"{pairs['seeds']} seed{'s' * (pairs['seeds'] != 1)}. {run['finished'][:10]}."
        )

    def chart(self, measures: Sequence[str] = ("novel", "human", "missed")) -> Figure:
        """Draw every row's score as a dot with its 95 % interval, one panel a measure, in percent from 0 on."""
        rows = self.content["rows"]
        figure, axes = new_figure(1, len(measures), width=2.6, height=0.7 + 0.27 * len(rows), sharey=True)
        for place, measure in zip(axes[0], measures, strict=True):
            for height, row in enumerate(reversed(rows)):
                mean, low, high = (100 * value for value in row["scores"][measure])
                colour = INK[0] if height < len(rows) - 1 else INK[1]  # the trivial parser stands first
                place.plot([low, high], [height, height], color=colour, linestyle="-")
                place.plot([mean], [height], marker="o", color=colour)
            place.set_title(f"{MEASURES[measure].removeprefix('novel pixels ')}, %")
            place.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
            place.set_xlim(0, None)
        marks = [
            Line2D([], [], color=colour, marker="o", linestyle="-", label=words)
            for colour, words in ((INK[0], "network or head"), (INK[1], "trivial parser"))
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=2)
        return figure

    def difference(self, name: str, measure: str = "novel") -> tuple[float, float, float]:
        """Return a paired difference, "FIRST minus SECOND", and the ends of its interval, in points."""
        row = next(one for one in self.content["differences"] if one["name"] == name)
        mean, low, high = (100 * value for value in row["scores"][measure])
        return mean, low, high

    def score(self, name: str, measure: str = "novel") -> float:
        """Return a row's score in percent."""
        return 100 * float(next(one for one in self.content["rows"] if one["name"] == name)["scores"][measure][0])

    def says(self, name: str, measure: str = "novel") -> str:
        """Return what a paired difference shows, in a sentence: which side is higher, or that neither is."""
        mean, low, high = self.difference(name, measure)
        seen = "is higher" if low > 0 else "is lower" if high < 0 else "shows no difference"
        first, _, second = name.partition(" minus ")
        against = "to" if seen.endswith("difference") else "than"
        sides = f"{_spoken(first)} {seen} {against} {_spoken(second)}"
        return f"{MEASURES[measure]}: {sides} ({mean:+.1f} points [{low:+.1f}, {high:+.1f}])"


def _spoken(name: str) -> str:
    """Return a row's name as it reads in a sentence: "weight shifting: NPM" is "NPM under weight shifting"."""
    schedule, _, module = name.partition(": ")
    if not module:
        return name
    return f"{module} trained alone" if schedule == f"{module} alone" else f"{module} under {schedule}"


def _cell(score: Sequence[float | None], sign: str) -> str:
    mean, low, high = (float("nan") if value is None else 100 * value for value in score)
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def lessons_folder() -> Path:
    """Where records of lessons are kept: `notebooks/results/lessons`."""
    return project_root() / "notebooks" / "results" / "lessons"


def read_lesson(name: str, folder: Path | None = None) -> Lesson:
    """Read a record. UserError when it is missing or damaged."""
    path = (folder or lessons_folder()) / f"{name}.json"
    content, pictures = read_json(path), path.with_suffix(".npz")
    try:
        with np.load(pictures, allow_pickle=False) as stored:
            return Lesson(content, {key: stored[key] for key in stored.files})
    except FileNotFoundError:
        return Lesson(content)
    except (OSError, ValueError) as error:
        raise UserError(f"{pictures} cannot be read ({type(error).__name__}); restore it from the repository") from None


def write_lesson(name: str, lesson: Lesson, folder: Path | None = None) -> Path:
    """Write a record, the pictures first; returns the JSON file."""
    path = (folder or lessons_folder()) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if lesson.arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **lesson.arrays)  # type: ignore[arg-type]
        write_atomic(path.with_suffix(".npz"), buffer.getvalue())
    write_json_atomic(path, as_plain(lesson.content))
    return path


def run_facts(run: Run) -> dict[str, Any]:
    """Return what a record keeps of the run behind it: name, identity, settings in brief, scores and provenance."""
    config = run.config
    kept = ("identity", "code", "code_equivalent", "commit", "device", "finished", "data")
    return {
        "name": run.folder.name,
        "method": config.model.method,
        "dataset": config.data.dataset,
        "fold": config.data.fold,
        "protocol": config.data.protocol,
        "condition": config.data.condition,
        "epochs": config.train.epochs,
        "options": dict(config.model.options),
        "scene_seed": config.data.synthetic.seed if config.data.dataset.startswith("synth-") else None,
        **{name: run.provenance[name] for name in kept if name in run.provenance},
        "scores": {name: run.scores[name] for name in ("novel_miou", "base_miou", "human_miou", "n_pairs")},
    }


def kway_scores(matrices: Array, weights: Array, fold: Fold) -> dict[str, Array]:
    """Return `MEASURES` float64 [R] of the pooled matrices when pair n counts weights[r,n] times."""
    totals = pooled(matrices, weights)
    hidden = totals[:, list(fold.novel)]
    groups = {"novel": fold.novel, "base": fold.base, "human": fold.classes}
    with np.errstate(invalid="ignore"):
        missed = hidden[:, :, fold.background].sum(1) / hidden.sum((1, 2))
    return {**{name: mean_iou(totals, ids) for name, ids in groups.items()}, "missed": missed}


def pooled(matrices: Array, weights: Array) -> Array:
    """Return float64 [R,C,C], the matrices int [N,C,C] added with weights [R,N]."""
    matrices = np.asarray(matrices, np.float64)
    return np.asarray((weights @ matrices.reshape(len(matrices), -1)).reshape(-1, *matrices.shape[1:]))


def mean_iou(totals: Array, ids: Sequence[int]) -> Array:
    """Return float64 [R], the mean IoU over ids of pooled matrices [R,C,C]; an id that never occurs is left out."""
    return iou_of(torch.from_numpy(totals))[:, list(ids)].nanmean(1).numpy()


def pair_weights(queries: Sequence[int], repeats: int = 1000) -> Array:
    """Return float64 [1+R,N]: every pair once, then query photos drawn anew with all their pairs."""
    drawn = draw_pairs(queries, repeats=repeats)
    return np.concatenate([np.ones_like(drawn[:1]), drawn])


def estimate(scores: Array) -> list[float]:
    """Return [mean, low, high] of scores float [S,1+R] of S seeds: as they are, then under redrawn pairs."""
    return [float(scores[:, 0].mean()), *bounds(mean_over_runs(scores[:, 1:]))]


def compared(
    rows: Sequence[Row], differences: Sequence[tuple[str, str]], queries: Sequence[int], fold: Fold
) -> dict[str, Any]:
    """Return the rows' scores and paired differences (first minus second, by names), each with its interval.

    A row without seeds is taken with every seed of the other.
    """
    weights = pair_weights(queries)
    scores = {}
    for row in rows:
        each = [kway_scores(matrices, weights, fold) for matrices in row.matrices]
        scores[row.name] = {measure: np.stack([one[measure] for one in each]) for measure in MEASURES}
    return {
        "pairs": {
            "pairs": len(queries),
            "queries": len(set(queries)),
            "seeds": max(len(row.matrices) for row in rows),
        },
        "rows": [
            {"name": name, "scores": {measure: estimate(values) for measure, values in own.items()}}
            for name, own in scores.items()
        ],
        "differences": [
            {
                "name": f"{first} minus {second}",
                "scores": {name: estimate(scores[first][name] - scores[second][name]) for name in MEASURES},
            }
            for first, second in differences
        ],
    }
