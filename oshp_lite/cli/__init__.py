"""The command line: `oshp-lite COMMAND`. It parses, calls and prints; the work is done by the packages below."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated, Any, cast

import typer

from oshp_lite import __version__
from oshp_lite.cli import bench, book, data, doctor, evaluate, export, instance, parse, study, train
from oshp_lite.errors import UserError

LISTS = ("--only", "--datasets", "--classes", "--names")
"""Options that take every word up to the next option; typer itself knows only one word an option."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"oshp-lite {__version__}")
        raise typer.Exit


@app.callback(help="One-shot human parsing: data, training, evaluation, reproduction.")
def _oshp_lite(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


app.add_typer(data.app, name="data")
COMMANDS = (
    train.train,
    evaluate.evaluate,
    parse.parse,
    export.export,
    study.reproduce,
    train.tune,
    study.matrix,
    study.report,
)
for function in (*COMMANDS, book.book, instance.score_instances, instance.score_crowds, doctor.doctor, bench.bench):
    app.command()(cast(Callable[..., Any], function))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0; 1 when something failed that the output names; 2 for bad input; 130 for Ctrl-C."""
    usage_error: Any = typer.BadParameter.__mro__[1]  # from typer's own copy of click, or the installed one
    command, words = typer.main.get_command(app), _spread(sys.argv[1:] if arguments is None else arguments)
    try:
        with _company(words) as leads:
            if not leads:
                return 0
            with command.make_context("oshp-lite", words) as context:
                return int(command.invoke(context) or 0)
    except typer.Exit as leave:  # --help, --version
        return leave.exit_code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader (head, less) left, and the interpreter must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {str(error.strerror).lower()}; check the path", file=sys.stderr)
        return 2
    except usage_error as error:
        where = error.ctx.command_path if error.ctx else "oshp-lite"
        sentence = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        print(f"error: {sentence}; see {where} --help", file=sys.stderr)
        return 2


@contextmanager
def _company(words: Sequence[str]) -> Iterator[bool]:
    """Share the command with the processes that torchrun has started, if it has; yields whether this one leads."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    from oshp_lite.engine.distributed import company

    if [*words[:1]] not in (["train"], ["evaluate"]):
        raise UserError("torchrun starts several processes, which only the commands train and evaluate share")
    with company() as leads:
        yield leads


def _spread(words: Sequence[str]) -> list[str]:
    """`--only a b` as `--only a --only b`."""
    spread: list[str] = []
    option = ""
    for before, word in pairwise(["", *words]):
        if word.startswith("--"):
            option = word if word in LISTS else ""
        elif option and before != option:
            spread.append(option)
        spread.append(word)
    return spread
