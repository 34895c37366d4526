"""The lite network against the code of the day its targets were set: `python .ci/first_edition.py`, about two minutes.

A commit of that day is checked out beside this one, and both trees take the same steps on the same numbers, in turn,
each in processes of its own. Losses and counts must be equal. The record goes to
notebooks/results/performance-first-edition.json, and the page of the benchmark is written anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "077e1c3"
"""The last one of the first edition, 2026-11-20."""
TURNS = (0, 1, 1, 0, 0, 1, 1, 0)
"""Which tree comes next: a machine that slows down over the minutes slows both."""
ROUNDS = 9
BATCH, SIDE, IDS, SHOWN = 16, 128, 18, 7
WORKS = ("training step", "evaluation pair", "initialisation step")


def measure() -> dict[str, list[Any]]:
    """Seconds of each work in this tree, [result, seconds, ...]: an EOP-Net of the profile lite, and its encoder's."""
    from oshp_lite.data.episode import Episode
    from oshp_lite.engine.metrics import confusion

    if Path("oshp_lite/nn").is_dir():
        make, names = import_module("oshp_lite.nn.eopnet").EOPNet, {"unlabelled_foreground": "background"}
        segmenter = import_module("oshp_lite.engine.models").SegmentNet
    else:
        make, names = import_module("oshp_lite.models.eopnet").EOPNet, {"unlabelled": "background"}
        segmenter = import_module("oshp_lite.models.segment").SegmentNet
    net = make(variant="lite", n_ids=IDS, **names)
    source = torch.Generator().manual_seed(0)
    photos = [torch.rand(BATCH, 3, SIDE, SIDE, generator=source) * 2 - 1 for _ in range(2)]
    coarse = [torch.randint(0, SHOWN, (BATCH, 8, 8), generator=source) for _ in range(2)]
    query, support = (one.repeat_interleave(SIDE // 8, 1).repeat_interleave(SIDE // 8, 2) for one in coarse)
    episode = Episode(*photos, support, (support > 0).long(), query, (query > 0).long())

    def stepping(network: Any) -> Callable[[], float]:
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-6)

        def step() -> float:
            network.train()
            with torch.autocast("cpu", torch.bfloat16):  # as the profile trains
                total = network.losses(network(episode, progress=0.6), episode, 0.6)["total"]
            total.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return float(total.detach())

        return step

    def judge() -> int:
        net.eval()
        with torch.inference_mode():
            made = net.predict(episode)
            ids = made if torch.is_tensor(made) else made.ids
            return int(sum(confusion(own, true, IDS).trace() for own, true in zip(ids, query, strict=True)))

    works = dict(zip(WORKS, (stepping(net), judge, stepping(segmenter(n_ids=IDS))), strict=True))
    results: dict[str, list[Any]] = {name: [work()] for name, work in works.items()}
    for _ in range(ROUNDS):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            results[name].append((time.perf_counter() - began) / (BATCH if work is judge else 1))
    return results


def main() -> int:
    """Measure both trees and keep the record. Returns 1 where their results differ."""
    from oshp_lite.engine.performance.clock import Figure, Timing
    from oshp_lite.engine.performance.page import HEADS, as_rows, write_page
    from oshp_lite.engine.provenance import provenance
    from oshp_lite.files import write_json_atomic

    git = ["git", "-C", str(ROOT), "worktree"]
    with TemporaryDirectory(prefix="oshp-first-") as folder:
        trees = [Path(folder) / "tree", ROOT]
        subprocess.run([*git, "add", "-q", "--detach", str(trees[0]), COMMIT], check=True)
        try:
            made: list[list[dict[str, list[Any]]]] = [[], []]
            for which in TURNS:
                command = [sys.executable, str(Path(__file__).resolve()), "--measure"]
                where = {**os.environ, "PYTHONPATH": str(trees[which])}
                done = subprocess.run(command, cwd=trees[which], env=where, check=True, capture_output=True, text=True)
                made[which].append(json.loads(done.stdout.splitlines()[-1]))
        finally:
            subprocess.run([*git, "remove", "--force", str(trees[0])], check=True)
    figures = []
    for work in WORKS:
        found = {run[work][0] for runs in made for run in runs}
        if max(found) - min(found) > 1e-6 * max(found):
            print(f"error: the trees differ in the {work}: {sorted(found)}", file=sys.stderr)
            return 1
        times = [Timing(tuple(second for run in runs for second in run[work][1:])) for runs in made]
        for name, one in zip(("reference", "ours"), times, strict=True):
            speedup = times[0].middle / one.middle
            figures.append(asdict(Figure(f"lite, {work}", name, one.middle, *one.spread, speedup=speedup)))
    print("\n".join("  ".join(cells) for cells in (HEADS, *as_rows(figures))))
    kept = ROOT / "notebooks/results/performance-first-edition.json"
    record = {"provenance": provenance(), "place": "cpu", "size": "lite", "rounds": ROUNDS * len(TURNS) // 2}
    write_json_atomic(kept, {**record, "reference": COMMIT, "figures": figures})
    print(f"wrote {kept} and {write_page(kept)}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        print(json.dumps(measure()))
    else:
        sys.exit(main())
