"""What a notebook holds of an explorer: the widget where a kernel is live, else its picture or its page."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from oshp_lite.book.widgets.browser import component, fragment, page
from oshp_lite.book.widgets.canvas import encoded
from oshp_lite.book.widgets.controls import follow
from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic


class State(Protocol):
    """What every explorer's state can do."""

    def draw(self) -> Figure:
        """Draw the present state."""

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""


class Explorer:
    """An explorer: `state` for scripts, `figure()` for a page, `widget` for a live notebook, `html()` for any browser.

    As the last expression of a cell it shows the widget, and leaves behind the page (or the picture) for readers who
    have no kernel.
    """

    def __init__(
        self, state: Any, title: str, widget: Callable[[], Any], html: Callable[[], str] | None = None
    ) -> None:
        self.state, self.title, self._widget, self._html = state, title, widget, html

    @cached_property
    def widget(self) -> Any:
        """The live view; needs ipywidgets (and anywidget)."""
        return self._widget()

    def figure(self) -> Figure:
        """Draw the present state."""
        figure: Figure = self.state.draw()
        return figure

    def html(self) -> str:
        """Return the explorer as HTML without a kernel. UserError for one that has no such form."""
        if self._html is None:
            raise UserError(f"the explorer {self.title!r} needs a kernel; save its figure instead")
        return self._html()

    def save(self, path: str | Path) -> None:
        """Write the explorer as a page of its own, which any browser opens. UserError as `html`."""
        write_atomic(path, page(self.html(), self.title).encode())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": f"<{self.title}>"}
        if self._html is not None:
            bundle["text/html"] = self._html()
        else:
            bundle["image/jpeg"] = base64.b64encode(encoded(self.figure(), quality=68)).decode()  # these get committed
        try:
            return {**self.widget._repr_mimebundle_(), **bundle}
        except ImportError:  # without the notebooks' extra the picture remains
            return bundle


def _jpeg(state: State) -> bytes:
    return encoded(state.draw())


def drawn_explorer(state: Any, title: str, controls: Callable[[Any], Mapping[str, Any]]) -> Explorer:
    """Make an explorer whose pictures Python draws; `controls(state)` gives an ipywidgets control for each field."""

    def widget() -> Any:
        how = {"offers": state.offers} if hasattr(state, "offers") else {}
        draw = partial(_jpeg, state)
        return follow(state, controls(state), draw, idle=state.idle, format="jpeg", label=title, **how)

    return Explorer(state, title, widget)


def browser_explorer(state: Any, name: str, title: str, controls: Callable[[Any], Mapping[str, Any]]) -> Explorer:
    """Make an explorer that the browser draws (`js/NAME.js`).

    The state gives `payload()` and `values()` and takes values back by `take`. `controls(state)` are ipywidgets
    controls by field for what needs the kernel, such as another photo; the state's `choose` takes their values.
    """

    def widget() -> Any:
        widgets = import_module("ipywidgets")
        view = component(name, state.payload(), state.values(), title)
        busy: list[bool] = []

        def to_state(change: Any) -> None:
            if not busy:
                state.take({change["name"]: change["new"]})

        def chosen(change: Any) -> None:
            state.choose(**{field: control.value for field, control in above.items()})
            busy.append(True)
            with view.hold_sync():
                view.payload = json.dumps(state.payload())
                for field, value in state.values().items():
                    setattr(view, field, value)
            busy.clear()

        above = dict(controls(state))
        view.observe(to_state, names=list(state.values()))
        for control in above.values():
            control.observe(chosen, names="value")
        row = widgets.HBox(list(above.values()), layout={"flex_flow": "row wrap"})
        return widgets.VBox([row, view] if above else [view])

    return Explorer(
        state,
        title,
        widget,
        lambda: fragment(name, state.payload(), state.values(), encoded(state.draw(), quality=65), title),
    )


def photo_controls(state: Any) -> dict[str, Any]:
    """Controls for the query and the support of a state that looks at a source, by number."""
    widgets = import_module("ipywidgets")
    look = {"layout": {"width": "11em"}, "style": {"description_width": "initial"}}
    limits = {"min": 0, "max": len(state.source) - 1}
    return {
        name: widgets.BoundedIntText(value=getattr(state, name), description=f"{name} photo", **limits, **look)
        for name in ("query", "support")
    }
