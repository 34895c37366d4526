"""What the views of all interactive figures share: an image that follows its controls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def follow(
    state: Any, controls: Mapping[str, Any], draw: Callable[[], bytes], idle: Callable[[], Collection[str]] = tuple
) -> Any:
    """Return an ipywidgets VBox: the controls in one grid, and a picture that is drawn anew when one of them moves.

    state     the figure's state; a control's value is written to the attribute of its name
    controls  attribute name -> ipywidgets control with a `value`
    draw      returns PNG bytes for the present state
    idle      names of the controls that have no effect in the present state; they are disabled
    """
    widgets = import_module("ipywidgets")
    picture = widgets.Image(value=draw(), format="png", layout={"max_width": "100%", "align_self": "flex-start"})

    def settle() -> None:
        still = idle()
        for name, control in controls.items():
            control.disabled = name in still

    def moved(name: str) -> Callable[[Any], None]:
        def react(change: Any) -> None:
            setattr(state, name, change["new"])
            settle()
            picture.value = draw()

        return react

    for name, control in controls.items():
        control.style = {"description_width": "9em"}
        control.layout = {"width": "26em"}
        control.observe(moved(name), names="value")
    settle()
    grid = {"grid_template_columns": "repeat(auto-fit, 26em)", "grid_gap": "2px 12px"}
    return widgets.VBox([widgets.GridBox(list(controls.values()), layout=grid), picture])
