"""Label spaces, merges, folds and colours, all ids in one place."""

from __future__ import annotations

from oshp_lite.labels.folds import Fold, fold
from oshp_lite.labels.palettes import colour_of
from oshp_lite.labels.spaces import BACKGROUND, IGNORE, LabelSpace, canonical, label_space, label_spaces, one_shot_space
from oshp_lite.labels.tables import CCP_CLASSES, CCP_TAGS, GROUPS
