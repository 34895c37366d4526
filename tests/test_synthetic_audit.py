"""The generator's promises, measured: colour tells little, position little, classes are as frequent as in ATR."""

from __future__ import annotations

import numpy as np
import pytest

from oshp_lite.data.synthetic.audit import ATR_PRESENCE, audit, colour_audit, position_audit
from oshp_lite.labels import label_space


@pytest.fixture(scope="module")
def report():
    return audit("synth-atr", n=150, size=64)


def test_colour_is_near_chance_among_garments(report):
    assert report["colour"]["balanced_accuracy"] < 1.5 * report["colour"]["chance"]


def test_position_alone_parses_badly(report):
    assert report["position"]["human_miou"] < 0.2


def test_classes_are_about_as_frequent_as_in_atr(report):
    assert set(report["presence"]) <= set(ATR_PRESENCE)
    for name, share in report["presence"].items():
        assert abs(share - report["real_presence"][name]) < 0.15, name


def test_the_colour_audit_would_notice(report):
    space = label_space("atr")
    garments = [space.id_of(n) for n in ("hat", "upper-clothes", "skirt", "pants", "dress", "left shoe", "bag")]
    masks = np.tile(np.array(garments, dtype=np.uint8), (10, 4, 1))
    images = np.repeat((masks * 13)[..., None], 3, -1)
    assert colour_audit(images, masks, "atr")["balanced_accuracy"] > 0.6
    assert position_audit(masks, "atr")["human_miou"] == 1.0
