"""What every exercise shares: the verdict, the sign for "not attempted yet", and the frame around a checker.

A checker is a function `check_something(attempt) -> Verdict` under the decorator `checker`. It calls the learner's
function through `call`, brings the result into form (`tensor_of`, `mask_of`, `number`, `numbers`), names typical
mistakes with `refuse` and says what else is wrong with `require`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial, wraps
from importlib import import_module
from traceback import format_exception
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.viz.style import Picture, picture_of

Array = NDArray[Any]
IN_PLACE = "you change the given array in place, but its owner still needs it; return a new one"


class NotAttempted:
    """The type of `NOT_ATTEMPTED`, which a stub returns until the learner replaces it."""

    def __repr__(self) -> str:
        """Return the words by which a stub's value is printed."""
        return "not attempted yet"

    def __bool__(self) -> bool:
        """Count as nothing in a condition."""
        return False


NOT_ATTEMPTED = NotAttempted()


@dataclass(frozen=True, repr=False)
class Verdict:
    """The outcome of a checker: `ok`, a sentence for the learner, and whether the stub was replaced at all.

    traceback  where the learner's own function stopped, if it did
    sketch     draws the learner's output, if the exercise has a picture
    """

    ok: bool
    message: str
    attempted: bool = True
    traceback: str = ""
    sketch: Callable[[], Figure] | None = None

    def __repr__(self) -> str:
        """Return the line that a notebook prints under the exercise."""
        if not self.attempted:
            return self.message
        line = f"{'correct' if self.ok else 'not yet'}: {self.message}"
        return f"{line}\n\n{self.traceback}" if self.traceback else line

    @cached_property
    def picture(self) -> Picture | None:
        """The learner's output, drawn when it is looked at; None when it has no drawable form."""
        try:
            return None if self.sketch is None else picture_of(self.sketch(), "your output")
        except Exception:  # a wrong attempt may return anything; the message explains it, a picture is no must
            return None

    def _ipython_display_(self) -> None:
        """Show the line and the picture; one of several `_repr_` forms would hide the others."""
        print(self)
        if self.picture is not None:
            import_module("IPython.display").display(self.picture)


class Wrong(Exception):
    """Raised inside a checker with the explanation of a mistake."""


class _Untouched(Exception):
    """Raised inside a checker when the stub is still in place."""


def checker(check: Callable[[Any], str], *, draw: Callable[[Any], Figure] | None = None) -> Callable[[Any], Verdict]:
    """Turn `check(attempt) -> praise`, which raises `Wrong` for a mistake, into a function that returns a Verdict.

    A stub that still returns NOT_ATTEMPTED gets the verdict "not attempted yet" and never stops a notebook.

    draw  `draw(attempt) -> figure` of the learner's output, right or wrong; a result that cannot be drawn is left out
    """

    def judge(attempt: Any) -> Verdict:
        try:
            if isinstance(attempt, NotAttempted):
                raise _Untouched
            verdict = Verdict(True, check(attempt))
        except _Untouched:
            return Verdict(False, repr(NOT_ATTEMPTED), attempted=False)
        except Wrong as mistake:
            verdict = Verdict(False, str(mistake), traceback=_own_lines(mistake.__cause__))
        return verdict if draw is None else replace(verdict, sketch=partial(draw, attempt))

    return wraps(check)(judge)


def drawn_checker(draw: Callable[[Any], Figure]) -> Callable[[Callable[[Any], str]], Callable[[Any], Verdict]]:
    """Decorate a checker as `checker` does, and show the learner's output as `draw(attempt)` draws it."""
    return lambda check: checker(check, draw=draw)


def _own_lines(error: BaseException | None) -> str:
    """Return the traceback of an error in the learner's function, without the checker's own lines."""
    if error is None:
        return ""
    lines = error.__traceback__
    while lines is not None and lines.tb_frame.f_code.co_filename == __file__:
        lines = lines.tb_next
    return "".join(format_exception(type(error), error, lines)).rstrip()


def call(attempt: Any, *arguments: Any) -> Any:
    """Call the learner's function on copies; its errors, empty results and changed arrays become explanations."""
    if not callable(attempt):
        raise Wrong(f"pass the function itself to the checker, not {type(attempt).__name__}")
    copies = deepcopy(arguments)
    try:
        result = attempt(*copies)
    except Exception as error:
        raise Wrong(f"your function stopped with {type(error).__name__}: {error}") from error
    if isinstance(result, NotAttempted):
        raise _Untouched
    if result is None:
        raise Wrong("your function returns nothing; is the `return` line missing?")
    arrays = ((old, new) for old, new in zip(arguments, copies, strict=True) if isinstance(old, np.ndarray))
    require(all(np.array_equal(old, new) for old, new in arrays), IN_PLACE)
    return result


def require(condition: bool | Tensor | np.bool_, explanation: str) -> None:
    """Raise `Wrong(explanation)` unless the condition holds."""
    if not bool(condition):
        raise Wrong(explanation)


def refuse(result: Any, *mistakes: tuple[Any, str], tolerance: float = 1e-5) -> None:
    """Raise `Wrong` with the explanation of the first (outcome, explanation) whose outcome equals the result."""
    for outcome, explanation in mistakes:
        require(not is_close(result, outcome, tolerance), explanation)


def same_ends(mine: Sequence[float], truth: Sequence[float], tolerance: float = 1e-5) -> None:
    """Raise `Wrong` with both intervals unless they agree."""
    right, wrong = (f"[{low:.4f}, {high:.4f}]" for low, high in (truth, mine))
    require(is_close(mine, truth, tolerance), f"the interval is {right}, not {wrong}")


def is_close(left: Any, right: Any, tolerance: float = 1e-5) -> bool:
    """Return whether tensors, arrays or numbers have one shape and agree within `tolerance` (NaN never agrees)."""
    a, b = (np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v, dtype=float) for v in (left, right))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance))


def _shaped(value: Any, kind: type, name: str, shape: Sequence[int], what: str) -> None:
    require(isinstance(value, kind), f"{what} must be {name}, not {type(value).__name__}")
    require(tuple(value.shape) == tuple(shape), f"{what} must have the shape {list(shape)}, not {list(value.shape)}")


def tensor_of(value: Any, shape: Sequence[int], what: str = "the result", dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the learner's tensor of the given shape, or explain how it differs.

    A dtype of integers must be the tensor's own (ids are int64); to float32 the tensor is converted.
    """
    _shaped(value, Tensor, "a torch tensor", shape, what)
    mine, wanted = (str(kind).removeprefix("torch.") for kind in (value.dtype, dtype))
    require(dtype.is_floating_point or mine == wanted, f"{what} must be {wanted}, not {mine}")
    return cast(Tensor, value.detach().to(dtype))


def mask_of(value: Any, shape: Sequence[int], what: str = "the mask", dtype: Any = None) -> Array:
    """Return the learner's mask as an integer array of the given shape (and dtype), or explain how it differs."""
    _shaped(value, np.ndarray, "a NumPy array", shape, what)
    require(value.dtype != bool, f"{what} holds class ids, not True and False")
    require(value.dtype.kind in "iu", f"{what} holds ids, which are whole numbers, not {value.dtype}")
    one_byte = f"{what} holds one byte per pixel ({np.dtype(dtype)}), not {value.dtype}; build it with the mask's dtype"
    require(dtype is None or value.dtype == dtype, one_byte)
    return np.asarray(value)


def number(value: Any, what: str = "the result", *, whole: bool = False) -> float:
    """Return the learner's value as a float, or explain what it is instead; `whole` accepts an int only."""
    require(isinstance(value, int) or not whole, f"{what} must be a whole number, not {type(value).__name__}")
    try:
        if np.ndim(value) == 0 and not isinstance(value, str):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise Wrong(f"{what} must be a number, not {type(value).__name__}")


def numbers(value: Any, what: str, count: int = 2) -> tuple[float, ...]:
    """Return the learner's `count` numbers as floats, or explain what came instead."""
    try:
        parts = tuple(value)
    except TypeError:
        parts = ()
    require(len(parts) == count, f"return {('two', 'three')[count - 2]} numbers: {what}")
    return tuple(number(part, f"number {place}") for place, part in enumerate(parts, 1))
