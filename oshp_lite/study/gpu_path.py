"""The researcher's path: what Table 2 on ATR takes with one GPU, from the download to the table, for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oshp_lite.data.prepare import raw
from oshp_lite.study import forecast
from oshp_lite.study.cluster import SPARE, gpu_memory
from oshp_lite.study.experiments import METHODS, runs_of
from oshp_lite.study.plan import Finder, Row, blockers, rows_of
from oshp_lite.study.weights import COCO, external_weights

PROFILE, TABLE = "paper", "eopnet2"


@dataclass(frozen=True)
class Item:
    """A method in one way: its rows of the two folds, the hours of each (None: unknown) and the GiB of one."""

    label: str
    way: str
    rows: Sequence[int]
    hours: Sequence[float | None]
    memory: float | None
    done: int


def guide(finder: Finder) -> dict[str, Any]:
    """Return what the page shows: rows with hours and GiB, where the pace is from, what this machine lacks."""
    rows = [row for row in rows_of(runs_of(TABLE, PROFILE), PROFILE, data=finder.data) if row.key]
    pace = forecast.pace("cuda")
    items = [_item(group, pace, finder) for group in _by_method_and_way(rows)]
    hours, unknown = forecast.total([one for item in items for one in item.hours])
    lacking: dict[str, list[str]] = {}
    for row in rows:
        assert row.key is not None
        for reason in blockers(row.key, row.config, finder.data):
            lacking.setdefault(reason, []).append(METHODS[row.key.method].label)
    longest = max((one for item in items for one in item.hours if one), default=0.0)
    fit = [item.memory for item in items if item.memory]
    return {
        "items": items,
        "rows": len(rows),
        "hours": hours,
        "unknown": unknown,
        "memory": max(fit, default=0.0),
        "limit": math.ceil(SPARE * longest),
        "pace": pace,
        "classes": forecast.CLASSES,
        "lacking": {reason: _listed(names, len(rows)) for reason, names in lacking.items()},
        "weights": external_weights(),
        "source": raw.ATR.source,
        "coco": COCO,
        "command": f"oshp-lite matrix --profile {PROFILE} --exhibits {TABLE}",
    }


def _by_method_and_way(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        assert row.key is not None
        groups.setdefault((row.key.method, row.key.way), []).append(row)
    return list(groups.values())


def _item(rows: Sequence[Row], pace: forecast.Pace | None, finder: Finder) -> Item:
    key, works = rows[0].key, [forecast.work_of(row.config) for row in rows]
    assert key is not None
    hours = [work.seconds(pace) / 3600 if work and pace else None for work in works]
    memory = gpu_memory(works[0])
    done = sum(finder.find(row.config) is not None for row in rows)
    return Item(METHODS[key.method].label, key.way, [row.index for row in rows], hours, memory, done)


def _listed(names: Sequence[str], rows: int) -> str:
    """Say which methods' rows a blocker is about."""
    return f"all {rows} rows" if len(names) == rows else f"{len(names)} rows: {', '.join(dict.fromkeys(names))}"
