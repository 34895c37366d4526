"""Configurations: presets, profiles, overrides, identities, refusals; learning rates of the released code."""

from __future__ import annotations

import dataclasses
import math
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from oshp_lite.engine import config as config_module
from oshp_lite.engine.config import (
    RunConfig,
    SyntheticConfig,
    TrainConfig,
    from_dict,
    identity_dict,
    identity_of,
    override,
)
from oshp_lite.engine.models import resolve_encoder
from oshp_lite.engine.presets import PROFILES, init_config, load_profile, variant_config
from oshp_lite.engine.provenance import ROOMS, code_fingerprint, provenance, source_digest
from oshp_lite.engine.schedule import make_optimizer, rate, renews_optimizer
from oshp_lite.errors import UserError
from oshp_lite.models.registry import METHODS


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("way", ["k", "1"])
def test_every_profile_loads_and_survives_yaml(name: str, way: str) -> None:
    for dataset in ("synth-atr", "ccp-os", "atr-os"):
        config = load_profile(name, dataset=dataset, way=way)
        assert config.data.dataset == dataset
        assert config.data.way == way
        assert from_dict(yaml.safe_load(config.to_yaml())) == config


def test_what_was_tuned_reaches_the_runs_of_its_dataset_and_way() -> None:
    tuned = load_profile("lite", ["model.method=eopnet"], dataset="synth-atr", way="k")
    assert tuned.model.options == {"npm_scale": 20.0}
    assert load_profile("lite", ["model.method=sgone"], dataset="synth-atr", way="k").train.lr == 3e-3


def test_the_default_profile_values_and_the_ceiling() -> None:
    quick = load_profile("quick")
    assert quick.data.dataset == "synth-atr"
    assert quick.data.synthetic.size >= 128
    assert quick.eval.queries * quick.eval.repeats >= 30
    ceiling = load_profile("quick", task="segment")
    assert ceiling.train.visible == "all"
    assert ceiling.init.kind == "none"
    assert ceiling.model.method == "segment"
    assert resolve_encoder(ceiling) == resolve_encoder(quick)
    assert load_profile("quick", ["train.task=segment"]) == ceiling
    assert load_profile("paper").variant == "official"


def test_the_official_preset_states_the_released_values() -> None:
    official = variant_config("official", "atr-os")
    assert (official.data.size, official.data.augment, official.data.pairing) == (512, "paper", "once")
    assert (official.data.channels, official.data.pad_label, official.data.pre_resize) == ("bgr", 0, None)
    assert (official.data.split, official.data.cap, official.data.scale) == (7500, 1500, "independent")
    assert (official.train.epochs, official.train.batch_size, official.train.optimizer) == (50, 2, "sgd")
    assert (official.train.lr, official.train.momentum, official.train.weight_decay) == (1e-3, 0.9, 5e-4)
    assert (official.train.poly_step, official.train.reset_momentum, official.train.clip) == (10, True, None)
    assert (official.eval.bi_every, official.eval.test_size, official.eval.screening) == (10, None, True)
    assert official.eval.absent_test == "resized"
    paper = variant_config("paper", "lip-os")
    assert (paper.data.split, paper.data.pre_resize, paper.data.pairing) == (14000, 512, "each epoch")
    assert (paper.train.poly_step, paper.eval.absent_test, paper.eval.bi_every) == ("iteration", "full", 1)
    assert variant_config("paper", "atr-os").data.split == 7500
    assert variant_config("official", "ccp-os").data.split is None


def test_the_released_learning_rates() -> None:
    train = variant_config("official", "atr-os").train
    found = {epoch: rate(train, epoch, epoch * 100, 100) for epoch in range(50)}
    for epochs, value in (
        (range(9), 1.0e-3),
        (range(9, 19), 8.364e-4),
        (range(19, 29), 6.504e-4),
        (range(29, 39), 4.581e-4),
        (range(39, 49), 2.560e-4),
        (range(49, 50), 2.958e-5),
    ):
        for epoch in epochs:
            assert found[epoch] == pytest.approx(value, rel=2e-4), epoch
    assert [epoch for epoch in range(50) if renews_optimizer(train, epoch)] == [9, 19, 29, 39, 49]


def test_other_schedules() -> None:
    train = from_dict({"train": {"epochs": 10, "lr": 1.0, "warmup_steps": 4}}).train
    assert [rate(train, 0, step, 10) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.003)
    assert rate(train, 5, 50, 10) == pytest.approx(0.505)
    assert rate(train, 9, 99, 10) == pytest.approx(0.01, abs=1e-3)
    poly = dataclasses.replace(train, schedule="poly", poly_step="iteration", warmup_steps=0)
    assert rate(poly, 5, 50, 10) == pytest.approx(0.5**0.9)
    assert rate(dataclasses.replace(train, schedule="constant", warmup_steps=0), 9, 99, 10) == 1.0
    assert not any(renews_optimizer(poly, epoch) for epoch in range(10))


def test_optimizer_groups() -> None:
    from torch import nn

    net = nn.Module()
    net.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    net.head = nn.Conv2d(4, 2, 1)
    net.bank = nn.Parameter(net.head.weight.detach().clone(), requires_grad=False)
    adamw = make_optimizer(from_dict({"train": {"encoder_lr": 0.1}}).train, net)
    assert {(group["factor"], group["weight_decay"]) for group in adamw.param_groups} == {
        (0.1, 0.01),
        (0.1, 0.0),
        (1.0, 0.01),
        (1.0, 0.0),
    }
    assert sum(len(group["params"]) for group in adamw.param_groups) == 6
    sgd = make_optimizer(variant_config("official", "atr-os").train, net)
    assert [group["weight_decay"] for group in sgd.param_groups] == [5e-4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.lrr=1"], "unknown name 'lrr'"),
        (["trian.lr=1"], "unknown name 'trian'"),
        (["train.epochs=ten"], "whole number"),
        (["train.epochs=0"], r"train.epochs is 0; it must lie in \[1, "),
        (["train.epochs=1.5"], "whole number"),
        (["train.clip=true"], "number"),
        (["data.way=2"], "k, 1"),
        (["data.size=7"], r"data.size is 7; it must lie in \[16, "),
        (["data.size=[1, 2, 3]"], "whole number or a list"),
        (["data.pad_label=7"], "255"),
        (["train"], "name=value"),
        (["train.lr=[1"], "cannot be read"),
        (["train=3"], "group of names"),
        (["train.lr.x=3"], "a number"),
        (["init.kind=file"], "init.path"),
        (["train.task=segment"], "model.method"),
        (["model.options=4"], "names and values"),
        (["train.lr=.nan"], "train.lr is nan"),
        (["model.options.unlabelled=class"], "data.condition"),
        # refused before any training, each by the range that stands in its field
        (["train.poly_step=0"], "poly_step"),
        (["train.encoder_lr=-1"], "encoder_lr"),
        (["train.momentum=2"], "momentum"),
        (["train.momentum=-1", "train.optimizer=sgd"], "momentum"),
        (["train.weight_decay=-1"], "weight_decay"),
        (["train.poly_power=.nan"], "poly_power"),
        (["train.clip=-1"], "clip"),
        (["train.seed=-1"], "seed"),
        (["train.seed=100000000000000000000"], "seed"),
        (["eval.queries=-3"], "queries"),
        (["eval.queries=0"], "queries"),
        (["eval.repeats=0"], "repeats"),
        (["eval.per_class=0"], "per_class"),
        (["init.lr=-1"], "init.lr"),
        (["init.batch_size=0"], "init.batch_size"),
        (["data.size=100000000"], "data.size"),
        (["data.synthetic.seed=-1"], "data.synthetic.seed"),
    ],
)
def test_wrong_overrides_get_a_sentence(changes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(RunConfig(), changes)


def test_overrides_reach_every_level() -> None:
    config = override(
        RunConfig(),
        ["train.lr=1e-4", "data.way=1", "data.synthetic.n_train=9", "model.options.width=32", "data.size=[96,64]"],
    )
    assert config.train.lr == 1e-4
    assert config.data.way == "1"
    assert config.data.synthetic.n_train == 9
    assert config.model.options == {"width": 32}
    assert config.data.size == (96, 64)
    assert override(config, {"train.clip": None}).train.clip is None
    with pytest.raises(UserError, match="unknown profile"):
        load_profile("huge")
    with pytest.raises(UserError, match="unknown variant"):
        variant_config("best")


LEAVES = [
    (f"{group.name}.{item.name}", getattr(getattr(RunConfig(), group.name), item.name))
    for group in dataclasses.fields(RunConfig)
    if group.name != "variant"
    for item in dataclasses.fields(getattr(RunConfig(), group.name))
    if item.name not in ("synthetic", "options")
] + [(f"data.synthetic.{item.name}", item.default) for item in dataclasses.fields(SyntheticConfig)]

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 300),
    st.sampled_from([10**20, -1, 0, 2**31, 10**400]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["1e-3", "nan", "inf", "k", "1", "auto", "iteration", "papers", "none"]),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(st.sampled_from(LEAVES), ODD)
def test_a_field_takes_a_good_value_or_says_why_not(leaf: tuple[str, Any], value: Any) -> None:
    name, default = leaf
    refusal, config = "", RunConfig()
    try:
        config = override(config, {name: value})
    except UserError as error:
        refusal = str(error)
    assert not refusal or (name in refusal and "\n" not in refusal)
    assert from_dict(yaml.safe_load(config.to_yaml())) == config
    group, _, last = name.rpartition(".")
    kept = operator.attrgetter(group)(config)
    numbers = [item for item in np.ravel(getattr(kept, last)) if isinstance(item, int | float)]
    assert all(math.isfinite(number) for number in numbers)
    assert math.isfinite(rate(config.train, 0, 3, 10))
    assert type(default) is not bool or type(getattr(kept, last)) is bool


def test_every_number_has_a_finite_range() -> None:
    for name, default in LEAVES:
        group, _, last = name.rpartition(".")
        kept = operator.attrgetter(group)(RunConfig())
        (item,) = (item for item in dataclasses.fields(kept) if item.name == last)
        if type(default) in (int, float) and "Literal[0" not in str(item.type):
            low, high = item.metadata["range"][:2]
            assert math.isfinite(low), name
            assert math.isfinite(high), name


def test_identity_follows_what_a_run_is_and_nothing_else(tmp_path: Path) -> None:
    base = load_profile("quick")
    same = [
        "data.workers=4",
        "train.threads=1",
        "train.save_seconds=5",
        "train.eval_every=2",
        "data.synthetic.n_train=9",
    ]
    assert identity_of(override(base, same), "d") == identity_of(base, "d")
    for change in ("train.seed=1", "data.size=96", "model.options.width=32", "eval.screening=false", "data.fold=2"):
        assert identity_of(override(base, [change]), "d") != identity_of(base, "d"), change
    assert identity_of(override(base, ["data.condition=person-class"]), "d") != identity_of(base, "d")
    assert len({identity_of(base, *more) for more in (["d"], ["e"], ["d", "i"], ["d", "", "cuda"])}) == 4
    # the initialisation counts by its identity, a file by its content, so neither its settings nor its path do
    assert identity_of(override(base, ["init.lr=0.1"]), "d", "i") == identity_of(base, "d", "i")
    files = [override(base, {"init.kind": "file", "init.path": str(tmp_path / name)}) for name in "ab"]
    assert identity_of(files[0], "d", "i") == identity_of(files[1], "d", "i")


def test_a_field_added_later_leaves_old_identities_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what differs from a default enters, so a new loss term at its default re-keys no run."""
    base = load_profile("lite", ["model.method=pfenet"])
    before = identity_dict(base)
    assert before["data"] == {"condition": "papers"}, "the rest at its defaults"
    assert before["model"] == {"method": "pfenet", "options": {"balance": 0.5}}

    @dataclasses.dataclass(frozen=True)
    class Later(TrainConfig):
        new_term: float = 0.0

    monkeypatch.setattr(config_module, "RunConfig", lambda: dataclasses.replace(RunConfig(), train=Later()))
    later = dataclasses.replace(base, train=Later(**vars(base.train)))
    assert identity_dict(later) == before
    changed = dataclasses.replace(later, train=dataclasses.replace(later.train, new_term=0.5))
    assert identity_dict(changed)["train"] == {**before["train"], "new_term": 0.5}


def test_the_label_condition_reaches_every_method() -> None:
    from oshp_lite.engine.models import model_options

    assert {load_profile(name).data.condition for name in PROFILES} == {"papers"}, "the papers' own is the primary one"
    assert {variant_config(name).data.condition for name in ("official", "paper")} == {"papers"}
    for condition, option in (("papers", "background"), ("person-class", "class"), ("ignore", "ignore")):
        for method in ("eopnet", "popnet", "panet"):
            chosen = load_profile("smoke", {"data.condition": condition, "model.method": method})
            assert option in model_options(chosen, 18).values()
    one, other = (load_profile("lite", [f"data.condition={name}"]) for name in ("papers", "person-class"))
    firsts = [init_config(config) for config in (one, other)]
    assert all(firsts)
    assert identity_of(firsts[0], "d") == identity_of(firsts[1], "d"), "their initialisation is shared"  # type: ignore[arg-type]


def test_init_runs_form_a_chain_shared_by_ways_and_heads() -> None:
    people_first = ["init.synthetic_epochs=4"]
    kway = load_profile("quick", people_first, dataset="ccp-os", way="k")
    oneway = load_profile("quick", people_first, dataset="ccp-os", way="1")
    chain: list[Any] = []
    config: RunConfig | None = kway
    while config is not None:
        chain.append(config)
        config = init_config(config)
    assert [item.data.dataset for item in chain] == ["ccp-os", "ccp-os", "synth-atr"]
    assert [item.train.task for item in chain] == ["parse", "segment", "segment"]
    assert all(item.train.visible == "base" for item in chain[1:])
    assert all(item.data.fold == kway.data.fold for item in chain)
    assert init_config(oneway) == chain[1]
    agm = override(kway, ["model.options.agm_trunk=separable", "eval.source=agm", "train.epochs=3"])
    first = init_config(agm)
    assert first is not None
    assert identity_of(first, "d") == identity_of(chain[1], "d")
    assert init_config(load_profile("paper")) is None
    wide = init_config(override(kway, ["model.options.width=32"]))
    assert wide != chain[1]


def test_encoder_options_are_complete() -> None:
    assert resolve_encoder(load_profile("quick"))["encoder"] == "lite"
    assert resolve_encoder(load_profile("paper"))["feature_level"] == "mid"
    assert {"eopnet", "segment"} <= set(METHODS)


def test_the_code_fingerprint_ignores_what_does_not_run() -> None:
    code = 'def f(x):\n    """Doc."""\n    return x + 1  # why\n'
    plain = "def f(x):\n\n    return (x + 1)\n"
    assert source_digest(code) == source_digest(plain)
    assert source_digest(code) != source_digest("def f(x):\n    return x + 2\n")
    assert source_digest("x = 'a'") != source_digest("x = 'b'")
    assert source_digest('class A:\n    """D."""\n    x: int = 1\n') == source_digest("class A:\n    x: int = 1\n")


def test_the_code_fingerprint_sees_rooms_but_not_the_generator(tmp_path: Path) -> None:
    (tmp_path / "nn").mkdir()
    (tmp_path / "data/synthetic").mkdir(parents=True)
    (tmp_path / "nn/a.py").write_text("x = 1\n")
    (tmp_path / "data/synthetic/b.py").write_text("y = 1\n")
    from oshp_lite.engine import provenance as module

    def fresh() -> str:
        module._fingerprint.cache_clear()
        return code_fingerprint(["nn", "data"], package=tmp_path)

    first = fresh()
    (tmp_path / "data/synthetic/b.py").write_text("y = 2\n")
    assert fresh() == first
    (tmp_path / "nn/a.py").write_text("# said\nx = 1\n")
    assert fresh() == first
    (tmp_path / "nn/a.py").write_text("x = 2\n")
    assert fresh() != first
    module._fingerprint.cache_clear()


def test_a_notebook_depends_on_the_generator_too() -> None:
    assert code_fingerprint([*ROOMS, "data/synthetic"]) != code_fingerprint(ROOMS)


def test_provenance_tells_what_a_reader_needs() -> None:
    told = provenance("abc", seed=3)
    assert told["data"] == "abc"
    assert told["seed"] == 3
    assert told["code"] == code_fingerprint(ROOMS)
    assert told["libraries"]["torch"][0].isdigit()
    assert told["device"].startswith("CPU")
    assert "/" not in told["device"]


def test_the_code_of_a_run_is_what_its_method_reaches() -> None:
    from oshp_lite.engine import provenance as module

    reached = module.reached(("engine/train.py",))
    assert {"engine/config.py", "models/base.py", "models/released.py"} <= set(reached)
    assert len({module.code_of(method) for method in ("eopnet", "amp", "popnet")}) == 3
