"""What a call of the matrix would do: rows, what is done, and minutes estimated from finished runs.

The runs of this machine's store come first; where none is like a row, the committed ones, made on another machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from oshp_lite.engine.config import RunConfig
from oshp_lite.errors import UserError
from oshp_lite.study.matrix import Row, config_of
from oshp_lite.study.matrix_runner import Runner
from oshp_lite.study.results import committed_results


@dataclass(frozen=True)
class Planned:
    """A row with its state ("done", "due" or "not run") and the seconds it takes or took; None: no idea.

    elsewhere  the seconds are those of another machine
    """

    row: Row
    state: str
    seconds: float | None
    elsewhere: bool = False


def plan(rows: list[Row], runner: Runner) -> list[Planned]:
    """Say of each row what would happen. Computes nothing."""
    here, elsewhere = Guess(list(_finished(runner))), Guess(list(_committed(runner.profile)))
    found = []
    for row in rows:
        if row.reason:
            found.append(Planned(row, "not run", 0.0))
            continue
        run = runner.finder.find(row.config)
        if run is not None and runner.is_done(row):
            found.append(Planned(row, "done", run.seconds))
            continue
        seconds = 20.0 if run is not None else here(row.config)  # the notebook of a finished run is soon executed
        other = elsewhere(row.config) if seconds is None else None
        found.append(Planned(row, "due", other if seconds is None else seconds, other is not None))
    return found


class Guess:
    """Seconds that a run takes, from the seconds of finished runs that are as much like it as can be found."""

    def __init__(self, known: Sequence[tuple[RunConfig, float]]) -> None:
        self._known = known

    def __call__(self, config: RunConfig) -> float | None:
        """Return the median seconds of the most similar finished runs, scaled to the epochs asked for; else None."""
        for like in LIKENESS:
            wanted = like(config)
            seconds = [
                took * config.train.epochs / max(1, other.train.epochs)
                for other, took in self._known
                if like(other) == wanted
            ]
            if seconds:
                return median(seconds)
        return None


LIKENESS: tuple[Callable[[RunConfig], tuple[object, ...]], ...] = (
    lambda c: (c.model.method, c.train.task, c.data.dataset, c.data.way, c.data.size, c.data.synthetic.n_train),
    lambda c: (c.model.method, c.train.task, c.data.way, c.data.size, c.data.synthetic.n_train),
    lambda c: (c.train.task, c.data.dataset, c.data.way, c.data.size, c.data.synthetic.n_train),
    lambda c: (c.train.task, c.data.size, c.data.synthetic.n_train),
)
"""What two runs have in common to take about equally long, the closest likeness first."""


def _finished(runner: Runner) -> Iterator[tuple[RunConfig, float]]:
    for run in runner.finder.store.runs():
        with contextlib.suppress(UserError):  # settings of older code that have other names now
            yield run.config, run.seconds


def _committed(profile: str) -> Iterator[tuple[RunConfig, float]]:
    for key, measured in committed_results(profile).items():
        with contextlib.suppress(UserError):
            yield config_of(key, measured.profile), float(measured.provenance.get("seconds", 0.0))


def print_plan(rows: list[Row], runner: Runner, jobs: int) -> None:
    """Print the plan of a call with `jobs` rows at a time."""
    planned = plan(rows, runner)
    number = 0
    for item in planned:
        index = "" if item.row.key is None else str(number)
        number += item.row.key is not None
        minutes = "" if item.state == "not run" else "?" if item.seconds is None else f"{item.seconds / 60:.1f} min"
        minutes += "*" if item.elsewhere else " "
        tail = f"  {item.row.reason}" if item.row.reason else ""
        runner.tell(f"{index:>4s}  {item.state:8s}{minutes:>10s} {item.row.name}{tail}")
    counts = {state: sum(item.state == state for item in planned) for state in ("done", "due", "not run")}
    runner.tell(f"{len(planned)} rows: {counts['done']} done, {counts['due']} due, {counts['not run']} not run")
    due = [item for item in planned if item.state == "due"]
    known = [item.seconds for item in due if item.seconds is not None]
    if known:
        mean = sum(known) / len(known)
        total = mean * len(due) / max(1, min(jobs, len(due)))
        told = f"about {total / 60:.0f} minutes, {jobs} at a time"
        missing = len(due) - len(known)
        runner.tell(told + (f" ({missing} rows, like none that has run yet, counted with the mean)" if missing else ""))
        if any(item.elsewhere for item in due):
            runner.tell("* as long as the committed runs took, which were made on another machine")
    elif due:
        runner.tell("no run of this kind has finished here yet, so there is no estimate; oshp-lite doctor measures one")
