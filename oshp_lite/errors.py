"""The one exception a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Bad input, in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and leaves with exit code 2; nothing is left half-written.
    """
