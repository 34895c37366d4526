"""How far a parse is to be trusted: one number a class, the chance that the marked region is of use at all.

Evidence of a class in a query: how clearly its pixels won, and the clearest of them, both against how clearly the
support's own pixels win when the support itself is parsed; how its area compares with the support's; and how far its
place on the person is from the support's. A logistic regression turns them into a confidence. Its weights and the
threshold below which a class is "probably not in this photo" stand in `confidence.json` with what they were fitted on:
photos and base classes that the measured network had not been trained on
(`python -m oshp_lite.study.photos calibrate` makes the file again).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oshp_lite.files import read_json

CALIBRATION = Path(__file__).with_name("confidence.json")
EVIDENCE = ("probability over the support's", "clearest over the support's", "log area ratio", "distance in place")
SIGNS = (1, 1, -1, -1)
"""Which way each number must count; one that a fit turns round says more of the photos than of the class."""
BINS = 12
"""Heights at which a class's share of the person is compared."""
_PLACE, _PROFILE = 0.334, 1.647
"""Typical distances of one garment on two people, which put both parts of `distance` on one scale (CCP)."""


class Place(NamedTuple):
    """Where a region lies on a person: `numbers` float [5] (centroid, 3 % and 97 % height, root of the share, width).

    All are relative to the person's box. `profile` float [12] is its share of the person at each height.
    """

    numbers: np.ndarray
    profile: np.ndarray


def place_of(region: np.ndarray, person: np.ndarray) -> Place | None:
    """Where a region bool [h,w] lies on a person bool [h,w] (the region is part of it); None for an empty region."""
    if not region.any():
        return None
    person = person | region
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    top, high = rows[0], rows[-1] + 1 - rows[0]
    heights = (np.nonzero(region)[0] - top + 0.5) / high
    wide = np.flatnonzero(region.any(0))
    low, up = np.quantile(heights, (0.03, 0.97))
    width = (wide[-1] + 1 - wide[0]) / (columns[-1] + 1 - columns[0])
    numbers = np.array([heights.mean(), low, up, np.sqrt(region.sum() / person.sum()), width])
    edges = np.linspace(top, top + high, BINS + 1).round().astype(int)
    profile = [region[a:b].sum() / max(1, person[a:b].sum()) for a, b in pairwise(edges)]
    return Place(numbers, np.array(profile))


def distance(one: Place, other: Place) -> float:
    """How differently two regions lie on their people; about 2 for one garment on two people."""
    numbers, profile = np.abs(one.numbers - other.numbers).sum(), np.abs(one.profile - other.profile).sum()
    return float(numbers / _PLACE + profile / _PROFILE)


def clearness(probability: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Log-odds of a non-empty region's mean probability and of its clearest twentieth, float [2]."""
    inside = probability[region]
    both = np.clip([inside.mean(), np.quantile(inside, 0.95)], 1e-4, 1 - 1e-4)
    return np.log(both / (1 - both))


def evidence(
    probability: np.ndarray,
    region: np.ndarray,
    person: np.ndarray,
    supports: Sequence[Place],
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """The four numbers of EVIDENCE, float [4], for a non-empty region bool [h,w] of a query.

    probability float [h,w] of the class against all else; person bool [h,w]; supports: the class's places in the
    supports, of which the nearest counts; reference float [2]: the `clearness` of the supports themselves.
    """
    here = place_of(region, person)
    assert here is not None
    nearest = min(supports, key=lambda place: distance(here, place))
    area = 2 * np.log(max(1e-3, here.numbers[3]) / max(1e-3, nearest.numbers[3]))
    clear = clearness(probability, region) - (0 if reference is None else reference)
    return np.array([*clear, abs(area), distance(here, nearest)])


class Calibration(NamedTuple):
    """Logistic regression on standardised evidence, and the threshold on its result."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    threshold: float

    def __call__(self, values: np.ndarray) -> float:
        """Confidence in (0,1) of evidence float [4]."""
        return float(1 / (1 + np.exp(-((values - self.mean) / self.scale @ self.weights + self.bias))))


def calibration_file(method: str = "") -> Path:
    """Where the calibration of a method lies, or would lie: EOP-Net's serves every method that has none of its own."""
    return CALIBRATION if method in ("", "eopnet") else CALIBRATION.with_name(f"confidence_{method}.json")


@cache
def calibration(method: str = "") -> Calibration:
    """The committed calibration that serves a method's confidence."""
    own = calibration_file(method)
    stored = read_json(own if own.is_file() else CALIBRATION)
    mean, scale, weights = (np.array(stored[name]) for name in ("mean", "scale", "weights"))
    return Calibration(mean, scale, weights, stored["bias"], stored["threshold"])
