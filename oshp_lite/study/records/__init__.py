"""Measured results: what a run is called, what was counted for every test pair, scores, intervals, files."""

from oshp_lite.study.records.intervals import Estimate, Term, bootstrap, contrast, paired_difference
from oshp_lite.study.records.records import (
    CONDITIONS,
    MEASURES,
    Measured,
    NotRun,
    Results,
    RunKey,
    accuracy,
    bi_miou,
    counts_of,
    iou_of_counts,
    measured_of,
    miou,
    totals_of,
    values,
)
from oshp_lite.study.records.store import load_measured, save_measured

__all__ = [
    "CONDITIONS",
    "MEASURES",
    "Estimate",
    "Measured",
    "NotRun",
    "Results",
    "RunKey",
    "Term",
    "accuracy",
    "bi_miou",
    "bootstrap",
    "contrast",
    "counts_of",
    "iou_of_counts",
    "load_measured",
    "measured_of",
    "miou",
    "paired_difference",
    "save_measured",
    "totals_of",
    "values",
]
