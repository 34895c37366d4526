"""What every exercise shares: the verdict, the sign for "not attempted yet", and the frame around a checker.

A checker is a function `check_something(answer) -> Verdict`. It is written with the `checker` decorator, asks the
learner's function through `ask`, and says what is wrong by `require(condition, explanation)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor


class NotAttempted:
    """The type of `NOT_ATTEMPTED`, which a stub returns until the learner replaces it."""

    def __repr__(self) -> str:
        """Return the words a stub's value is shown by."""
        return "not attempted yet"

    def __bool__(self) -> bool:
        """Count as nothing in a condition."""
        return False


NOT_ATTEMPTED = NotAttempted()


@dataclass(frozen=True, repr=False)
class Verdict:
    """The outcome of a checker: `ok`, a sentence for the learner, and whether there was an answer at all."""

    ok: bool
    message: str
    attempted: bool = True

    def __repr__(self) -> str:
        """Return the line a notebook shows under the exercise."""
        if not self.attempted:
            return self.message
        return f"{'correct' if self.ok else 'not yet'}: {self.message}"


class Wrong(Exception):
    """Raised inside a checker with the explanation of a mistake."""


class _Untouched(Exception):
    """Raised inside a checker when the stub is still in place."""


def checker(check: Callable[[Any], str]) -> Callable[[Any], Verdict]:
    """Turn `check(answer) -> praise`, which raises `Wrong` for a mistake, into a function that returns a Verdict.

    A stub that still returns NOT_ATTEMPTED gets the verdict "not attempted yet" and never stops a notebook.
    """

    @wraps(check)
    def run(answer: Any) -> Verdict:
        try:
            if isinstance(answer, NotAttempted):
                raise _Untouched
            return Verdict(True, check(answer))
        except _Untouched:
            return Verdict(False, repr(NOT_ATTEMPTED), attempted=False)
        except Wrong as mistake:
            return Verdict(False, str(mistake))

    return run


def ask(answer: Any, *arguments: Any) -> Any:
    """Call the learner's function on copies of the arguments; its errors and empty answers become explanations."""
    if not callable(answer):
        raise Wrong(f"pass the function itself to the checker, not {type(answer).__name__}")
    copies = [value.clone() if isinstance(value, Tensor) else value for value in arguments]
    try:
        result = answer(*copies)
    except Exception as error:
        raise Wrong(f"your function stopped with {type(error).__name__}: {error}") from error
    if isinstance(result, NotAttempted):
        raise _Untouched
    if result is None:
        raise Wrong("your function returns nothing; is the `return` line missing?")
    return result


def require(condition: bool | Tensor, explanation: str) -> None:
    """Raise `Wrong(explanation)` unless the condition holds."""
    if not bool(condition):
        raise Wrong(explanation)


def tensor_of(value: Any, shape: Sequence[int], what: str = "the result") -> Tensor:
    """Return the learner's value as a float tensor of the given shape, or explain how it differs."""
    require(isinstance(value, Tensor), f"{what} must be a torch tensor, not {type(value).__name__}")
    require(
        tuple(value.shape) == tuple(shape),
        f"{what} has shape {list(value.shape)}, but {list(shape)} is asked for",
    )
    result: Tensor = value.detach().to(torch.float32)
    return result


def close(answer: Any, truth: Any, tolerance: float = 1e-5) -> bool:
    """Tell whether two tensors or numbers agree within `tolerance` (NaN agrees with nothing)."""
    left, right = (torch.as_tensor(value, dtype=torch.float64) for value in (answer, truth))
    return left.shape == right.shape and bool(torch.isclose(left, right, rtol=tolerance, atol=tolerance).all())
