"""Results that no network made, for tests of tables and of their forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oshp_lite.study.experiments import RUN_ORDER, runs_of
from oshp_lite.study.records import Measured, Results, RunKey, measured_of


def made_up(key: RunKey, *, screened: bool = True, profile: str = "lite") -> Measured:
    """A result over twelve pairs that never saw a network: right ids with a method's own share of mistakes."""
    split = key.split
    rng = np.random.default_rng([key.seed, key.fold, *key.slug.encode()])
    width = max(split.classes) + 1 if key.way == "k" else 2
    rows = []
    foreground = [index for index in split.classes if index]
    asked = np.repeat(foreground, 2)
    for _ in asked:
        matrix = rng.integers(1, 30, (width, width))
        matrix[np.diag_indices(width)] += rng.integers(50, 400)
        rows.append(matrix)
    other = np.stack(rows) if screened else None
    return measured_of(key, profile, np.stack(rows), asked, screened=other, origin="committed")


def made_up_results() -> Results:
    """Fold 1 of Table 2 with three seeds of EOP-Net, both folds of POPNet, part of Table 5, everything of Table 6."""
    keys = [RunKey(method, "synth-atr", 1, "k") for method in RUN_ORDER if method != "persam"]
    keys += [RunKey("eopnet", "synth-atr", 1, "k", seed) for seed in (1, 2)]
    keys += [RunKey("popnet", "synth-atr", 2, "k"), RunKey("popnet", "synth-atr", 1, "1")]
    keys += [RunKey("sgone", "ccp-os", 1, "k"), RunKey("eopnet", "ccp-os", 1, "k")]
    keys += [
        RunKey("panet", "synth-atr", 1, "k", 0, "bg-panet"),
        RunKey("eopnet", "synth-atr", 1, "k", 0, "static"),
    ]
    keys += runs_of("eopnet6") + runs_of("eopnet5")[:2] + runs_of("popnet3")
    persam = RunKey("persam", "synth-atr", 1, "k")
    reasons = {persam: "needs SAM weights", replace(persam, fold=2): "needs SAM weights"}
    return Results([made_up(key) for key in dict.fromkeys(keys)], reasons)
