"""What the modules that run with `python -m` share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from oshp_lite.errors import UserError

Words = ParamSpec("Words")
BAD_INPUT = 2
"""The exit code of a command that refused its input."""


def exit_code(command: Callable[Words, int]) -> Callable[Words, int]:
    """Make a command print a UserError as one sentence on stderr and return 2, instead of raising it."""

    @wraps(command)
    def run(*words: Words.args, **named: Words.kwargs) -> int:
        try:
            return command(*words, **named)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return BAD_INPUT

    return run
