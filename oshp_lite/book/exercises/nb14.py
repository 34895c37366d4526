"""Checkers of notebook 14, people one by one: what each mistake costs, a metric above one, a gentler suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from oshp_lite.book.crowd import LETTERS, row_figure, row_result, row_truth, score
from oshp_lite.book.exercises.frame import Wrong, call, drawn_checker, require, tensor_of
from oshp_lite.models.instance.boxes import overlaps
from oshp_lite.viz.style import INK, new_figure

MEASURES = ("AP^p", "PCP", "AP^r", "mIoU")
TRUTH = (".HHTTTLL........", ".........HTTTLLL")
"""Two people in a row of sixteen pixels."""
PERFECT = tuple(zip(TRUTH, (0.9, 0.8), strict=True))
DAMAGES = {
    "merged": [(".HHTTTLL.HTTTLLL", 0.9)],
    "leg": [(".HHTTTLL........", 0.9), (".........HTTTL..", 0.8)],
    "twice": [*PERFECT, (TRUTH[0], 0.7)],
}
"""Perfect results with one mistake each: people merged, most of the legs missed, a person detected twice."""
_WHY = {
    "merged": "the prediction covers both people, so each true person and most true parts are about half of it, while "
    "every pixel keeps its class",
    "leg": "the person's mean IoU stays above one half, but one part of it is lost, and its pixels with it",
    "twice": "a duplicate that scores lowest comes after full recall, where the envelope does not see it",
}


def _measured(people: Any) -> dict[str, float]:
    scores = score([(row_truth(*TRUTH), row_result(people))], len(LETTERS))
    values = (scores.at("ap_p", 0.5), scores.at("pcp", 0.5), scores.at("ap_r", 0.5), scores.miou)
    return dict(zip(MEASURES, values, strict=True))


def dropped(damage: str) -> set[str]:
    """The measures that one of the `DAMAGES` brings below one."""
    return {name for name, value in _measured(DAMAGES[damage]).items() if value < 1 - 1e-9}


def _damages_drawn(_: Any) -> Figure:
    figure, axes = new_figure(width=5.0, height=2.4)
    for number, damage in enumerate(DAMAGES):
        values = list(_measured(DAMAGES[damage]).values())
        axes[0, 0].bar(np.arange(4) + 0.27 * (number - 1), values, 0.25, label=damage, color=INK[number + 1])
    axes[0, 0].set_xticks(range(4), MEASURES)
    axes[0, 0].set(ylim=(0, 1.05), title="measured at 0.5")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@drawn_checker(_damages_drawn)
def check_drops(attempt: Any) -> str:
    """Check `f(damage) -> set of names`: which of `MEASURES` (at 0.5) fall below one under each of `DAMAGES`."""
    for damage in DAMAGES:
        named = call(attempt, damage)
        require(
            isinstance(named, set | frozenset | list | tuple) and all(isinstance(one, str) for one in named),
            f"for {damage!r} return a set of names out of {', '.join(MEASURES)}",
        )
        unknown = sorted(set(named) - set(MEASURES))
        require(not unknown, f"{', '.join(unknown)} is no measure here; the names are {', '.join(MEASURES)}")
        truth = dropped(damage)
        missed, spare = ([name for name in MEASURES if name in one] for one in (truth - set(named), set(named) - truth))
        require(not missed, f"{damage}: {', '.join(missed)} also drops: {_WHY[damage]}")
        require(not spare, f"{damage}: {', '.join(spare)} stays at one: {_WHY[damage]}")
    return "merging costs the instances alone, a lost leg costs all but AP^p, a late duplicate costs nothing"


def _attempted(attempt: Any) -> list[tuple[str, float]]:
    people = call(attempt, *TRUTH)
    require(isinstance(people, list | tuple) and len(people) > 0, "return a list of (row of pixels, score)")
    made = []
    for one in people:
        require(isinstance(one, tuple | list) and len(one) == 2, "each person is a pair: a row of pixels and a score")
        text, value = one
        require(
            isinstance(text, str) and len(text) == len(TRUTH[0]) and not set(text) - set(LETTERS),
            f"a row is a text of {len(TRUTH[0])} signs out of {' '.join(LETTERS)}",
        )
        require(isinstance(value, int | float) and 0 < value <= 1, "a score lies in 0..1")
        made.append((text, float(value)))
    return made


@drawn_checker(lambda attempt: row_figure(row_truth(*TRUTH), _attempted(attempt)))
def check_overcount(attempt: Any) -> str:
    """Check `f(a, b) -> [(row, score), ...]`: PGN's AP^r, volume, above 1.2, and one true person never predicted."""
    people = _attempted(attempt)
    scores = score([(row_truth(*TRUTH), row_result(people))], len(LETTERS))
    pgn, single = scores.volume("ap_r_pgn"), scores.volume("ap_r")
    pcp = scores.at("pcp", 0.1)
    require(pgn > 1.2, f"AP^r by PGN's convention is {pgn:.2f}; let one true part be matched more than once")
    require(pcp <= 0.5, f"both people are predicted (PCP at 0.1 is {pcp:.2f}); leave one of them out altogether")
    return f"PGN's AP^r is {pgn:.2f} though a person is missing; one-to-one it is {single:.2f}"


def _boxes() -> tuple[torch.Tensor, torch.Tensor]:
    """Two people side by side, the first one detected twice, and one who stands apart."""
    boxes = torch.tensor([[10, 10, 30, 70], [11, 9, 31, 72], [17, 10, 37, 70], [60, 20, 80, 80]], dtype=torch.float32)
    return boxes, torch.tensor([0.9, 0.85, 0.8, 0.6])


def _soft(boxes: torch.Tensor, scores: torch.Tensor, threshold: float, *, linear: bool = True) -> torch.Tensor:
    """The scores behind linear soft suppression: float [N]."""
    left, table = scores.clone(), overlaps(boxes, boxes)
    waiting = set(range(len(boxes)))
    while waiting:
        best = max(waiting, key=lambda place: (float(left[place]), -place))
        waiting.discard(best)
        for place in waiting:
            if table[best, place] > threshold:
                left[place] *= 1 - table[best, place] if linear else 0.0
    return left


def _soft_drawn(attempt: Any) -> Figure:
    boxes, scores = _boxes()
    figure, axes = new_figure(width=4.6, height=2.2)
    rows = {
        "before": scores,
        "hard": _soft(boxes, scores, 0.4, linear=False),
        "yours": call(attempt, boxes, scores, 0.4),
    }
    for number, (name, values) in enumerate(rows.items()):
        axes[0, 0].bar(np.arange(4) + 0.27 * (number - 1), values, 0.25, label=name, color=INK[number + 1])
    axes[0, 0].set_xticks(range(4), ["A", "A again", "neighbour", "apart"])
    axes[0, 0].set(ylim=(0, 1), title="scores")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@drawn_checker(_soft_drawn)
def check_soft(attempt: Any) -> str:
    """Check `f(boxes [N,4], scores [N], threshold) -> scores [N]`: linear soft suppression (Bodla et al., 2017)."""
    boxes, scores = _boxes()
    for threshold in (0.4, 0.7):
        given = scores.clone()
        mine = tensor_of(call(attempt, boxes, given, threshold), (len(boxes),), "the scores")
        right, hard = (_soft(boxes, scores, threshold, linear=linear) for linear in (True, False))
        if torch.allclose(mine, hard, atol=1e-5):
            raise Wrong("this is hard suppression, which sets the neighbour to 0; multiply by 1 - IoU and keep the box")
        require(not torch.allclose(mine, scores), "no score has changed; a box that overlaps a better one loses some")
        require(abs(float(mine[3] - scores[3])) < 1e-5, "the box that stands apart overlaps nobody; leave its score")
        once = scores * _first_factors(boxes, threshold)
        if torch.allclose(mine, once, atol=1e-5) and not torch.allclose(once, right, atol=1e-5):
            raise Wrong("only the best box makes others weaker here; go on with the best one of those that remain")
        require(
            torch.allclose(mine, right, atol=1e-4),
            f"at threshold {threshold:g} the scores are {[round(float(v), 3) for v in right]}, "
            f"not {[round(float(v), 3) for v in mine]}; order by the scores as they are then, best first",
        )
    return "the neighbour stays with a lower score, and so does the duplicate: what separates them now is the threshold"


def _first_factors(boxes: torch.Tensor, threshold: float) -> torch.Tensor:
    """What the best box alone would do: factors float [N]."""
    row = overlaps(boxes[:1], boxes)[0]
    factors = torch.where(row > threshold, 1 - row, torch.ones_like(row))
    factors[0] = 1.0
    return factors
