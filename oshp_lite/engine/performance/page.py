"""The page of the benchmark's figures, made of the records that `oshp-lite bench --json` keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from oshp_lite.errors import UserError
from oshp_lite.files import read_bytes, read_json, write_atomic

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
HEADS = ("path", "form", "ms [quartiles]", "over reference", "of floor", "GMAC", "GMAC/s", "MiB added")


class Target(NamedTuple):
    """A target of the project: which row of the figures, the least speed-up and the most of the floor's time."""

    label: str
    path: str
    name: str
    faster: float | None = None
    floor: float | None = None


TARGETS = (
    Target("inference float32, new support each query", "new support", "float32", 5, 1.25),
    Target("the same in bf16", "new support", "bf16", 9, 1.35),
    Target("inference float32, support kept, stream of queries", "same support", "float32", 9, 1.25),
    Target("training step, variant `official`", "training step", "official", 1.5),
    Target("training step, variant `paper`", "training step", "paper", 2.5),
    Target("scoring, beside the network's time", "counting pixels", "confusion matrix", None, 0.1),
    Target("loading a batch, beside a step (four workers)", "loading a batch", "cached", None, 4),
)


def as_rows(figures: list[dict[str, Any]]) -> list[list[str]]:
    """The figures as cells under HEADS."""

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else form.format(value)

    return [
        [
            one["path"],
            one["name"],
            f"{1000 * one['seconds']:.3g} [{1000 * one['low']:.3g}, {1000 * one['high']:.3g}]",
            cell(one["speedup"], "{:.1f}x"),
            cell(one["above_floor"], "{:.2f}x"),
            cell(one["gmac"], "{:.1f}"),
            cell(one["gmac"] and one["gmac"] / one["seconds"], "{:.0f}"),
            cell(one["memory"], "{:.0f}"),
        ]
        for one in figures
    ]


def _met(target: Target, figures: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """A target's row: what is aimed at, what was measured. A form that was not measured is *not run*."""
    made = figures.get((target.path, target.name))
    cells = [target.label]
    for aim, sign, key, form in (
        (target.faster, ">=", "speedup", "{:.1f}x"),
        (target.floor, "<=", "above_floor", "{:.2f}x"),
    ):
        got = None if made is None else made[key]
        cells += [
            f"{sign} {form.format(aim)}" if aim else "-",
            "-" if not aim else form.format(got) if got else "*not run*",
        ]
    return cells


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(heads), ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of records by file name: the machine, the targets, every figure. UserError for a foreign one."""
    parts = []
    for file, record in records.items():
        try:
            where, figures = record["provenance"], record["figures"]
            by_name = {(one["path"], one["name"]): one for one in figures}
            libraries = ", ".join(f"{name} {where['libraries'][name]}" for name in ("torch", "numpy"))
            parts += [f"## {where['device']}, size {record['size']}"]
            parts += [
                f"`{file}`: {where['date'][:10]}, {where['threads']} threads, Python {where['python']}, {libraries}, "
                f"code {where['code']}; medians of {record['rounds']} rounds, everything compared in turn."
            ]
            if record["size"] == "paper":
                rows = [_met(target, by_name) for target in TARGETS]
                parts += [_table(("target", "over reference", "measured", "of floor", "measured"), rows)]
            parts += [_table(HEADS, as_rows(figures))]
        except (KeyError, TypeError):
            raise UserError(f"{file} is no record of `oshp-lite bench --json`; measure anew or move it away") from None
    if not any("cuda" in str(record.get("place")) for record in records.values()):
        parts += ["One GPU: *not run*: needs a GPU (`oshp-lite bench --what all --device cuda --json ...`)."]
    return "\n\n".join(parts)


def write_page(kept: Path) -> Path:
    """Write the tables of a record, and of the records beside it whose names begin alike, into a page; returns it.

    `performance.json` and `performance-cuda.json` make `performance.md`. What stands outside the marks stays.
    """
    stem = kept.stem.partition("-")[0]
    page = kept.with_name(f"{stem}.md")
    files = [path for path in sorted(kept.parent.glob(f"{stem}*.json")) if path.stem.partition("-")[0] == stem]
    made = f"{BEGIN}\n\n{tables({path.name: read_json(path) for path in files})}\n\n{END}"
    text = f"# Performance\n\n{BEGIN}{END}\n"
    if page.is_file():
        text = read_bytes(page).decode("utf-8")
        if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
            raise UserError(f"{page} lacks the marks {BEGIN} and {END}; put them where the tables belong")
    before, _, rest = text.partition(BEGIN)
    write_atomic(page, f"{before}{made}{rest.partition(END)[2]}".encode())
    return page
