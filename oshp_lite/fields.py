"""Checked configuration fields: the range stands in the dataclass field, the kind in its annotation."""

from __future__ import annotations

import math
import reprlib
import types
import typing
from collections.abc import Callable
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal

from oshp_lite.errors import UserError

MISFIT = object()
"""What `fitted` returns for a value that has no form of the wanted type."""
_NO_RANGE = (None, None, False, False)


def bounded(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: bool = False,
    below: bool = False,
    **metadata: Any,
) -> Any:
    """A dataclass field whose number lies in [low, high]; `above` leaves `low` itself out, `below` leaves `high` out.

    None as a bound means none. The range holds for every entry of a tuple and not for a value of None. Further
    keywords go into the field's metadata.
    """
    return field(default=default, metadata={**metadata, "range": (low, high, above, below)})


def check_fields(config: Any, prefix: str = "") -> None:
    """Check every field of a (frozen) dataclass against its annotation and range; call it in `__post_init__`.

    Values are brought into the annotated type where they have a form of it: lists become tuples, whole numbers floats,
    texts such as "1e-3" numbers. Raises UserError naming the first field that does not fit, after `prefix`.
    """
    hints = annotations_of(type(config))
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            continue
        fit = fitted(hints[item.name], value)
        if fit is MISFIT:
            demand = "be " + " or ".join(map(_described, _options_of(hints[item.name])))
        else:
            demand = "" if _in_range(item, fit) else _range(*item.metadata.get("range", _NO_RANGE))
        if demand:
            raise UserError(f"{prefix}{item.name} is {reprlib.repr(value if fit is MISFIT else fit)}; it must {demand}")
        object.__setattr__(config, item.name, fit)


def _in_range(item: Field[Any], value: Any) -> bool:
    """Whether a number, or every number of a tuple, is finite and inside the range of its field."""
    low, high, above, below = item.metadata.get("range", _NO_RANGE)
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, int | float) or isinstance(number, bool):
            continue
        under = low is not None and not (number > low if above else number >= low)
        over = high is not None and not (number < high if below else number <= high)
        if under or over or not math.isfinite(number):
            return False
    return True


def _range(low: float | None, high: float | None, above: bool, below: bool) -> str:
    if low is not None and high is not None:
        return f"lie in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
    return "be a finite number" if low is None else f"be {'above' if above else 'at least'} {low:g}"


annotations_of: Callable[[Any], dict[str, Any]] = cache(typing.get_type_hints)
"""The resolved annotations of a dataclass, by field."""


def _options_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself."""
    if type(hint) is type:
        return (hint,)
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def fitted(hint: Any, value: Any) -> Any:
    """Return `value` in the type that an annotation requires, or MISFIT."""
    return next((fit for option in _options_of(hint) if (fit := _fit_one(option, value)) is not MISFIT), MISFIT)


def _fit_one(option: Any, value: Any) -> Any:
    plain = type(option) is type  # most are, and asking `typing` takes longer than the rest
    origin, arguments = (None, ()) if plain else (typing.get_origin(option), typing.get_args(option))
    is_bool = isinstance(value, bool)
    if option is Any:
        return value
    if origin is Literal:
        if isinstance(value, int) and not is_bool and str(value) in arguments:
            return str(value)  # way: 1 in a YAML file means "1"
        return value if isinstance(value, str | int) and not is_bool and value in arguments else MISFIT
    if origin is tuple:
        return _fit_tuple(arguments, value)
    if option is float and isinstance(value, int | float | str) and not is_bool:
        try:
            return float(value)  # YAML reads 1e-3 as a text
        except (OverflowError, ValueError):
            return MISFIT
    kind = origin or option
    return value if isinstance(kind, type) and isinstance(value, kind) and not (option is int and is_bool) else MISFIT


def _fit_tuple(parts: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return MISFIT
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(value)
    entries = tuple(map(fitted, parts, value))
    return entries if len(parts) == len(value) and MISFIT not in entries else MISFIT


def _described(option: Any) -> str:
    """What an annotation requires, in words."""
    origin = typing.get_origin(option)
    if origin is Literal:
        return f"one of: {', '.join(map(str, typing.get_args(option)))}"
    kinds: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    kinds |= {type(None): "null", tuple: "a list of values", dict: "names and values"}
    return kinds.get(origin or option, str(option))
