"""Paint the classes of a support, see the query's parse follow, correct it, and use the corrected query as a support.

Three layers: strokes and canvases are plain arrays; `PaintState` is all that happens, without a widget; `painter_view`
is the anywidget view, in which strokes are drawn by the browser and sent once each, when the pointer is lifted.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, encode_png, write_together
from oshp_lite.predict import ParseOptions, Parser, PhotoParsing, read_photo
from oshp_lite.predict.exports import cutout
from oshp_lite.predict.parser import COLOURS

KINDS = ("lasso", "polygon", "brush", "erase")
MOST = 12
"""Classes that can be painted."""
SIDE = 1280
"""Longer side, in pixels, at which photos are painted and parsed: a phone's twelve megapixels are made smaller."""
MASK, RESULT = "support_mask.png", "result.png"


@dataclass(frozen=True)
class Stroke:
    """One stroke: its kind, the class id it paints (0 for erase), radius and points float [N,2] (x, y) in pixels."""

    kind: str
    class_id: int
    radius: float
    points: np.ndarray

    @classmethod
    def from_bytes(cls, sent: bytes) -> Stroke:
        """What the browser sends: float32 [serial, kind, class id, radius, x0, y0, ...]. ValueError for all else."""
        numbers = np.frombuffer(sent, "<f4")
        if (
            len(numbers) < 6
            or len(numbers) % 2
            or not np.isfinite(numbers).all()
            or numbers[1] not in range(len(KINDS))
        ):
            raise ValueError(f"{len(numbers)} numbers do not make a stroke")
        kind = KINDS[int(numbers[1])]
        points = numbers[4:].astype(np.float64).reshape(-1, 2)
        return cls(kind, 0 if kind == "erase" else int(numbers[2]), float(numbers[3]), points)

    def covers(self, size: tuple[int, int]) -> np.ndarray:
        """The pixels bool [H,W] whose centres lie inside the stroke."""
        if self.kind in ("lasso", "polygon"):
            return inside_polygon(self.points, size)
        return along(self.points, self.radius, size)


def inside_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie inside a closed polygon float [N,2] of x, y (even-odd rule): bool [H,W]."""
    flips = np.zeros((size[0], size[1] + 1), dtype=np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = sorted((y0, y1))
        rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(size[0], int(np.ceil(high - 0.5))))
        crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossing - 0.5), 0, size[1]).astype(int)
        np.add.at(flips, (rows, columns), 1)  # from that pixel on, the side changes
    return np.cumsum(flips, axis=1)[:, :-1] % 2 == 1


def along(points: np.ndarray, radius: float, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie within `radius` of a line through points float [N,2] of x, y: bool [H,W]."""
    made = np.zeros(size, dtype=bool)
    for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        low, high = np.minimum(start, end) - radius, np.maximum(start, end) + radius
        left, top = np.clip(np.floor(low), 0, size[::-1]).astype(int)
        right, bottom = np.clip(np.ceil(high), 0, size[::-1]).astype(int)
        x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        way = end - start
        share = np.clip(((x - start[0]) * way[0] + (y - start[1]) * way[1]) / max(way @ way, 1e-12), 0, 1)
        near = (x - start[0] - share * way[0]) ** 2 + (y - start[1] - share * way[1]) ** 2 <= radius**2
        made[top:bottom, left:right] |= near
    return made


@dataclass
class Canvas:
    """A photo uint8 [H,W,3] with strokes on it, over a mask uint8 [H,W] to start from (for a query: its parse)."""

    photo: np.ndarray
    start: np.ndarray | None = None
    strokes: list[Stroke] = field(default_factory=list)

    @property
    def mask(self) -> np.ndarray:
        """The ids uint8 [H,W]: the start, then every stroke in order."""
        size = self.photo.shape[:2]
        made = np.zeros(size, np.uint8) if self.start is None else self.start.copy()
        for stroke in self.strokes:
            made[stroke.covers(size)] = stroke.class_id
        return made

    def undo(self) -> None:
        """Take the last stroke back, if there is one."""
        del self.strokes[-1:]


def load_upload(content: bytes) -> np.ndarray:
    """`load_photo` of a file's content, as an upload hands it over. Raises UserError."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "uploaded"
        path.write_bytes(content)
        try:
            return load_photo(path)
        except UserError as error:
            raise UserError(str(error).replace(f" {path}", " uploaded")) from None


def load_photo(path: Path | str) -> np.ndarray:
    """A photo to paint on, uint8 [H,W,3]: upright, its longer side at most SIDE. Raises UserError."""
    photo = read_photo(path)
    if max(photo.shape[:2]) <= SIDE:
        return photo
    small = Image.fromarray(photo)
    small.thumbnail((SIDE, SIDE))
    return np.asarray(small)


@dataclass
class PaintState:
    """A support to paint, queries to parse, and what follows from them.

    network  what parses (`predict.load_network`);  support  uint8 [H,W,3];  queries  uint8 [H,W,3] each
    names, colours  of the classes, at most MOST; id 1 is the first;  chosen  the query in view
    """

    network: Any
    support: Canvas
    queries: list[Canvas]
    names: list[str] = field(default_factory=lambda: ["class 1"])
    colours: list[tuple[int, int, int]] = field(default_factory=lambda: list(COLOURS))
    options: ParseOptions = field(default_factory=ParseOptions)
    chosen: int = 0
    current: int = 0
    more: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    problem: str = ""
    parsing: PhotoParsing | None = None
    _encoded: Any = field(default=None, repr=False)

    @property
    def query(self) -> Canvas:
        """The query in view."""
        return self.queries[self.chosen]

    def load(self, photo: np.ndarray, *, support: bool) -> None:
        """Take a photo uint8 [H,W,3] as the support, whose strokes go, or as one more query, which comes into view."""
        if support:
            self.support, self.more = Canvas(photo), []
        else:
            self.queries.append(Canvas(photo))
            self.chosen = len(self.queries) - 1
        self.parse()

    def add_class(self, name: str = "") -> None:
        """One more class, up to MOST; it becomes the one that is painted."""
        if len(self.names) < MOST:
            self.names.append(name or f"class {len(self.names) + 1}")
            self.current = len(self.names) - 1

    def paint(self, canvas: Canvas, stroke: Stroke) -> None:
        """Add a stroke to the support, and parse anew, or to the query, as a correction of its parse."""
        canvas.strokes.append(stroke)
        if canvas is self.support:
            self.parse()

    def undo(self, canvas: Canvas) -> None:
        """Take the last stroke of a canvas back."""
        canvas.undo()
        if canvas is self.support:
            self.parse()

    def parse(self) -> PhotoParsing | None:
        """Parse the query in view from all supports; what prevents it is named in `problem`."""
        self.problem, self.parsing = "", None
        supports = [(self.support.photo, self.support.mask), *self.more]
        supports = [(photo, mask) for photo, mask in supports if mask.any()]
        if not supports:
            self.problem = "paint a class on the support; the parse of the query then follows"
        else:
            try:
                parser = Parser(self.network, self.options)
                parser.encoded = self._encoded = self._encoded or parser.encoded  # photos are encoded once
                for photo, mask in supports:
                    painted = (index for index in range(1, len(self.names) + 1) if (mask == index).any())
                    names = {index: self.names[index - 1] for index in painted if self.names[index - 1].strip()}
                    parser.support(photo, mask, names=names)
                self.parsing = parser.parse(self.query.photo)
            except UserError as error:
                self.problem = str(error)
        self.query.start = None if self.parsing is None else self.parsing.mask
        self.query.strokes.clear()
        return self.parsing

    def use_query(self) -> None:
        """Make the query, with its corrected parse, one more support; the next query comes into view.

        Raises UserError where nothing is marked on it.
        """
        mask = self.query.mask
        if not mask.any():
            raise UserError("nothing is marked on this query; correct its parse first")
        self.more.append((self.query.photo, mask))
        self.chosen = (self.chosen + 1) % len(self.queries)
        self.parse()

    def palette(self) -> np.ndarray:
        """The classes' colours, uint8 [256,3]."""
        palette = np.zeros((256, 3), np.uint8)
        for index, colour in enumerate(self.colours[: len(self.names)], 1):
            palette[index] = colour
        return palette

    def overlay(self, canvas: Canvas) -> bytes:
        """PNG bytes of a canvas's mask in the classes' colours, see-through where nothing is marked."""
        mask = canvas.mask
        return encode_png(np.dstack([self.palette()[mask], np.where(mask > 0, 255, 0)]).astype(np.uint8))

    def summary(self) -> str:
        """What to read under the photos, HTML: each class's share and confidence, then remarks or the problem."""
        if self.parsing is None:
            return f"<p>{html.escape(self.problem)}</p>"
        lines = []
        for index, name in self.parsing.names.items():
            share, sure = (self.parsing.mask == index).mean(), self.parsing.confidence[index]
            says = "probably not in this photo" if index in self.parsing.unlikely else f"{share:.1%} of the photo"
            lines.append(f"<li>{html.escape(name)}: {says}, confidence {sure:.2f}</li>")
        count = len(self.more) + int(self.support.mask.any())
        return f"<ul>{''.join(lines)}</ul><p>{count} support{'s' if count > 1 else ''}.</p>"

    def save(self, folder: Path | str) -> list[Path]:
        """Write the support's mask, the query's (corrected) parse and its cut-outs; returns the files."""
        place, query, palette = Path(folder), self.query.mask, self.palette()
        files = {place / MASK: encode_png(self.support.mask, palette), place / RESULT: encode_png(query, palette)}
        files[place / "support.jpg"] = encode_jpeg(self.support.photo)
        for index in range(1, len(self.names) + 1):
            if (query == index).any():
                files[place / f"cutout_{index}.png"] = cutout(self.query.photo, query == index)
        write_together(files)
        return list(files)


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _painter() -> Any:
    """The widget class: the package anywidget is imported when a view is wanted."""
    traitlets, anywidget = import_module("traitlets"), import_module("anywidget")
    here = Path(__file__)

    class Painter(anywidget.AnyWidget):  # type: ignore[name-defined]
        """A photo to paint on; `stroke` comes from the browser once per stroke, `overlay` goes back."""

        _esm = here.with_suffix(".js")
        _css = here.with_suffix(".css")
        photo, overlay, label, key = (traitlets.Unicode("").tag(sync=True) for _ in range(4))
        size, width = traitlets.List([1, 1]).tag(sync=True), traitlets.Int(420).tag(sync=True)
        classes, current = traitlets.List([]).tag(sync=True), traitlets.Int(0).tag(sync=True)
        named, most = traitlets.Bool(True).tag(sync=True), traitlets.Int(MOST).tag(sync=True)
        stroke = traitlets.CBytes(b"").tag(sync=True)  # with Bytes the browser's buffer is refused without a word
        command = traitlets.Unicode("").tag(sync=True)

    return Painter


def painter_view(state: PaintState, folder: Path | str = "own_class", width: int = 380) -> Any:
    """The view of a state (needs a live kernel): support and query to paint on, and buttons; saves to `folder`."""
    widgets = import_module("ipywidgets")
    boards = {"support": _painter()(label="Support: paint your classes", key="s", width=width)}
    boards["query"] = _painter()(label="Query: its parse, to be corrected", key="q", width=width, named=False)
    text = widgets.HTML()
    chooser = widgets.Dropdown(
        options=[(f"query {n + 1}", n) for n in range(len(state.queries))], description="photo", value=state.chosen
    )
    use = widgets.Button(description="Use the query as a support", layout={"width": "auto"})
    loads = {
        name: widgets.FileUpload(accept="image/*", description=label, layout={"width": "auto"})
        for name, label in (("support", "Load a support"), ("query", "Add a query"))
    }
    save = widgets.Button(description="Save masks", tooltip=f"to the folder {folder}")

    def canvas_of(name: str) -> Canvas:
        return state.support if name == "support" else state.query

    def show(*, photos: bool = False) -> None:
        for name, board in boards.items():
            canvas = canvas_of(name)
            if photos:
                board.size = [*canvas.photo.shape[:2]]
                board.photo = _data_uri(encode_jpeg(canvas.photo, 90), "jpeg")
            board.classes = [
                {"name": label, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
                for label, colour in zip(state.names, state.colours, strict=False)
            ]
            board.current = state.current
            board.overlay = _data_uri(state.overlay(canvas), "png")
        text.value = state.summary()

    def painted(name: str, change: Any) -> None:
        if change["new"]:
            state.paint(canvas_of(name), Stroke.from_bytes(bytes(change["new"])))
            show()

    def commanded(name: str, change: Any) -> None:
        match change["new"].split(" ")[0]:
            case "undo":
                state.undo(canvas_of(name))
            case "clear":
                canvas_of(name).strokes.clear()
                if name == "support":
                    state.parse()
            case "class":
                state.add_class()
        show()

    def renamed(change: Any) -> None:
        state.names = [str(one["name"]) for one in change["new"]]
        for place, one in enumerate(change["new"]):
            state.colours[place] = tuple(bytes.fromhex(one["colour"][1:]))  # type: ignore[assignment]
        show()

    def picked(change: Any) -> None:
        state.current = change["new"]
        show()

    def another(change: Any) -> None:
        state.chosen = change["new"]
        state.parse()
        show(photos=True)

    def used(_: Any) -> None:
        try:
            state.use_query()
        except UserError as error:
            text.value = f"<p>{html.escape(str(error))}</p>"
            return
        chooser.value = state.chosen
        show(photos=True)

    def loaded(name: str, change: Any) -> None:
        try:
            for one in change["new"]:
                state.load(load_upload(bytes(one["content"])), support=name == "support")
        except UserError as error:
            text.value = f"<p>{html.escape(str(error))}</p>"
            return
        chooser.options = [(f"query {n + 1}", n) for n in range(len(state.queries))]
        chooser.value = state.chosen
        show(photos=True)

    def saved(_: Any) -> None:
        files = state.save(folder)
        text.value = f"{state.summary()}<p>Saved: {html.escape(', '.join(str(path) for path in files))}</p>"

    for name, board in boards.items():
        board.observe(lambda change, name=name: painted(name, change), names="stroke")
        board.observe(lambda change, name=name: commanded(name, change), names="command")
        board.observe(picked, names="current")
    boards["support"].observe(renamed, names="classes")
    for name, load in loads.items():
        load.observe(lambda change, name=name: loaded(name, change), names="value")
    chooser.observe(another, names="value")
    use.on_click(used)
    save.on_click(saved)
    state.parse()
    show(photos=True)
    flow = {"flex_flow": "row wrap", "align_items": "flex-end"}
    below = widgets.HBox([chooser, use, save, *loads.values()], layout=flow)
    return widgets.VBox([widgets.HBox(list(boards.values()), layout=flow), below, text])
