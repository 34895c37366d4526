"""Every option of every command changes what it says it changes: what reaches the packages below differs by it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from oshp_lite.assets import checkpoint
from oshp_lite.cli import app, main
from oshp_lite.errors import UserError

RUN = {
    "--profile": "smoke",
    "--dataset": "synth-lip",
    "--fold": "2",
    "--way": "1",
    "--set": "eval.queries=3",
    "--data": "elsewhere",
}
CALLS: dict[str, tuple[str, dict[str, str | None]]] = {
    "oshp_lite.engine.runs:RunStore.ensure": (
        "train",
        {**RUN, "--method": "panet", "--seed": "4", "--device": "cuda", "--minutes": "3", "--task": "segment"}
        | {"--no-wait": None, "--fresh": None, "--quiet": None, "--runs": "elsewhere"},
    ),
    "oshp_lite.study.execute:Executor.run": (
        "matrix --profile smoke",
        {
            "--profile": "lite",
            "--steps": "a",
            "--exhibits": "eopnet5",
            "--only": "panet",
            "--datasets": "synth-lip",
            "--index": "2",
        }
        | {"--row": "amp-synth-atr-fold1-kway-person-class-seed0", "--inits": None, "--jobs": "2", "--threads": "5"}
        | {"--limit": "7", "--no-notebooks": None, "--fresh": None, "--set": "train.epochs=2", "--out": "elsewhere"}
        | {"--data": "elsewhere", "--runs": "elsewhere"},
    ),
    "oshp_lite.study.reproduce:reproduce": (
        "reproduce",
        {"--profile": "smoke", "--only": "03", "--steps": "a", "--jobs": "2", "--set": "train.epochs=2"}
        | {"--minutes": "2", "--force": None, "--out": "elsewhere", "--data": "elsewhere", "--runs": "elsewhere"},
    ),
    "oshp_lite.study.report:write_report": (
        "report",
        {"--profile": "smoke", "--out": "elsewhere", "--data": "elsewhere", "--runs": "elsewhere"},
    ),
    "oshp_lite.study.tuning:make_trials": (
        "tune",
        {"--profile": "smoke", "--only": "panet", "--fresh": None, "--data": "elsewhere", "--runs": "elsewhere"},
    ),
    "oshp_lite.data.registry:draw": (
        "data synthetic --out here",
        {"--out": "elsewhere", "--name": "synth-lip", "--train": "3", "--test": "3", "--size": "64", "--seed": "2"},
    ),
    "oshp_lite.data.prepare.command:print_verified": (
        "data verify here",
        {"--quick": None, "--rule": "spread", "--queries": "2", "--repeats": "2", "--per-class": "2"},
    ),
    "oshp_lite.study.references:baseline_scores": (
        "evaluate --baseline copy",
        {**RUN, "--baseline": "all", "--quiet": None, "--runs": "elsewhere"},
    ),
    "oshp_lite.predict:load_network": (
        f"evaluate --weights {checkpoint()}",
        {"--weights": "other.pth", "--device": "cuda", "--labels": "lip"},
    ),
    "oshp_lite.engine.performance.paths:measure_paths": (
        "bench",
        {"--what": "infer", "--rounds": "2", "--size": "paper"},
    ),
    "oshp_lite.study.cost:measure_costs": (
        "bench methods",
        {"--variant": "paper", "--size": "64", "--device": "cuda", "--seconds": "1"},
    ),
    "oshp_lite.engine.instance_plain:measure_speed": ("bench instances", {"--size": "64"}),
    "oshp_lite.engine.domain_speed:measure_modules": ("bench transfer", {"--batch": "3", "--seconds": "1"}),
    "oshp_lite.study.speed:gpu_check": (
        "bench gpu-check",
        {"--device": "cuda", "--minutes": "1", "--data": "elsewhere", "--out": "elsewhere"},
    ),
}
ELSEWHERE = {
    "matrix": {"--dry-run", "--list", "--script", "--snakefile"},  # tests/test_matrix.py, test_cluster.py
    "tune": {"--dry-run"},
    "bench": {"--json"},
    "report": {"--readme"},
    "evaluate": {"--run", "--out"},
}
"""Options that choose another action; their outputs have tests of their own."""


class Reached(UserError):
    """The spied function was called."""


def flat(value: Any) -> Any:
    """A value as something that can be compared and printed."""
    if isinstance(value, str | int | float | bool | None | Path):
        return str(value)
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [flat(item) for item in value]
    return flat(vars(value)) if hasattr(value, "__dict__") else repr(value)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, list[str]], Any]:
    """What a function is called with by some words."""
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(tmp_path / name.lower()))

    def call(target: str, words: list[str]) -> Any:
        module, _, path = target.partition(":")
        owner: Any = importlib.import_module(module)
        *above, name = path.split(".")
        for part in above:
            owner = getattr(owner, part)
        seen: list[Any] = []

        def spy(*given: Any, **named: Any) -> None:
            seen.append(flat([given, {key: value for key, value in named.items() if not callable(value)}]))
            raise Reached("reached")

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, spy)
            before = dict(os.environ)
            assert main(words) == 2
            assert dict(os.environ) == before, "a place is handed over, not left in the environment"
        assert seen, words
        return seen[0]

    return call


@pytest.mark.parametrize(
    ("target", "option"), [(target, option) for target, (_, options) in CALLS.items() for option in options]
)
def test_an_option_reaches_its_place(target: str, option: str, reached: Callable[[str, list[str]], Any]) -> None:
    words, options = CALLS[target]
    value = options[option]
    given = [option] if value is None else [option, value]
    plain = words.split()
    changed = plain.copy()
    if option in changed:  # what stands there already is replaced
        place = changed.index(option)
        del changed[place : place + 2]
    assert reached(target, [*changed, *given]) != reached(target, plain)


def test_no_option_is_left_out() -> None:
    tried: dict[str, set[str]] = {}
    for words, options in CALLS.values():
        command = words.split()[0] if not words.startswith("data") else " ".join(words.split()[:2])
        tried.setdefault(command, set()).update(options)
    group: Any = typer.main.get_command(app)
    for command, options in tried.items():
        found = group
        for part in command.split():
            found = found.commands[part]
        declared = {item.opts[0] for item in found.params if item.opts[0].startswith("--")}
        assert declared - {"--help"} <= options | ELSEWHERE.get(command, set()), command
