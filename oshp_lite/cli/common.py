"""What the commands share: the types of their options, the refusal of options without effect, and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.study.plan import Finder


def number(least: float, metavar: str, help: str | None = None, kind: Callable[[str], float] = int) -> Any:
    """Return an option that takes a whole number from `least` on (`kind` float: any number, but not nan or inf)."""

    def parser(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            words = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(f"takes {words}, at least {least:g}, not {text!r}")
        return value

    return typer.Option(parser=parser, metavar=metavar, help=help)


def words(metavar: str, help: str, *names: str) -> Any:
    """Return an option that may be given several times; none given is an empty list."""
    return typer.Option(*names, metavar=metavar, help=help, default_factory=list, show_default=False)


def _steps(text: str) -> list[str]:
    """Read the words of --steps; whether there are such steps is for the matrix to say."""
    names = text.replace(",", " ").split()
    if not names:
        raise typer.BadParameter("names no step; say --steps a,b or leave it out for all")
    return names


Count = Annotated[int, number(1, "N")]
Seconds = Annotated[float, number(0, "N", "seconds per measurement", float)]
Minutes = Annotated[float | None, number(0, "N", "stop after N minutes", float)]
Data = Annotated[str | None, typer.Option(metavar="ROOT", help="folder of datasets (default: OSHP_DATA or data/)")]
Runs = Annotated[str | None, typer.Option(metavar="DIR", help="folder of runs (default: OSHP_RUNS or runs/)")]
Reports = Annotated[str | None, typer.Option(metavar="DIR", help="reports (default: OSHP_REPORTS or reports/)")]
Profile = Annotated[str, typer.Option(help="smoke, quick, lite, gpu or paper")]
Dataset = Annotated[str | None, typer.Option(help=", ".join(DATASETS))]
Fold = Annotated[int | None, number(1, "N", "1 or 2")]
Way = Annotated[Literal["k", "1"] | None, typer.Option(help="k-way or 1-way")]
Method = Annotated[str | None, typer.Option(help="a registered method (default: eopnet)")]
Seed = Annotated[int | None, number(0, "N")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")]
Settings = Annotated[list[str], words("A.B=VALUE", "any other setting, e.g. train.epochs=5", "--set")]
Steps = Annotated[Any, typer.Option(parser=_steps, metavar="A,B", help="only these steps of the study (see --dry-run)")]
Only = Annotated[list[str], words("METHOD ...", "only these methods")]
Labels = Annotated[Literal["atr", "lip", "cihp"] | None, typer.Option(help="a released checkpoint's label space")]
Fresh = Annotated[bool, typer.Option("--fresh", help="train again even if a run exists (repairs a damaged one)")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress bar")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="list what would be made and what is finished")]


def chosen_config(params: Mapping[str, Any]) -> RunConfig:
    """The configuration that a command's options describe. Raises UserError for unknown names and values."""
    from oshp_lite.engine.presets import load_profile

    names = ("data.fold", "model.method", "train.seed", "train.device", "train.minutes")
    given = {name: params.get(name.partition(".")[2]) for name in names}
    settings = [*(f"{name}={value}" for name, value in given.items() if value is not None), *params["set"]]
    chosen = {name: params.get(name) for name in ("dataset", "way", "task")}
    return load_profile(params["profile"], settings, **chosen)


def run_store(runs: str | None) -> RunStore:
    """The runs in the folder that --runs names."""
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.files import runs_root

    return RunStore(runs_root(runs))


def finder(data: str | None, runs: str | None, *, looks_only: bool = False) -> Finder:
    """The study's finder of runs in the folders that --data and --runs name; for a look alone it opens each once."""
    from oshp_lite.engine.opened import OpenedOnce
    from oshp_lite.study.plan import Finder

    store = run_store(runs)
    return Finder(OpenedOnce(store.root) if looks_only else store, data)


def takes_only(context: typer.Context, names: str, why: str) -> None:
    """Raise UserError for an option that was given although the chosen action, which uses `names`, ignores it."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE" and parameter.name not in names.split():
            raise UserError(f"{why}; it takes no {parameter.opts[0]}, leave that out")


def settings_only(settings: Iterable[str], prefixes: Sequence[str], why: str) -> None:
    """Raise UserError for a --set of a part of the configuration that the chosen action ignores."""
    for setting in settings:
        if not setting.startswith(tuple(prefixes)):
            raise UserError(f"{why}; it takes no --set {setting}, leave that out")


def print_table(rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> None:
    """Print rows as an aligned table, numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if header else None, show_header=bool(header), show_edge=False, pad_edge=False)
    for column in range(len(header) or max(map(len, rows), default=0)):
        right = any(isinstance(row[column], int | float) for row in rows)
        table.add_column(header[column] if header else "", justify="right" if right else "left")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000  # a file or another program gets whole lines
    console.print(table)
