"""The command line: `oshp-lite COMMAND`. It parses, calls and prints; the work is done on the floors below."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from oshp_lite import __version__
from oshp_lite.errors import UserError

COMMANDS = {
    "data": "draw procedural people; verify a dataset",
    "train": "train and evaluate one configuration (or find its finished run)",
    "evaluate": "score a run, a weights file or a trivial baseline",
    "parse": "cut classes out of a photo, given one photo with a mask",
    "reproduce": "execute the notebooks of a profile and write its report",
    "tune": "try settings of every method on held-out base classes",
    "matrix": "make, list or keep every run behind the tables and figures",
    "report": "write the report again from what is there",
    "doctor": "what is installed, which data are found, what this machine can run",
    "bench": "measure the generator's or the model's speed; the GPU check",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print `error: ...` and leave with 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _parser() -> Parser:
    parser = Parser(prog="oshp-lite", description="One-shot human parsing: data, training, evaluation, reproduction.")
    parser.add_argument("--version", action="version", version=f"oshp-lite {__version__}")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of the commands below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.epilog = "commands:\n" + "\n".join(f"  {name:10s} {text}" for name, text in COMMANDS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "oshp-lite [--version] COMMAND ..."
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0; 1 when something failed that the output tells; 2 for bad input; 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    # each command is a module with `options(parser)` and `run(options)`; only the chosen one is loaded
    command = import_module(f"oshp_lite.cli.{options.command}")
    parser = Parser(prog=f"oshp-lite {options.command}", description=COMMANDS[options.command])
    command.options(parser)
    chosen = parser.parse_args(options.rest)
    try:
        return int(command.run(chosen) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader (head, less) left; nothing more to say, and the interpreter must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
