"""Diagrams drawn by code, in one visual language; each function returns a plain `matplotlib.figure.Figure`."""

from oshp_lite.book.diagrams.networks import dual_metric_learning, eopnet_overview, knowledge_infusion, popnet_stages
from oshp_lite.book.diagrams.overviews import book_map, run_life

__all__ = ["book_map", "dual_metric_learning", "eopnet_overview", "knowledge_infusion", "popnet_stages", "run_life"]
