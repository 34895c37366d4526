"""The page of the benchmark's figures, made of the records that `oshp-lite bench --json` keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from oshp_lite.errors import UserError
from oshp_lite.files import read_bytes, read_json, write_atomic

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
HEADS = ("path", "form", "ms [quartiles]", "over reference", "of floor", "GMAC", "GMAC/s", "MiB added", "mIoU off")
TARGET_HEADS = ("path", "target", "measured", "reached", "record")
NOTE = (
    "Ratios within one run. Reference: the released code's loops on the same weights. Floor: the encoder alone, on the "
    "photos that must be encoded."
)
NOT_MEASURED, NO_GPU = "*not measured*", "*not run: needs a GPU*"

Figures = Mapping[tuple[str, str], Mapping[str, Any]]


class Aim(NamedTuple):
    """A number that a target is about: a figure's row and entry, the bound that it must keep, and what it means.

    Entry "memory" is taken relative to the path's reference, "rate" (multiply-accumulates a second) to its matrix
    product, "points" are points of mIoU.
    """

    path: str
    name: str
    entry: str
    bound: float
    means: str

    @property
    def least(self) -> bool:
        """Whether the number must be at least the bound; else at most."""
        return self.entry in ("speedup", "rate")

    def words(self, value: float) -> str:
        """A value of the number."""
        if self.entry == "points":
            return f"{value:.2f} points of mIoU"
        if self.entry == "rate" or self.means.endswith("time"):
            return f"{100 * value:.3g} %"
        return f"{value:.1f}x" if self.least else f"{value:.2f}x"

    def value(self, figures: Figures) -> float | None:
        """The number in some figures; None where it was not measured."""
        other = "matrix product" if self.entry == "rate" else "reference"
        made, plain = figures.get((self.path, self.name)), figures.get((self.path, other))
        if made is None or self.entry in ("speedup", "above_floor", "points"):
            return None if made is None else made.get(self.entry)
        values = [_rate(one) if self.entry == "rate" else one["memory"] for one in (made, plain) if one]
        return values[0] / values[1] if len(values) == 2 and all(values) else None


def _rate(figure: Mapping[str, Any]) -> float:
    return (figure["gmac"] or 0.0) / figure["seconds"]


def _speed(path: str, name: str, bound: float, means: str = "reference") -> Aim:
    return Aim(path, name, "speedup", bound, means)


def _floor(path: str, name: str, bound: float, means: str = "floor") -> Aim:
    return Aim(path, name, "above_floor", bound, means)


class Target(NamedTuple):
    """A row of the project's targets: what is timed, at which size and on which kind of device, and its numbers."""

    label: str
    aims: tuple[Aim, ...]
    size: str = "paper"
    place: str = "cpu"


TARGETS = (
    Target(
        "inference float32, new support each query",
        (_speed("new support", "float32", 5), _floor("new support", "float32", 1.25)),
    ),
    Target(
        "the same in bf16 where the CPU has it",
        (
            _speed("new support", "bf16", 9),
            _floor("new support", "bf16", 1.35),
            Aim("test pair, shipped", "bf16", "points", 0.1, "off float32's scores (shipped lite network)"),
        ),
    ),
    Target(
        "inference float32, support cached, stream of queries",
        (_speed("same support", "float32", 9), _floor("same support", "float32", 1.25)),
    ),
    Target(
        "training step, batch 2, float32, CPU",
        (
            _speed("training step", "official", 1.5, "reference, `official`"),
            _speed("training step", "paper", 2.5, "reference, `paper`"),
        ),
    ),
    Target(
        "training step on one GPU, bf16",
        (
            _speed("training step", "bf16", 4, "reference in float32 on that GPU"),
            Aim("encoder in training", "bf16", "rate", 0.4, "of that GPU's matrix rate by the encoder"),
        ),
        place="cuda",
    ),
    Target(
        "peak memory of a training step",
        (
            Aim("training step", "official", "memory", 0.6, "reference, `official`"),
            Aim("training step", "paper", "memory", 0.6, "reference, `paper`"),
        ),
    ),
    Target(
        "lite: a training step, an evaluation pair, an initialisation step (the day's code: `.ci/first_edition.py`)",
        tuple(
            _speed(f"lite, {what}", "ours", 1.5, f"the day's code, {what}")
            for what in ("training step", "evaluation pair", "initialisation step")
        ),
        size="lite",
    ),
    Target(
        "evaluation: everything but the network",
        (_floor("evaluation", "around the network", 0.1, "of the network's time"),),
        size="",
    ),
    Target(
        "data loading: a batch by one of 4 workers",
        (_floor("loading a batch", "cached", 4, "a training step, so that four keep up"),),
    ),
)
"""Section A of the issue on performance."""


def as_rows(figures: list[dict[str, Any]]) -> list[list[str]]:
    """The figures as cells under HEADS."""

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else form.format(value)

    def milliseconds(seconds: float) -> str:
        return f"{1000 * seconds:,.0f}" if seconds >= 0.1 else f"{1000 * seconds:.3g}"

    return [
        [
            one["path"],
            one["name"],
            f"{milliseconds(one['seconds'])} [{milliseconds(one['low'])}, {milliseconds(one['high'])}]",
            cell(one["speedup"], "{:.1f}x"),
            cell(one["above_floor"], "{:.2f}x"),
            cell(one["gmac"], "{:.1f}"),
            cell(one["gmac"] and one["gmac"] / one["seconds"], "{:.0f}"),
            cell(one["memory"], "{:.0f}"),
            cell(one.get("points"), "{:.2f}"),
        ]
        for one in figures
    ]


def _met(target: Target, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A target's row under TARGET_HEADS; each number is from the newest record of its size and device that has it."""
    newest = sorted(records.items(), key=lambda one: str(one[1]["provenance"]["date"]), reverse=True)
    fitting = [(file, one) for file, one in newest if _place(one) == target.place]
    aimed, measured, reached, files = list[str](), list[str](), list[str](), list[str]()
    for aim in target.aims:
        aimed += [f"{'>=' if aim.least else '<='} {aim.words(aim.bound)} {aim.means}"]
        sizes = {target.size, "paper", "lite"} if aim.entry == "points" or not target.size else {target.size}
        made = ((file, aim.value(_by_name(one))) for file, one in fitting if one["size"] in sizes)
        file, value = next(((file, value) for file, value in made if value is not None), ("", None))
        measured += [NOT_MEASURED if value is None else aim.words(value)]
        met = value is not None and (value >= aim.bound if aim.least else value <= aim.bound)
        reached += ["-" if value is None else "yes" if met else "no"]
        files += [f"`{file}`"] if file else []
    if not files:
        without = target.place == "cuda" and not any(_place(one) == "cuda" for one in records.values())
        measured, reached = [NO_GPU if without else NOT_MEASURED], ["-"]
    cells = ("; ".join(part) for part in (aimed, measured, reached))
    return [target.label, *cells, ", ".join(dict.fromkeys(files)) or "-"]


def _place(record: Mapping[str, Any]) -> str:
    return str(record["place"]).partition(":")[0]


def _by_name(record: Mapping[str, Any]) -> Figures:
    return {(one["path"], one["name"]): one for one in record["figures"]}


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(heads), ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of records by file name: the targets, then each record's machine and figures.

    UserError for a record that is none.
    """
    parts = []
    for file, record in records.items():
        try:
            where, figures = record["provenance"], record["figures"]
            libraries = ", ".join(f"{name} {where['libraries'][name]}" for name in ("torch", "numpy"))
            parts += [f"## {where['device']}, size {record['size']}"]
            parts += [
                f"`{file}`: {where['date'][:10]}, {where['threads']} threads, Python {where['python']}, {libraries}, "
                f"code {where['code']}; medians of {record['rounds']} rounds, everything compared in turn."
            ]
            parts += [_table(HEADS, as_rows(figures))]
        except (KeyError, TypeError):
            raise UserError(f"{file} is no record of `oshp-lite bench --json`; measure anew or move it away") from None
    targets = _table(TARGET_HEADS, [_met(target, records) for target in TARGETS])
    return "\n\n".join(["## Targets", NOTE, targets, *parts])


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
