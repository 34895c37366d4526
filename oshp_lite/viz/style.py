"""One look for all figures, readable without colour; PNG bytes small enough to live in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.rcsetup import cycler
from PIL import Image

# The colours differ in lightness and every line has its own dash, so that curves stay apart in a grey print and for
# colour-blind readers.
INK = ("#1b1b3a", "#b3361e", "#1f78b4", "#e08e1b", "#5aa469", "#a8a8b8")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))

STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=INK) + cycler(linestyle=_DASHES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "image.cmap": "magma",
    "image.interpolation": "nearest",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def use_style() -> None:
    """Make the house style Matplotlib's default for the rest of the process (once, at a notebook's start)."""
    matplotlib.rcParams.update(STYLE)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style within a `with` block and leave Matplotlib's settings as they were."""
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, *, width: float = 3.0, height: float = 3.0, **options: Any
) -> tuple[Figure, np.ndarray[Any, Any]]:
    """A figure (no pyplot behind it) and its axes, an object array [rows, columns].

    width, height are inches of one cell; `options` go to `Figure.subplots`.
    """
    with style():
        layout = ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.05)
        figure = Figure(figsize=(width * columns, height * rows), layout=layout)
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def show_image(axes: Axes, picture: Any, title: str | None = None, **options: Any) -> Any:
    """Draw an image array on axes without ticks or frame; returns Matplotlib's image for a colour bar."""
    with style():
        drawn = axes.imshow(picture, **options)
        axes.set_axis_off()
        if title is not None:
            axes.set_title(title)
    return drawn


@contextmanager
def laid_out(figure: Figure, dpi: float) -> Iterator[None]:
    """Compute a figure's layout once, as at `dpi`, and keep it for all that is saved within the `with` block.

    Each `savefig` would compute it again, and draw the whole figure once more for that.
    """
    engine, before = figure.get_layout_engine(), figure.dpi
    figure.dpi = dpi
    try:
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine(None)
        yield
    finally:
        figure.dpi = before
        if engine is not None:
            figure.set_layout_engine(engine)


def fig_to_png(figure: Figure, dpi: int = 84, colours: int | None = 256) -> bytes:
    """Draw a figure into PNG bytes, at `dpi` pixels an inch.

    colours  size of the PNG's own palette (2..256): a photo then takes a third of the room; None keeps 24 bits
    """
    picture = _drawn(figure, dpi)
    packed = BytesIO()
    if colours is None:
        picture.save(packed, format="png")
    else:
        with_palette(picture, colours).save(packed, format="png", optimize=True)
    return packed.getvalue()


def _drawn(figure: Figure, dpi: float) -> Image.Image:
    """Draw a figure into an RGB picture, at `dpi` pixels an inch."""
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    buffer = BytesIO()
    with laid_out(figure, dpi):
        figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 0})
    with Image.open(buffer, formats=["PNG"]) as picture:
        return picture.convert("RGB")


def with_palette(picture: Image.Image, colours: int) -> Image.Image:
    """Reduce an RGB picture to a palette: the few most frequent colours as they are, the others drawn from the rest.

    Pillow would do the same pixel by pixel; a chart has few colours beside its pixels.
    """
    codes = np.asarray(picture).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    own, place, count = np.unique(codes, return_inverse=True, return_counts=True)
    shades = np.stack([own >> 16, own >> 8 & 255, own & 255], -1).astype(np.uint8)
    falling = np.argsort(-count, kind="stable")
    exact, rest = np.split(falling, [colours if len(own) <= colours else 1 + colours // 32])
    entry, palette = np.zeros(len(own), np.uint8), shades[exact]
    entry[exact] = np.arange(len(exact))
    if len(rest):
        # Maximum coverage keeps the few pixels of a legend in their own colours; the mean-seeking methods do not.
        strip = Image.fromarray(shades[rest][None]).quantize(colours - len(exact), Image.Quantize.MAXCOVERAGE, 1)
        entry[rest] = len(exact) + np.asarray(strip)[0]
        palette = np.concatenate([palette, np.asarray(strip.getpalette(), np.uint8).reshape(-1, 3)])[:colours]
    reduced = Image.fromarray(entry[place].reshape(codes.shape), "P")
    reduced.putpalette(palette.tobytes())
    return reduced


def holds_photos(figure: Figure) -> bool:
    """Return whether some panel shows an image in colours of its own rather than a colour map's."""
    arrays = (image.get_array() for axes in figure.axes for image in axes.images)
    return any(array is not None and array.ndim == 3 for array in arrays)


def fig_to_jpeg(figure: Figure, dpi: int = 150, quality: int = 90) -> bytes:
    """Draw a figure into JPEG bytes, at `dpi` pixels an inch; photos then keep their colours in little room."""
    packed = BytesIO()
    # Full colour resolution: thin coloured lines and letters would fray otherwise.
    how = {"quality": quality, "subsampling": 0, "optimize": True, "progressive": True}
    _drawn(figure, dpi).save(packed, format="jpeg", **how)
    return packed.getvalue()


class Picture:
    """A finished PNG or JPEG that a notebook shows when it is a cell's last expression; its text is the description.

    width  pixels that it takes on the page, if not its own: half of them make a sharp picture on a dense screen
    """

    def __init__(self, picture: bytes, description: str = "figure", width: int | None = None) -> None:
        self.picture, self.description, self.width = picture, description, width

    def _as(self, mark: bytes) -> Any:
        if not self.picture.startswith(mark):
            return None
        return self.picture if self.width is None else (self.picture, {"width": self.width})

    def _repr_png_(self) -> Any:
        return self._as(b"\x89PNG")

    def _repr_jpeg_(self) -> Any:
        return self._as(b"\xff\xd8")

    def __repr__(self) -> str:
        return f"<{self.description}>"


def picture_of(figure: Figure, description: str = "figure", dpi: int = 150) -> Picture:
    """Draw a figure for a page: a JPEG where it shows photos, else a PNG with a palette; 100 pixels an inch wide."""
    made = fig_to_jpeg(figure, dpi) if holds_photos(figure) else fig_to_png(figure, dpi)
    return Picture(made, description, round(100 * figure.get_figwidth()))


def show(figure: Figure, description: str = "figure", dpi: int = 150) -> None:
    """Display a figure in the running notebook, small enough to be committed; prints the description elsewhere."""
    image = picture_of(figure, description, dpi)
    try:
        # IPython belongs to the notebooks' extra, not to the package's requirements.
        display = import_module("IPython.display").display
    except ImportError:
        display = print
    display(image)
