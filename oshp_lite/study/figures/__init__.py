"""The papers' figures: pictures of predictions on test pairs, charts from measured results, files in three formats."""

from collections.abc import Callable

from matplotlib.figure import Figure

from oshp_lite.study.figures.captions import TITLES
from oshp_lite.study.figures.charts import bias, confusion, per_class, size_iou
from oshp_lite.study.figures.panels import not_run, save_figure
from oshp_lite.study.figures.pictures import (
    PICTURES,
    drawn_picture,
    keep_predictions,
    panels_of,
    picture,
    real_picture,
)
from oshp_lite.study.figures.ranks import rankings, ranks_figure
from oshp_lite.study.figures.training import budget, eopnet8f, starts

CHARTS: dict[str, Callable[..., Figure]] = {
    "eopnet8f": eopnet8f,
    "bias": bias,
    "per_class": per_class,
    "confusion": confusion,
    "size_iou": size_iou,
    "budget": budget,
    "starts": starts,
}
"""Figures that need nothing but results: maker(results, dataset), and those of `SIDE_BY_SIDE` with several datasets."""
SIDE_BY_SIDE = ("bias", "budget", "starts")
"""Charts that show several datasets in one figure."""

__all__ = [
    "CHARTS", "PICTURES", "SIDE_BY_SIDE", "TITLES",
    "drawn_picture", "keep_predictions", "not_run", "panels_of", "picture",
    "rankings", "ranks_figure", "real_picture", "save_figure",
]  # fmt: skip
