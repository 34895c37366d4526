"""What is known of the labels beside their names: which parts touch, and what each is and where it sits."""

from __future__ import annotations

from collections.abc import Mapping

from oshp_lite.labels.spaces import LabelSpace

_GRAPHS = {
    "pascal": "1-2 2-3 2-5 3-4 5-6",
    "atr": (
        "1-2 1-11 2-11 3-11 4-5 4-6 4-7 4-11 4-14 4-15 4-17 5-6 5-7 5-8 5-12 5-13 6-7 6-8 6-9 6-10 6-12 6-13 7-11 7-12 "
        "7-13 7-14 7-15 9-12 10-13 11-14 11-15 11-17 14-16 15-16"
    ),
    "cihp": (
        "1-2 1-13 2-13 3-14 3-15 4-13 5-6 5-7 5-9 5-10 5-11 5-12 5-14 5-15 6-7 6-10 6-11 6-14 6-15 6-16 6-17 7-9 7-10 "
        "7-11 7-12 7-14 7-15 8-16 8-17 8-18 8-19 9-10 9-16 9-17 9-18 9-19 10-11 10-12 10-13 10-14 10-15 10-16 10-17 "
        "11-13 12-16 12-17 16-18 17-19"
    ),
}
"""Undirected pairs of raw ids that touch on a body, as in Graphonomy and Grapy-ML; the background touches none."""

REGIONS = ("head", "torso", "upper-arm", "lower-arm", "upper-leg", "lower-leg", "foot")
KINDS = ("scene", "skin", "garment", "accessory")

_ARM, _LEG = "upper-arm lower-arm", "upper-leg lower-leg"
ATTRIBUTES: Mapping[str, tuple[str, str]] = {
    "background": ("", "scene"),
    "hat": ("head", "garment"),
    "hair": ("head", "skin"),
    "face": ("head", "skin"),
    "sunglasses": ("head", "accessory"),
    "scarf": ("torso", "accessory"),
    "belt": ("torso", "accessory"),
    "bag": ("lower-arm", "accessory"),
    "glove": ("lower-arm", "garment"),
    "upper-clothes": (f"torso {_ARM}", "garment"),
    "coat": (f"torso {_ARM} upper-leg", "garment"),
    "dress": ("torso upper-arm upper-leg", "garment"),
    "jumpsuits": (f"torso upper-arm {_LEG}", "garment"),
    "skirt": ("upper-leg", "garment"),
    "pants": (_LEG, "garment"),
    "socks": ("lower-leg foot", "garment"),
    "legwear": (f"{_LEG} foot", "garment"),
    "shoes": ("foot", "garment"),
    "torso-skin": ("torso", "skin"),
    "arms": (_ARM, "skin"),
    "legs": (_LEG, "skin"),
    "skin": (f"head {_ARM} {_LEG}", "skin"),
    "head": ("head", "skin garment"),
    "torso": ("torso", "skin garment"),
    "upper-arms": ("upper-arm", "skin garment"),
    "lower-arms": ("lower-arm", "skin garment"),
    "upper-legs": ("upper-leg", "skin garment"),
    "lower-legs": ("lower-leg foot", "skin garment"),
}
"""Meaning of a label -> the regions it covers and what kind it is. Written by hand, ours."""


def label_graph(space: LabelSpace) -> tuple[tuple[int, int], ...] | None:
    """The published pairs of labels that touch, by raw id; None for a label space without a published graph."""
    text = _GRAPHS.get(space.key)
    return None if text is None else tuple((int(a), int(b)) for a, b in (pair.split("-") for pair in text.split()))
