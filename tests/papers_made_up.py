"""Results that no network made, for tests of tables and of their forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oshp_lite.study.experiments import RUN_ORDER, runs_of
from oshp_lite.study.records import Measured, Results, RunKey, counts_of, measured_of


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
    if key.method == "instance":
        return people_made_up(key, np.stack(rows), profile)
    other = np.stack(rows) if screened else None
    return measured_of(key, profile, np.stack(rows), asked, screened=other, origin="committed")


def people_made_up(key: RunKey, matrices: np.ndarray, profile: str = "lite", skill: float = 0.6) -> Measured:
    """People one by one that no network saw: two a photo with four parts, of which about `skill` are right."""
    rng, shared, n = np.random.default_rng([key.seed, *key.ablation.encode()]), np.random.default_rng(3), len(matrices)
    hard = shared.uniform(-0.1, 0.1, n)
    people, parts = np.repeat(np.arange(n), 2), np.repeat(np.arange(n), 4)
    counts = counts_of(matrices, range(20))
    kept = {"bins": np.arange(n) % 3}
    for front, gain in (("", 0.0), ("given.", 0.1), ("views.", 0.05)):
        chances = [skill + gain + hard[of] + rng.normal(0, 0.02, len(of)) for of in (people, parts)]
        right = [511 * (one > shared.random(len(one))) for one in chances]
        kept |= {f"{front}people": np.full(n, 2), f"{front}parts": np.eye(20, dtype=int)[1:2].repeat(n, 0) * 4}
        kept |= {f"{front}people_photo": people, f"{front}people_hits": right[0]}
        kept |= {f"{front}people_parts": np.full((2 * n, 9), 2), f"{front}people_whole": np.full(2 * n, 4)}
        kept |= {f"{front}parts_photo": parts, f"{front}parts_class": np.ones(4 * n, int)}
        kept |= {f"{front}parts_hits": right[1], f"{front}parts_pgn": right[1], f"{front}pixels": counts}
    more = {"queries": np.arange(n), "people": kept, "origin": "committed"}
    return Measured(key, profile, counts, np.zeros(n, int), tuple(range(20)), (), **more)


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
