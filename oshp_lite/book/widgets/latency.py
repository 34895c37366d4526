"""How long an explorer takes to follow a control, once the photos are encoded."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from oshp_lite.assets import checkpoint
from oshp_lite.book.widgets.canvas import encoded
from oshp_lite.book.widgets.comparison import ComparisonState, Contender
from oshp_lite.book.widgets.episodes import EpisodeState
from oshp_lite.book.widgets.feature_space import FeatureState
from oshp_lite.book.widgets.lens import LensState
from oshp_lite.book.widgets.replay import Moment, ReplayState
from oshp_lite.book.widgets.source import PEOPLE, open_source
from oshp_lite.book.widgets.stability import StabilityState

REPEATS = 9


def measure_latency(size: int = 512, repeats: int = REPEATS) -> dict[str, tuple[float, float]]:
    """Return the median seconds of each explorer's interactions, on the clock and of the processor.

    On drawn people, with the shipped network at `size` pixels. On a busy machine the clock counts the others' work too.
    What is measured is the kernel's part: state, head and picture (or what the browser draws from). Moving over a photo
    needs none of it. Every photo is encoded beforehand.
    """
    people = replace(PEOPLE, n_test=8, size=size)
    with tempfile.TemporaryDirectory(prefix="oshp-bench-") as folder:
        source = open_source(data=folder, people=people)
        source.size = (size, size)
        lens, space = LensState(source, 0, 1), FeatureState(source, 0, support=1)
        methods = ComparisonState({"EOP-Net": Contender(source)}, 0, 1)
        stability, episodes = StabilityState(source, 0), EpisodeState(data=folder, people=people)
        for index in range(len(source)):
            source.features(index)
        stability.draw()

        def browser(state: LensState | FeatureState | ComparisonState) -> Callable[[int], None]:
            def change(turn: int) -> None:
                state.choose(0, 1 + turn % 7)
                json.dumps(state.payload())

            return change

        def pin(turn: int) -> None:
            lens.take({"row": turn, "column": turn, "momentum": turn / 100})
            lens.bars()

        def rank(turn: int) -> None:
            stability.rank = turn % 5
            encoded(stability.draw())

        def opacity(turn: int) -> None:
            episodes.opacity = turn / 10
            encoded(episodes.draw())

        # two networks alike stand for those of a training
        kept = [Moment(epoch, 1 - epoch / 2, checkpoint()) for epoch in range(2)]
        replay = ReplayState(source, kept, query=0, support=1)

        def network(turn: int) -> None:
            replay.step = turn % 2
            encoded(replay.draw())

        for step in range(2):
            network(step)

        interactions = {
            "prototype lens: pin, momentum": pin,
            "prototype lens: another support": browser(lens),
            "feature space: another support": browser(space),
            "DML stage: another network": network,
            "method comparison: another support": browser(methods),
            "stability: another rank": rank,
            "episodes: opacity": opacity,
        }
        return {name: _median(change, repeats) for name, change in interactions.items()}


def _median(change: Callable[[int], None], repeats: int) -> tuple[float, float]:
    times = []
    for turn in range(repeats):
        started, worked = time.perf_counter(), time.process_time()
        change(turn)
        times.append((time.perf_counter() - started, time.process_time() - worked))
    wall, processor = zip(*(times[1:] or times), strict=True)  # the first change fills what is kept
    return median(wall), median(processor)
