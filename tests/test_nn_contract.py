"""What every method of the registry keeps to: its spec, keyword-only arguments, input checks, prediction options."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from nn_tiny import TINY, episode, one

from oshp_lite import Episode
from oshp_lite.errors import UserError
from oshp_lite.models.base import CheckpointRecord, OneShotModel, PredictOptions
from oshp_lite.models.registry import METHODS, build, method

APART = {"instance"}  # takes photos of several people, not episodes: tests/test_instance_net.py
BUILT = sorted(name for name, spec in METHODS.items() if spec.needs != "SAM weights" and name not in APART)
TRAINED = [name for name in BUILT if METHODS[name].trainable]


def network(name: str, way: str = "k", **options: Any) -> OneShotModel:
    return build(name, variant="lite", **{**TINY, "way": way, **options}).double()


def state_of(net: OneShotModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_the_list_of_methods_is_read_without_torch() -> None:
    code = (
        "import sys; from oshp_lite.models.registry import METHODS, build; "
        "assert {'eopnet', 'popnet', 'segment'} <= set(METHODS); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", BUILT)
def test_a_spec_says_what_the_class_is(name: str) -> None:
    spec, net = method(name), network(name)
    assert isinstance(net, spec.load())
    assert (net.Config.name, net.trainable) == (name, spec.trainable)
    assert spec.lacking({}) == ""
    assert all(any(encoder is part for part in net.modules()) for encoder in net.encoders())
    bank = net.prototype_bank()
    assert bank is None or bank.shape[0] == net.n_ids


def test_unknown_methods_and_options_are_named() -> None:
    with pytest.raises(UserError, match="unknown method 'unet'; known: amp, eopnet"):
        build("unet")
    with pytest.raises(UserError, match=r"method panet has no option 'scal'; known: .*scale"):
        build("panet", scal=3)
    for name, owner in (
        ("predict_from", "eval.source"),
        ("screening", "eval.screening"),
        ("restrict", "eval.restrict"),
    ):
        with pytest.raises(UserError, match=owner):
            build("amp", **{name: True})


@pytest.mark.parametrize("name", BUILT)
def test_everything_but_the_batch_is_given_by_name(name: str) -> None:
    net, batch = network(name), episode()
    with pytest.raises(TypeError, match="positional"):
        net(batch, 0.9)
    assert net(batch, progress=0.9).fine.shape == (2, 6, 40, 52)


def test_no_method_takes_more_than_the_batch_by_position() -> None:
    """Those that cannot be built here too."""
    for spec in METHODS.values():
        _, _, *more = inspect.signature(spec.load().forward).parameters.values()
        assert {parameter.kind for parameter in more} == {inspect.Parameter.KEYWORD_ONLY}, spec.name


# --------------------------------------------------------------------------------------------------- input checks


def changed(**values: Any) -> Callable[[Episode], Episode]:
    return lambda batch: replace(batch, **values)


def with_value(value: float) -> Callable[[Episode], Episode]:
    def change(batch: Episode) -> Episode:
        image = batch.support_image.clone()
        image[1, 2, 3, 4] = value
        return replace(batch, support_image=image)

    return change


WRONG: dict[str, tuple[Callable[[Episode], Any], str]] = {
    "NaN": (with_value(float("nan")), "support_image holds NaN or infinite values"),
    "infinite": (with_value(float("inf")), "support_image holds NaN or infinite values"),
    "half": (lambda b: replace(b, query_image=b.query_image.half()), "query_image is of type float16"),
    "single": (lambda b: replace(b, query_image=b.query_image.float()), "weights of type float64"),
    "bytes": (lambda b: replace(b, query_image=b.query_image.byte()), "query_image is of type uint8"),
    "NumPy": (lambda b: replace(b, query_image=b.query_image.numpy()), "query_image is of type ndarray"),
    "NumPy mask": (lambda b: replace(b, support_mask=b.support_mask.numpy()), "support_mask is of type ndarray"),
    "grey": (lambda b: replace(b, query_image=b.query_image[:, :1]), r"query_image has shape \(2, 1, 40, 52\)"),
    "RGBA": (lambda b: replace(b, support_image=b.support_image[:, [0, 1, 2, 0]]), "support_image has shape"),
    "empty": (lambda b: replace(b, query_image=b.query_image[..., :0]), "query_image has shape"),
    "batches": (lambda b: replace(b, support_image=b.support_image[:1]), "a batch of 1, query_image one of 2"),
    "no mask": (changed(support_mask=None), "support_mask is missing"),
    "no foreground": (changed(support_foreground=None), "support_foreground is missing"),
    "mask size": (lambda b: replace(b, support_mask=b.support_mask[:, 1:]), "support_mask has shape"),
    "id": (lambda b: replace(b, support_mask=b.support_mask + 6), "ids below 6 and 255"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", BUILT)
def test_wrong_input_is_one_sentence_and_leaves_no_trace(name: str, wrong: str) -> None:
    change, words = WRONG[wrong]
    net = network(name).train()
    before, bad = state_of(net), change(episode())
    for call in (lambda: net(bad, progress=0.5), lambda: net.predict(bad)):
        with pytest.raises(ValueError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    # banks and statistics of BatchNorm are as before
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", TRAINED)
def test_autocast_may_change_the_type(name: str) -> None:
    net, batch = network(name).float().train(), episode()
    batch = replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.isfinite(float(net.losses(net(batch, progress=0.5), batch, 0.5)["total"].detach()))


# --------------------------------------------------------------------------------------------- prediction options


@pytest.mark.parametrize("way", ["k", "1"])
@pytest.mark.parametrize("name", BUILT)
def test_predictions_keep_their_contract(name: str, way: str) -> None:
    net, batch = network(name, way), episode(way)
    found = net.train().predict(batch, PredictOptions(scores=True))
    assert net.training
    assert found.ids.dtype == torch.int64
    assert found.ids.shape == (2, 40, 52)
    assert (found.person is not None) == net.has_person_mask
    assert found.scores is not None
    assert net.predict(batch).scores is None
    assert torch.equal(net.predict(one(batch, 1)).ids[0], found.ids[1])
    if found.person is not None:
        plain = net.predict(batch, PredictOptions(screening=False))
        assert torch.equal(plain.ids * found.person, found.ids)


@pytest.mark.parametrize("name", BUILT)
def test_a_source_that_a_method_lacks_is_one_clear_error(name: str) -> None:
    net, batch = network(name), episode()
    if "agm" in net.sources:
        agm = net.predict(batch, PredictOptions(source="agm", screening=False, scores=True)).scores
        npm = net.predict(batch, PredictOptions(source="npm", screening=False, scores=True)).scores
        assert agm is not None
        assert npm is not None
        assert not torch.equal(agm, npm)
        return
    with pytest.raises(UserError, match=f"method {name} has no agm logits; use npm"):
        net.predict(batch, PredictOptions(source="agm"))


@pytest.mark.parametrize("name", BUILT)
def test_restriction_is_the_evaluations_choice(name: str) -> None:
    net, batch = network(name), episode()
    if name == "amp":
        net.seen[:] = True  # type: ignore[operator]
    shown = {0, *batch.support_mask.unique().tolist()}
    restricted = net.predict(batch, PredictOptions(restrict=True, screening=False))
    assert set(restricted.ids.unique().tolist()) <= shown
    unrestricted = PredictOptions(restrict=False, screening=False, scores=True)
    if not net.unrestricted:
        with pytest.raises(UserError, match=f"method {name} compares with the support's classes only"):
            net.predict(batch, unrestricted)
        return
    scores = net.predict(batch, unrestricted).scores
    assert scores is not None
    assert float(scores[:, 5].max()) > -1e3  # the id that no support shows may win


def test_a_copy_of_a_network_predicts_alike() -> None:
    for name in BUILT:
        net, batch = network(name), episode()
        assert torch.equal(copy.deepcopy(net).predict(batch).ids, net.predict(batch).ids)


# -------------------------------------------------------------------------------------------------------- records


def test_a_record_survives_json_and_says_what_is_wrong() -> None:
    record = CheckpointRecord("eopnet", {"n_ids": 6}, "k", 6, "atr", size=(96, 64), more={"steps": 3})
    values = {**record.as_dict(), "size": [96, 64]}
    assert values["steps"] == 3
    assert CheckpointRecord.from_dict(values) == record
    for change, words in (({"way": 7}, "'way' cannot be 7"), ({"options": None}, "'options' cannot be None")):
        with pytest.raises(UserError, match=words):
            CheckpointRecord.from_dict(values | change)
    values.pop("space")
    with pytest.raises(UserError, match="'space' is missing"):
        CheckpointRecord.from_dict(values)
