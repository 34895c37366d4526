"""The part of an explorer that runs in the browser: what is handed to it, as a widget or as a page without a kernel.

Each explorer's drawing is one file of `js/`, a function `explore(root, data, model)` behind the shared `kit.js`. As a
widget it is an anywidget, whose traits are the model; in a page the model is a plain object with the same methods.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from functools import cache
from importlib import import_module, resources
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, sha256_json

LARGEST = 400_000
"""Bytes that a page without a kernel may have."""


def packed(values: Tensor | NDArray[Any]) -> str:
    """Return whole numbers in 0..255 as base64 bytes, and floats in [-1,1] as signed bytes, in 127ths."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    signed = array.dtype.kind == "f"
    small = np.rint(np.clip(array, -1, 1) * 127).astype(np.int8) if signed else array.astype(np.uint8)
    return base64.b64encode(np.ascontiguousarray(small).tobytes()).decode()


def runs(mask: Tensor | NDArray[Any]) -> str:
    """Return a mask of ids 0..255, read row by row, as base64 of (id, length) pairs of bytes."""
    flat = np.asarray(mask).astype(np.uint8).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0].astype(int) - 1))
    lengths = np.diff(starts, append=flat.size)
    parts = -(-lengths // 255)  # a length is a byte
    pairs = np.stack([np.repeat(flat[starts], parts), np.full(parts.sum(), 255)], 1).astype(np.uint8)
    pairs[parts.cumsum() - 1, 1] = lengths - 255 * (parts - 1)
    return base64.b64encode(pairs.tobytes()).decode()


def data_uri(jpeg: bytes) -> str:
    """Return JPEG bytes as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def jpeg_uri(picture: NDArray[np.uint8], quality: int = 76) -> str:
    """Return a picture uint8 [H,W,3] as a data URI."""
    return data_uri(encode_jpeg(picture, quality))


@cache
def ramp(name: str) -> str:
    """Return 64 colours of one of Matplotlib's maps as base64 bytes, red, green, blue after one another."""
    return packed(np.rint(matplotlib.colormaps[name](np.linspace(0, 1, 64))[:, :3] * 255).astype(np.uint8))


@cache
def script(name: str) -> str:
    """Return the JavaScript of an explorer, the shared kit before it."""
    folder = resources.files("oshp_lite.book.widgets") / "js"
    return "".join((folder / f"{part}.js").read_text(encoding="utf-8") for part in ("kit", name))


def fragment(name: str, payload: Mapping[str, Any], values: Mapping[str, Any], picture: bytes, title: str) -> str:
    """Return an explorer as HTML that needs no kernel and no network, to stand in an output or a page.

    picture  JPEG bytes that stand in its place where scripts do not run; title: their text alternative

    Raises UserError when it would exceed `LARGEST`; take fewer or smaller photos then.
    """
    key = f"{name}-{sha256_json([payload, values])[:12]}"
    content = json.dumps({"data": payload, "values": values}, separators=(",", ":")).replace("<", "\\u003c")
    made = (
        f'<div class="oshp-explorer" data-explorer="{key}">'
        f'<img src="{data_uri(picture)}" alt="{html.escape(title, quote=True)}" style="max-width:100%">'
        f'<script type="application/json">{content}</script></div>\n'
        f"<script>(() => {{\n{script(name)}\nlaunch({json.dumps(key)}, explore);\n}})();</script>\n"
    )
    if len(made.encode()) > LARGEST:
        raise UserError(f"this explorer takes {len(made) // 1000} kB, more than {LARGEST // 1000}; show fewer photos")
    return made


def page(body: str, title: str) -> str:
    """Return a whole HTML page around a fragment."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    look = "body{font-family:system-ui,sans-serif;margin:1rem auto;max-width:60rem;padding:0 .6rem}"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{html.escape(title)}</title><style>{look}</style></head>'
        f"<body>\n{body}</body></html>\n"
    )


def component(name: str, payload: Mapping[str, Any], values: Mapping[str, Any], title: str) -> Any:
    """Return the anywidget of an explorer: trait `payload` is JSON text, and each of `values` is a trait of its own."""
    return component_class(name, tuple(sorted(values)))(payload=json.dumps(payload), title=title, **values)


@cache
def component_class(name: str, fields: tuple[str, ...]) -> type:
    """Make the anywidget class of an explorer with these synchronised fields."""
    anywidget, traitlets = import_module("anywidget"), import_module("traitlets")
    traits: dict[str, Any] = {field: traitlets.Any().tag(sync=True) for field in fields}
    traits |= {one: traitlets.Unicode("").tag(sync=True) for one in ("payload", "title")}
    return type(
        name.title(), (anywidget.AnyWidget,), {"_esm": f"{script(name)}\nexport default widget(explore);", **traits}
    )
