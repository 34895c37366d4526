"""Checked configuration fields: the range stands in the dataclass field, the kind in its annotation."""

from __future__ import annotations

import math
import reprlib
import types
import typing
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, cast

from oshp_lite.errors import UserError

MISFIT = object()
"""What `fitted` returns for a value that has no form of the wanted type."""


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
            options = " or ".join(described(option) for option in options_of(hints[item.name]))
            raise UserError(f"{prefix}{item.name} is {reprlib.repr(value)}; it must be {options}")
        check_range(item, fit, prefix)
        if fit is not value:
            object.__setattr__(config, item.name, fit)


def check_range(item: Field[Any], value: Any, prefix: str = "") -> None:
    """Raise UserError when a number is not finite or outside the range of its field."""
    low, high, above, below = item.metadata.get("range", (None, None, False, False))
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, int | float) or isinstance(number, bool):
            continue
        under = low is not None and not (number > low if above else number >= low)
        over = high is not None and not (number < high if below else number <= high)
        if under or over or not math.isfinite(number):
            raise UserError(f"{prefix}{item.name} is {reprlib.repr(value)}; {_range(low, high, above, below)}")


def _range(low: float | None, high: float | None, above: bool, below: bool) -> str:
    if low is not None and high is not None:
        return f"it must lie in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
    if low is not None:
        return f"it must be {'above' if above else 'at least'} {low:g}"
    if high is not None:
        return f"it must be {'below' if below else 'at most'} {high:g}"
    return "it must be a finite number"


def annotations_of(kind: type) -> dict[str, Any]:
    """The resolved annotations of a dataclass, by field."""
    return _annotations(cast(Any, kind))


_annotations = cache(typing.get_type_hints)


def options_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def fitted(hint: Any, value: Any) -> Any:
    """Return `value` in the type that an annotation asks for, or MISFIT."""
    for option in options_of(hint):
        fit = _fit_one(option, value)
        if fit is not MISFIT:
            return fit
    return MISFIT


def _fit_one(option: Any, value: Any) -> Any:
    origin = typing.get_origin(option)
    plain_number = isinstance(value, int | float) and not isinstance(value, bool)
    if option is Any:
        return value
    if option is type(None):
        return None if value is None else MISFIT
    if origin is Literal:
        choices = typing.get_args(option)
        if isinstance(value, int) and not isinstance(value, bool) and str(value) in choices:
            value = str(value)  # way: 1 in a YAML file means "1"
        return value if isinstance(value, str | int) and not isinstance(value, bool) and value in choices else MISFIT
    if origin is tuple:
        return _fit_tuple(typing.get_args(option), value)
    if option is float and (plain_number or isinstance(value, str)):
        try:
            return float(cast(float, value))  # YAML reads 1e-3 as a text
        except (OverflowError, ValueError):
            return MISFIT
    if option is int:
        return value if isinstance(value, int) and plain_number else MISFIT
    kind = origin or option
    return value if isinstance(kind, type) and isinstance(value, kind) else MISFIT


def _fit_tuple(parts: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return MISFIT
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = (parts[0],) * len(value)
    if len(parts) != len(value):
        return MISFIT
    entries = tuple(fitted(part, entry) for part, entry in zip(parts, value, strict=True))
    if any(entry is MISFIT for entry in entries):
        return MISFIT
    return value if entries == value and all(a is b for a, b in zip(entries, value, strict=True)) else entries


def described(option: Any) -> str:
    """What an annotation asks for, in words."""
    origin = typing.get_origin(option)
    if option is type(None):
        return "null"
    if origin is Literal:
        choices = ", ".join(str(choice) for choice in typing.get_args(option))
        return f"one of: {choices}"
    if origin is tuple:
        return "a list of values"
    kinds = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "names and values"}
    return kinds.get(origin or option, str(option))
