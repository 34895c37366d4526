"""Method comparison: one episode, many networks, their parses and errors side by side, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from oshp_lite.book.widgets.browser import jpeg_uri, runs
from oshp_lite.book.widgets.canvas import fixed_figure, photo_axes
from oshp_lite.book.widgets.colours import ERRORS, hatch, laid_over, rgb, safe_colours
from oshp_lite.book.widgets.explorer import Explorer, browser_explorer, photo_controls
from oshp_lite.book.widgets.source import GivenPhotos, Recording, Source, open_source
from oshp_lite.data.dataset import Sample
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.labels import IGNORE, Fold
from oshp_lite.models.base import PredictOptions
from oshp_lite.models.registry import METHODS
from oshp_lite.viz import enlarge, grey

EVERY = 0
"""The `class_id` that stands for all classes of the support."""
HATCHES = ("////", "\\\\\\\\", "----", "||||")
"""Matplotlib's names of the slopes in `colours.hatch`."""
SYNCED = ("class_id", "show", "order", "opacity", "hatched")
Ids = NDArray[np.uint8]


class Contender(NamedTuple):
    """A network with the options that it predicts with, or a record of its parses."""

    source: Source | Recording
    options: PredictOptions | None = None


@dataclass
class ComparisonState:
    """What the comparison shows, without any widget; every contender parses the same pair of test photos.

    class_id   whose errors count; EVERY: all classes of the support
    show       the errors, or the parses themselves
    order      the contender with the lowest IoU first or last, or as given
    """

    contenders: Mapping[str, Contender]
    query: int = 0
    support: int = 1
    class_id: int = EVERY
    show: Literal["errors", "parse"] = "errors"
    order: Literal["worst", "best", "given"] = "worst"
    opacity: float = 0.65
    hatched: bool = False
    truth: Ids = field(init=False)
    ids: tuple[int, ...] = field(init=False)
    parses: dict[str, Ids] = field(init=False)
    _kept: dict[tuple[str, int, int], Ids] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse contenders that cannot be compared, and parse."""
        if not self.contenders:
            raise UserError("there is nothing to compare; name at least one network")
        first, *others = self.contenders.values()
        for other in others:
            if other.source.dataset.fingerprint != first.source.dataset.fingerprint:
                raise UserError("the networks to compare look at different photos; name one dataset for all of them")
        self.choose(self.query, self.support)

    @property
    def source(self) -> Source | Recording:
        """The photos, as the first contender sees them."""
        return next(iter(self.contenders.values())).source

    def choose(self, query: int, support: int) -> None:
        """Take another pair of photos; a contender parses each pair once."""
        self.query, self.support = query, support
        self.truth = self.source.truth(query, support).numpy().astype(np.uint8)
        self.ids = tuple(self.source.classes_of(support))
        self.parses = {}
        for name, (source, options) in self.contenders.items():
            key = (name, query, support)
            if key not in self._kept:
                ids = source.parse(query, support, options).numpy().astype(np.uint8)
                self._kept[key] = enlarge(ids, (self.truth.shape[0], self.truth.shape[1]))
            self.parses[name] = self._kept[key]
        self.class_id = self.class_id if self.class_id in self.ids else EVERY

    def iou(self, name: str, class_id: int | None = None) -> float:
        """A contender's IoU of one class on this query, or the mean over the classes in truth or parse; nan if none."""
        wanted = self.class_id if class_id is None else class_id
        if wanted == EVERY:
            values = [self.iou(name, one) for one in self.ids]
            there = [value for value in values if not np.isnan(value)]
            return float(np.mean(there)) if there else float("nan")
        valid = self.truth != IGNORE
        mine, true = (self.parses[name] == wanted) & valid, (self.truth == wanted) & valid
        union = int((mine | true).sum())
        return int((mine & true).sum()) / union if union else float("nan")

    def ordered(self) -> list[str]:
        """The contenders' names in the order of the view; those without the class last."""
        names = list(self.contenders)
        if self.order == "given":
            return names
        way = 1 if self.order == "worst" else -1
        scores = {name: self.iou(name) for name in names}
        return sorted(names, key=lambda name: (bool(np.isnan(scores[name])), way * scores[name]))

    def errors(self, name: str) -> dict[str, NDArray[np.bool_]]:
        """Where a contender errs, by kind (see `ERRORS`), bool [H,W] each; of the chosen class, or of every one."""
        mine, true, valid = self.parses[name], self.truth, self.truth != IGNORE
        if self.class_id == EVERY:
            wrong = (mine != true) & valid
            kinds = {"missed": mine == 0, "false": true == 0, "confused": (mine > 0) & (true > 0)}
            return {kind: where & wrong for kind, where in kinds.items()}
        is_mine, is_true = mine == self.class_id, true == self.class_id
        return {
            "missed": is_true & (mine == 0) & valid,
            "false": is_mine & (true == 0) & valid,
            "confused": (is_mine ^ is_true) & (mine > 0) & (true > 0) & valid,
        }

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""
        return {"order"} if len(self.contenders) == 1 else set()

    def picture(self, name: str) -> NDArray[np.uint8]:
        """A contender's panel, uint8 [H,W,3]: its parse in the classes' colours, or its errors on the grey photo."""
        photo, space = self.source.photo(self.query), self.source.dataset.space
        if self.show == "parse":
            ids = np.where((self.parses[name] == self.class_id) | (self.class_id == EVERY), self.parses[name], 0)
            return laid_over(photo, ids, space, self.opacity, hatched=self.hatched)
        kinds, made = self.errors(name), grey(photo, 0.35).astype(np.float32)
        ids = np.zeros(photo.shape[:2], np.uint8)
        for place, (kind, where) in enumerate(kinds.items(), start=1):
            full = enlarge(where, photo.shape[:2])
            made[full] = (1 - self.opacity) * made[full] + self.opacity * np.array(rgb(ERRORS[kind]))
            ids[full] = place
        marked = np.rint(made).astype(np.uint8)
        return hatch(marked, ids, (1, 2, 3)) if self.hatched else marked

    def draw(self) -> Figure:
        """Draw support, query and truth, then every contender in order with its IoU."""
        source, space, names = self.source, self.source.dataset.space, self.ordered()
        photo, support = source.photo(self.query), source.photo(self.support)
        columns = min(4, max(3, len(names)))
        count = -(-(3 + len(names)) // columns)
        figure, places = fixed_figure(columns, count, photo.shape[:2], below=0.5)
        mask = source.tensors(self.support)[1].numpy().astype(np.uint8)
        photo_axes(places[0], laid_over(support, mask, space, 0.65, hatched=self.hatched), "support, marked")
        photo_axes(places[1], photo, "query")
        photo_axes(places[2], laid_over(photo, self.truth, space, 0.65, hatched=self.hatched), "query, true parts")
        for place, name in zip(places[3:], names, strict=False):
            photo_axes(place, self.picture(name), f"{name}: IoU {self.iou(name):.2f}")
        colours = safe_colours(space)
        entries = {source.names[c]: colours[c] for c in self.ids}
        if self.show == "errors":
            entries |= {f"error: {kind}": colour for kind, colour in ERRORS.items()}
        marks = [*map(space.foreground_classes.index, self.ids), *range(len(ERRORS))]
        handles = [
            Patch(facecolor=colour, edgecolor="black", linewidth=0.4, hatch=HATCHES[mark % 4] if self.hatched else "")
            for colour, mark in zip(entries.values(), marks, strict=False)
        ]
        figure.legend(handles, entries, loc="lower center", ncols=6, fontsize=8, frameon=False)
        return figure

    def payload(self) -> dict[str, Any]:
        """Everything that the drawing in the browser needs, for JSON."""
        source = self.source
        colours = safe_colours(source.dataset.space)
        support = laid_over(
            source.photo(self.support),
            source.tensors(self.support)[1].numpy().astype(np.uint8),
            source.dataset.space,
            0.65,
        )
        return {
            "photo": jpeg_uri(source.photo(self.query)),
            "support": jpeg_uri(support),
            "size": list(self.truth.shape),
            "ids": list(self.ids),
            "names": {0: "background", IGNORE: "unlabelled", **source.names},
            "colours": {c: colours[c] for c in source.fold.foreground},
            "order": list(source.dataset.space.foreground_classes),
            "errors": ERRORS,
            "truth": runs(self.truth),
            "contenders": [{"name": name, "ids": runs(ids)} for name, ids in self.parses.items()],
        }

    def values(self) -> dict[str, Any]:
        """Return the fields that the browser shares."""
        return {name: getattr(self, name) for name in SYNCED}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over what was changed in the browser; what does not fit is left as it was."""
        allowed: dict[str, Sequence[Any]] = {
            "class_id": (EVERY, *self.ids),
            "show": ("errors", "parse"),
            "order": ("worst", "best", "given"),
            "hatched": (False, True),
        }
        for name, value in values.items():
            if name == "opacity" and isinstance(value, int | float) and 0 <= value <= 1:
                self.opacity = float(value)
            elif value in allowed.get(name, ()):
                setattr(self, name, value)


def method_comparison(
    contenders: Mapping[str, Source | Contender] | Sequence[Run] | None = None,
    query: int = 0,
    support: int = 1,
    *,
    data: Any = None,
    **setting: Any,
) -> Explorer:
    """Compare networks on two test photos: runs of the store, or named sources with their options.

    None: the shipped checkpoint read in several ways, beside label transfer on the same encoder. Raises UserError for
    networks that look at different photos.
    """
    if contenders is None:
        contenders = shipped_contenders(data)
    elif not isinstance(contenders, Mapping):
        contenders = {_name(run): open_source(run, data=data) for run in contenders}
    named = {name: one if isinstance(one, Contender) else Contender(one) for name, one in contenders.items()}
    state = ComparisonState(named, query, support)
    state.take(setting)
    return browser_explorer(state, "comparison", "method comparison: parses and errors side by side", photo_controls)


def recorded_comparison(
    query: Sample, support: Sample, predictions: Mapping[str, Ids], chosen: Fold, **setting: Any
) -> Explorer:
    """Compare recorded parses uint8 [H,W] of one query, by name: two photos with masks of kept ids, and their fold."""
    pair = GivenPhotos("recorded", chosen.space, (query, support))
    made = {name: Recording(dataset=pair, fold=chosen, parses={(0, 1): ids}) for name, ids in predictions.items()}
    state = ComparisonState({name: Contender(one) for name, one in made.items()}, 0, 1)
    state.take(setting)
    return browser_explorer(state, "comparison", "recorded predictions, parses and errors side by side", lambda _: {})


def _name(run: Run) -> str:
    train, data = run.settings["train"], run.settings["data"]
    return f"{METHODS[run.settings['model']['method']].label} {data['way']}-way seed {train['seed']} {run.identity[:4]}"


def shipped_contenders(data: Any = None) -> dict[str, Source | Contender]:
    """The shipped checkpoint's two modules, with and without screening, and label transfer on its encoder."""
    source = open_source(data=data)
    return {
        "EOP-Net (NPM)": Contender(source),
        "EOP-Net (AGM)": Contender(source, PredictOptions(source="agm")),
        "NPM, no screening": Contender(source, PredictOptions(screening=False)),
        "label transfer": Contender(open_source("label_transfer", data=data)),
    }
