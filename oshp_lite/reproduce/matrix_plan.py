"""What a call of the matrix would do: rows, what is done, and minutes estimated from finished runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from oshp_lite.engine.config import RunConfig
from oshp_lite.errors import UserError
from oshp_lite.reproduce.matrix import Row
from oshp_lite.reproduce.matrix_runner import Runner
from oshp_lite.reproduce.store import Run


@dataclass(frozen=True)
class Planned:
    """A row with its state ("done", "due" or "not run") and the seconds it takes or took; None: no idea."""

    row: Row
    state: str
    seconds: float | None
    measured: bool = False


def plan(rows: list[Row], runner: Runner) -> list[Planned]:
    """Say of each row what would happen. Computes nothing."""
    guess = Guess(runner.finder.store.runs())
    found = []
    for row in rows:
        if row.reason:
            found.append(Planned(row, "not run", 0.0))
            continue
        run = runner.finder.find(row.config)
        if run is not None and runner.is_done(row):
            found.append(Planned(row, "done", run.seconds, True))
        else:
            found.append(Planned(row, "due", 20.0 if run is not None else guess(row.config)))
    return found


class Guess:
    """Seconds that a run takes, from finished runs that are as much like it as can be found."""

    def __init__(self, runs: list[Run]) -> None:
        self._known = [(run, config) for run in runs if (config := _config(run)) is not None]

    def __call__(self, config: RunConfig) -> float | None:
        """Return the median seconds of the most similar finished runs, scaled to the epochs asked for; else None."""
        for like in LIKENESS:
            wanted = like(config)
            seconds = [
                run.seconds * config.train.epochs / max(1, other.train.epochs)
                for run, other in self._known
                if like(other) == wanted
            ]
            if seconds:
                return median(seconds)
        return None


LIKENESS: tuple[Callable[[RunConfig], tuple[object, ...]], ...] = (
    lambda c: (c.model.method, c.train.task, c.data.dataset, c.data.way, c.data.size, c.data.figures.n_train),
    lambda c: (c.model.method, c.train.task, c.data.way, c.data.size, c.data.figures.n_train),
    lambda c: (c.train.task, c.data.dataset, c.data.way, c.data.size, c.data.figures.n_train),
    lambda c: (c.train.task, c.data.size, c.data.figures.n_train),
)
"""What two runs have in common to take about equally long, the closest likeness first."""


def _config(run: Run) -> RunConfig | None:
    try:
        return run.config
    except UserError:
        return None


def print_plan(rows: list[Row], runner: Runner, jobs: int) -> None:
    """Print the plan of a call with `jobs` rows at a time."""
    planned = plan(rows, runner)
    number = 0
    for item in planned:
        index = "" if item.row.key is None else str(number)
        number += item.row.key is not None
        minutes = "" if item.state == "not run" else "?" if item.seconds is None else f"{item.seconds / 60:.1f} min"
        tail = f"  {item.row.reason}" if item.row.reason else ""
        runner.tell(f"{index:>4s}  {item.state:8s}{minutes:>9s}  {item.row.name}{tail}")
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
    elif due:
        runner.tell("no run of this kind has finished here yet, so there is no estimate; oshp-lite doctor measures one")
