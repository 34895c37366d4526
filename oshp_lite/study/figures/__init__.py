"""The papers' figures: pictures of predictions on test pairs, charts from measured results, files in three formats."""

from oshp_lite.study.figures.charts import CHARTS
from oshp_lite.study.figures.panels import save_figure
from oshp_lite.study.figures.pictures import TITLES as PICTURES
from oshp_lite.study.figures.pictures import keep_predictions, panels_of, picture
from oshp_lite.study.figures.ranks import rankings, ranks_figure

__all__ = ["CHARTS", "PICTURES", "keep_predictions", "panels_of", "picture", "rankings", "ranks_figure", "save_figure"]
