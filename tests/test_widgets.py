"""The interactive figures in layers: state without widgets, drawing, and the view without a kernel."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from oshp_lite.book.widgets.dual_metric import DualMetricState, Moment, dual_metric_view
from oshp_lite.book.widgets.prototype import CELL, PrototypeState, prototype_view

NAMES = {2: "hair", 4: "upper-clothes"}


@pytest.fixture
def prototypes():
    draw = torch.Generator().manual_seed(0)
    static = torch.zeros(6, 8)
    static[[2, 4]] = torch.randn(2, 8, generator=draw)
    stream = torch.randn(5, 6, 8, generator=draw)
    stream[:, 4] = 0
    stream[2, 2] = 0
    photo = np.full((32, 24, 3), 120, dtype=np.uint8)
    return PrototypeState(photo, torch.randn(8, 8, 6, generator=draw), static, stream, NAMES, source=2)


@pytest.fixture
def modules():
    draw = torch.Generator().manual_seed(0)
    truth = torch.zeros(8, 6, dtype=torch.int64)
    truth[2:5] = 4
    truth[7] = 255
    moments = [
        Moment(beta, *(torch.randn(6, 8, 6, generator=draw).softmax(0) for _ in range(2))) for beta in (1.0, 0.5, 0.0)
    ]
    return DualMetricState(np.full((32, 24, 3), 120, dtype=np.uint8), truth, moments, NAMES, class_id=4)


def test_without_momentum_the_prototype_is_the_supports_own(prototypes):
    assert torch.equal(prototypes.vector(), prototypes.static[2])


def test_the_bank_follows_equation_3(prototypes):
    prototypes.momentum = 0.9
    wanted = prototypes.stream[0, 2]
    for vector in prototypes.stream[[1, 3, 4], 2]:
        wanted = 0.9 * wanted + 0.1 * vector
    torch.testing.assert_close(prototypes.bank(0.9)[2], wanted)
    torch.testing.assert_close(prototypes.vector(), 0.9 * wanted + 0.1 * prototypes.static[2])


def test_a_class_the_bank_never_saw_stays_static_and_an_absent_one_zero(prototypes):
    prototypes.momentum = 0.99
    assert torch.equal(prototypes.prototypes()[4], prototypes.static[4])
    assert not prototypes.prototypes()[1].any()


def test_the_chosen_cell_is_its_own_best_match(prototypes):
    prototypes.source, prototypes.row, prototypes.column = CELL, 3, 5
    cosine = prototypes.cosine()
    assert cosine.argmax() == 3 * 6 + 5
    assert float(cosine[3, 5]) == pytest.approx(1.0, abs=1e-6)
    assert float(prototypes.share()[3, 5]) == pytest.approx(1.0, abs=1e-4)


def test_mapsof_the_classes_sum_to_one_and_sharpen_with_a_low_temperature(prototypes):
    def shares(temperature):
        prototypes.temperature = temperature
        maps = []
        for prototypes.source in NAMES:
            maps.append(prototypes.share())
        return torch.stack(maps)

    soft, sharp = shares(1.0), shares(0.01)
    torch.testing.assert_close(soft.sum(0), torch.ones(8, 6))
    assert (sharp.max(0).values >= soft.max(0).values - 1e-6).all()


def test_iou_counts_the_chosen_class_and_skips_ignored_cells(modules):
    perfect = torch.nn.functional.one_hot(modules.truth.clamp(max=5), 6).permute(2, 0, 1).float()
    assert modules.iou(perfect) == 1.0
    modules.class_id = 2
    assert np.isnan(modules.iou(perfect))


@pytest.mark.parametrize("name", ["prototypes", "modules"])
def test_the_drawing_is_a_png_and_depends_on_nothing_but_the_state(name, request):
    state = request.getfixturevalue(name)
    assert state.png().startswith(b"\x89PNG")
    assert state.png() == state.png()


def controls_of(view):
    pytest.importorskip("ipywidgets")
    return {control.description: control for control in view.children[0].children}, view.children[1]


@pytest.mark.parametrize(
    ("label", "value", "attribute"),
    [
        ("vector", CELL, "source"),
        ("momentum α", 0.999, "momentum"),
        ("T", 0.01, "temperature"),
    ],
)
def test_moving_a_control_of_the_prototype_widget_changes_state_and_picture(prototypes, label, value, attribute):
    pytest.importorskip("ipywidgets")
    controls, picture = controls_of(prototype_view(prototypes))
    before = picture.value
    controls[label].value = value
    assert getattr(prototypes, attribute) == value
    assert picture.value != before


def test_a_message_from_the_browser_moves_the_prototype_widget(prototypes):
    pytest.importorskip("ipywidgets")
    prototypes.source = CELL
    controls, picture = controls_of(prototype_view(prototypes))
    before = picture.value
    controls["cell row"].set_state({"value": 5})
    assert prototypes.row == 5
    assert picture.value != before


def test_a_message_from_the_browser_moves_the_dual_metric_widget(modules):
    pytest.importorskip("ipywidgets")
    controls, picture = controls_of(dual_metric_view(modules))
    before = picture.value
    controls["β"].set_state({"index": 2})
    assert modules.step == 2
    assert picture.value != before
    controls["class"].set_state({"index": 0})
    assert modules.class_id == 2


def test_controls_without_effect_are_disabled(prototypes):
    pytest.importorskip("ipywidgets")
    controls, _ = controls_of(prototype_view(prototypes))
    assert {name for name, control in controls.items() if control.disabled} == {"cell row", "cell column"}
    controls["vector"].value = CELL
    assert {name for name, control in controls.items() if control.disabled} == {"momentum α"}


def test_no_widget_uses_what_hangs_in_batch_execution():
    folder = Path(__file__).parents[1] / "oshp_lite" / "book" / "widgets"
    for path in folder.glob("*.py"):
        code = re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\b(Output|interact|interactive|interact_manual|pyplot)\b", code), path.name
