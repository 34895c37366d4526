"""The one exception a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Bad input, described in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and leaves with `exit_code`; nothing is left half-written.
    """

    exit_code = 2
