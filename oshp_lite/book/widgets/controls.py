"""What the views of explorers share: a picture that follows its controls, each with its label written out."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def nothing() -> set[str]:
    """Say that every control has an effect."""
    return set()


def unchanged() -> dict[str, list[Any]]:
    """Say that every control offers what it did at first."""
    return {}


def follow(
    state: Any,
    controls: Mapping[str, Any],
    draw: Callable[[], bytes],
    *,
    idle: Callable[[], Collection[str]] = nothing,
    offers: Callable[[], Mapping[str, list[Any]]] = unchanged,
    format: str = "png",
    label: str = "figure",
) -> Any:
    """Return an ipywidgets VBox: the controls, a picture that is drawn anew when one of them moves, and what it shows.

    state     the figure's state; a control's value is written to the attribute of its name
    controls  attribute name -> ipywidgets control with a `value`
    draw      returns the picture's bytes, of `format`, for the present state
    idle      names the controls without effect in the present state, which are disabled
    offers    gives the options of controls whose options depend on the state, by name
    label     says below the picture what it is
    """
    widgets = import_module("ipywidgets")
    # its own size at most, since a stretched picture is blurred; on a phone it scrolls, since a tiny one is unreadable
    look = {"max_width": "100%", "min_width": "40em", "width": "auto", "height": "auto", "object_fit": "contain"}
    look |= {"align_self": "flex-start"}
    picture = widgets.Image(value=draw(), format=format, layout=look)  # which cannot carry a text alternative itself

    busy: list[bool] = []

    def settle() -> None:
        off = idle()
        busy.append(True)
        for name, options in offers().items():
            if list(controls[name].options) != options:
                controls[name].options = options
        for name, control in controls.items():
            control.disabled = name in off
            if control.value != getattr(state, name):  # a value may pull others along, or have been out of range
                control.value = getattr(state, name)
        busy.clear()

    def moved(name: str) -> Callable[[Any], None]:
        def react(change: Any) -> None:
            if not busy:
                setattr(state, name, change["new"])
                picture.value = draw()  # which brings the state's numbers into range
                settle()

        return react

    for name, control in controls.items():
        if hasattr(control.style, "description_width"):
            control.style.description_width = "initial"
        control.layout.width = "auto"  # that of its column; the usual width of controls overlaps the next one
        control.observe(moved(name), names="value")
    settle()
    columns = {"grid_template_columns": "repeat(auto-fill, minmax(min(24em, 100%), 1fr))", "grid_gap": "2px 24px"}
    tools = widgets.GridBox(list(controls.values()), layout={**columns, "width": "100%"})
    below = widgets.HTML(html.escape(label))
    return widgets.VBox([tools, picture, below], layout={"align_items": "stretch", "overflow": "auto hidden"})
