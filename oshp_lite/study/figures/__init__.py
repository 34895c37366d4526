"""Makers of the papers' figures: pictures of answers from samples, charts from measured results, files."""

from oshp_lite.study.figures.answers import (
    TITLES,
    both_ways,
    eopnet4f,
    eopnet5f,
    eopnet6f,
    eopnet7f,
    over_supports,
    popnet3f,
    popnet4f,
    side_by_side,
)
from oshp_lite.study.figures.charts import confusion, eopnet8f, per_class, size_iou
from oshp_lite.study.figures.pieces import not_run, save_figure
from oshp_lite.study.figures.samples import Sample, one_query, pair_scores, read_samples, typical_pairs

CHARTS = {"eopnet8f": eopnet8f, "per_class": per_class, "confusion": confusion, "size_iou": size_iou}
"""Figures that need nothing but results: maker(results, dataset)."""

__all__ = [
    "CHARTS",
    "TITLES",
    "Sample",
    "both_ways",
    "confusion",
    "eopnet4f",
    "eopnet5f",
    "eopnet6f",
    "eopnet7f",
    "eopnet8f",
    "not_run",
    "one_query",
    "over_supports",
    "pair_scores",
    "per_class",
    "popnet3f",
    "popnet4f",
    "read_samples",
    "save_figure",
    "side_by_side",
    "size_iou",
    "typical_pairs",
]
