"""What the views of all interactive figures share: an image that follows its controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def follow(state: Any, controls: Mapping[str, Any], draw: Callable[[], bytes]) -> Any:
    """Return an ipywidgets VBox: the controls, and a picture that is drawn anew when one of them moves.

    state     the figure's state; a control's value is written to the attribute of its name
    controls  attribute name -> ipywidgets control with a `value`
    draw      returns PNG bytes for the present state
    """
    widgets = import_module("ipywidgets")
    picture = widgets.Image(value=draw(), format="png")

    def moved(name: str) -> Callable[[Any], None]:
        def react(change: Any) -> None:
            setattr(state, name, change["new"])
            picture.value = draw()

        return react

    for name, control in controls.items():
        control.observe(moved(name), names="value")
    return widgets.VBox([widgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"}), picture])
