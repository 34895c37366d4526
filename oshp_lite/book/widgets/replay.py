"""DML stage: AGM and NPM side by side along a training, over the networks that were kept on the way.

A run of the store keeps its last weights and the curves of its history, no network in between. `train_with_moments`
trains a configuration again by the ordinary trainer and keeps the network after every epoch. What a replay shows of a
plain run is its last network, and what it draws of the epochs before are the recorded losses alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.book.widgets.canvas import DPI, Place, fixed_figure, photo_axes, ringed
from oshp_lite.book.widgets.colours import laid_over, safe_colours
from oshp_lite.book.widgets.explorer import Explorer, drawn_explorer
from oshp_lite.book.widgets.source import Source, open_source
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.engine.checkpoint import load_parser, read_record, save_weights
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.models import run_record
from oshp_lite.engine.runs import Run, read_history
from oshp_lite.engine.train import Training, threads_set
from oshp_lite.errors import UserError
from oshp_lite.labels import IGNORE
from oshp_lite.models.base import PredictOptions
from oshp_lite.viz import INK, style

MOMENTS = "moments"
"""The folder of the networks kept on the way, one file per epoch."""
BELOW = 2.8
"""Inches below the photos, for the colours' names and the curves."""
KEYS: dict[str, Any] = {"loc": "upper left", "fontsize": 8, "borderaxespad": 0, "handlelength": 1.0, "frameon": False}
Plots = tuple[NDArray[np.uint8], list[tuple[Bbox, tuple[float, float]]]]
"""A picture of curves, and for each its box in inches and the epochs at its left and right."""
Logits = Literal["agm", "npm"]
MODULES: tuple[Logits, ...] = ("agm", "npm")


class _Watched(Training):
    """The ordinary trainer, which keeps the network after every epoch."""

    def keep(self) -> None:
        """Write the present network; its record says after how many epochs, and beta of its last one."""
        here = self.position
        beta = here.rows[-1]["beta"] if here.rows else 1.0
        record = run_record(self.config, self.fold, self.dataset.name, code=self.code, epoch=here.epoch, beta=beta)
        save_weights(self.folder / MOMENTS / f"epoch_{here.epoch:03d}.safetensors", self.parser.state_dict(), record)

    def _end_epoch(self) -> None:
        super()._end_epoch()
        self.keep()


def train_with_moments(
    config: RunConfig, dataset: OneShotDataset, folder: str | Path, init_weights: str | Path | None = None
) -> Path:
    """Train a configuration and keep its network after every epoch, and at the start; returns `folder`.

    Returns at once where that is done already. Raises what `oshp_lite.engine.train.train` raises.
    """
    folder = Path(folder)
    training = _Watched(config, dataset, folder, init_weights)
    (folder / MOMENTS).mkdir(parents=True, exist_ok=True)
    with threads_set(config.train.threads), torch.random.fork_rng():
        if not (folder / MOMENTS / "epoch_000.safetensors").is_file():
            training.keep()
        training.run(False)
    return folder


@dataclass(frozen=True)
class Moment:
    """A network kept on the way: after how many epochs, beta of Eq. (10) in its last one, and where its weights are."""

    epoch: int
    beta: float
    weights: Path


def moments_of(folder: str | Path | Run) -> list[Moment]:
    """Return the networks kept in a folder, in order; of a run without any, its last one. UserError if none."""
    place = folder.folder if isinstance(folder, Run) else Path(folder)
    opened = sorted((place / MOMENTS).glob("epoch_*.safetensors"))
    if not opened:
        rows = read_history(place)
        return [Moment(int(rows[-1]["epoch"]), float(rows[-1]["beta"]), place / "weights.safetensors")]
    more = [read_record(path).more for path in opened]
    return [Moment(int(one["epoch"]), float(one["beta"]), path) for one, path in zip(more, opened, strict=True)]


@dataclass
class ReplayState:
    """What the replay shows, without any widget (journal, section 4.3).

    source     photos to try the networks on
    moments    the networks, in order; `step` is the present one
    history    rows of the run's history.csv: losses and beta of every epoch
    class_id   the class whose IoU is drawn over the epochs
    screening  set pixels outside the coarse person mask to background
    """

    source: Source
    moments: Sequence[Moment]
    history: Sequence[Mapping[str, float]] = ()
    query: int = 0
    support: int = 1
    class_id: int = 0
    step: int = 0
    screening: bool = True
    hatched: bool = False
    _parses: dict[tuple[int, int, int, str], tuple[Tensor, Tensor | None]] = field(default_factory=dict, repr=False)
    _plots: dict[tuple[int, int, int, bool], Plots] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Begin with the last network and the support's largest class that the query shows."""
        self.step = len(self.moments) - 1
        self.settle()

    def settle(self) -> None:
        """Bring photo numbers, class and step into range."""
        last = len(self.source) - 1
        self.query, self.support = min(max(0, self.query), last), min(max(0, self.support), last)
        self.step = min(max(0, self.step), len(self.moments) - 1)
        ids = self.classes()
        if self.class_id not in ids:
            mask = self.source.sample(self.query).mask
            self.class_id = max(ids, key=lambda c: int((mask == c).sum())) if ids else 0

    def classes(self) -> list[int]:
        """Return the support's classes."""
        return self.source.classes_of(self.support)

    def parse(self, step: int, module: Logits) -> NDArray[np.uint8]:
        """A network's parse by one of its modules, "agm" or "npm": uint8 [H,W]."""
        key = step, self.query, self.support, module
        if key not in self._parses:
            parser = load_parser(self.moments[step].weights)
            for source in MODULES:
                options = PredictOptions(source=source, screening=False)
                made = parser.predict(self.source.episode(self.query, self.support).batched(), options)
                person = None if made.person is None else made.person[0]
                self._parses[step, self.query, self.support, source] = made.ids[0], person
        ids, person = self._parses[key]
        screened = ids if person is None or not self.screening else ids * person
        return screened.numpy().astype(np.uint8)

    def iou(self, step: int, module: Logits) -> float:
        """The class's IoU of one module of one network on the query, nan where there is nothing to count."""
        truth = self.source.truth(self.query, self.support).numpy()
        mine, true = (self.parse(step, module) == self.class_id) & (truth != IGNORE), truth == self.class_id
        union = int((mine | true).sum())
        return int((mine & true).sum()) / union if union else math.nan

    def lost(self, step: int, module: Logits) -> float:
        """The share of the class's pixels that a module calls background; nan without any."""
        worn = self.source.truth(self.query, self.support).numpy() == self.class_id
        return float((self.parse(step, module)[worn] == 0).mean()) if worn.any() else math.nan

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""
        return {"step"} if len(self.moments) < 2 else set()

    def offers(self) -> dict[str, list[tuple[str, int]]]:
        """Return the support's classes, as options of a control."""
        return {"class_id": [(self.source.names[c], c) for c in self.classes()]}

    def draw(self) -> Figure:
        """Draw truth, AGM and NPM of the present network; over epochs IoU, share called background, losses and beta."""
        self.settle()
        source, space, moment = self.source, self.source.dataset.space, self.moments[self.step]
        photo = source.photo(self.query)
        figure, places = fixed_figure(4, 1, photo.shape[:2], right=0.0, width=2.05, below=BELOW)
        wanted = source.framed(self.query).mask == self.class_id
        look: dict[str, Any] = {"space": space, "opacity": 0.65, "hatched": self.hatched}
        marked = source.framed(self.support).mask
        photo_axes(places[0], laid_over(source.photo(self.support), marked, **look), f"support {self.support}")
        truth = source.truth(self.query, self.support).numpy()
        photo_axes(places[1], laid_over(photo, truth, **look), f"query {self.query}, true parts")
        for place, module, weight in zip(places[2:], MODULES, (moment.beta, 1 - moment.beta), strict=True):
            parse = ringed(laid_over(photo, self.parse(self.step, module), **look), wanted)
            title = f"{module.upper()}, weight {weight:.2f}, IoU {self.iou(self.step, module):.2f}"
            photo_axes(place, parse, title)
        key = self.query, self.support, self.class_id, self.screening
        if key not in self._plots:
            self._plots[key] = self._curves(figure.get_figwidth())
        curves, axes = self._plots[key]
        photo_axes(Place(figure, (0.0, 0.0, figure.get_figwidth(), BELOW)), curves)
        for box, (first, last) in axes:
            x = box.x0 + box.width * (moment.epoch - first) / (last - first)
            line = Line2D([x, x], [box.y0, box.y1], transform=figure.dpi_scale_trans, color="0.4", linewidth=1)
            figure.add_artist(line)
        return figure

    def _curves(self, wide: float) -> Plots:
        """Draw the colours' names and what does not depend on the step, `wide` inches: most of the time goes here."""
        epochs, source = [moment.epoch for moment in self.moments], self.source
        name, high = source.names.get(self.class_id, "no class"), BELOW
        figure = Figure(figsize=(wide, high), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        colours = safe_colours(source.dataset.space)
        keys = [Patch(facecolor=colours[c], edgecolor="black", label=source.names[c]) for c in self.classes()]
        panels = [(f"IoU of {name} on this query", self.iou), (f"share of {name} called background", self.lost)]
        width = (wide - 1.5) / 3
        boxes = [Bbox.from_bounds(0.45 + k * (width + 0.45), 0.45, width, 1.55) for k in range(3)]
        with style():
            figure.legend(handles=keys, bbox_to_anchor=(0.05 / wide, 1 - 0.06 / high), ncols=max(1, len(keys)), **KEYS)
            places = [figure.add_axes((b.x0 / wide, b.y0 / high, b.width / wide, b.height / high)) for b in boxes]
            for place, (title, measure) in zip(places, panels, strict=False):
                for module, colour, line in zip(MODULES, (INK[1], INK[2]), ("-", "--"), strict=True):
                    values = [measure(step, module) for step in range(len(epochs))]
                    place.plot(epochs, values, line, color=colour, marker="o", label=module.upper())
                place.set_ylim(-0.03, 1.03)
                place.set_title(title, fontsize=9)
            places[0].legend(loc="best")
            for number, (term, line) in enumerate((("loss_agm", "-"), ("loss_npm", "--"))):
                rows = [(row["epoch"], row[term]) for row in self.history if term in row]
                if rows:
                    places[2].plot(*zip(*rows, strict=True), line, color=INK[1 + number], label=term[5:].upper())
            betas = [(row["epoch"], row["beta"]) for row in self.history if "beta" in row]
            if betas:
                places[2].plot(*zip(*betas, strict=True), ":", color="black", label="β")
            places[2].set_title("recorded losses, and β", fontsize=9)
            if places[2].lines:
                places[2].legend(loc="best")
            for place in places:
                place.set_xlim(epochs[0] - 0.3, epochs[-1] + 0.3)
                place.set_xlabel("epoch", fontsize=8)
            kept = "one network kept: the last one" if len(epochs) < 2 else f"{len(epochs)} networks kept on the way"
            figure.text(0.45 / wide, 2.28 / high, kept, fontsize=8, style="italic")
            canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        return picture, [(box, place.get_xlim()) for box, place in zip(boxes, places, strict=True)]


def dml_replay(
    what: Run | str | Path, source: Source | None = None, query: int = 0, support: int = 1, **setting: Any
) -> Explorer:
    """Replay a training from the networks kept in its folder; of a plain run only the last network is there.

    source: the photos, by default those that the last network was made for. UserError for a method without an AGM.
    """
    moments = moments_of(what)
    photos = source or open_source(moments[-1].weights)
    if "agm" not in load_parser(moments[-1].weights).sources:
        raise UserError("this method has no AGM beside its NPM; replay a run of EOP-Net or POPNet")
    folder = what.folder if isinstance(what, Run) else Path(what)
    step = setting.pop("step", None)
    state = ReplayState(photos, moments, read_history(folder), query, support, **setting)
    state.step = state.step if step is None else step
    return drawn_explorer(state, "DML stage: AGM and NPM along a training", _controls)


def _controls(state: ReplayState) -> Mapping[str, Any]:
    widgets = import_module("ipywidgets")
    last = len(state.source) - 1
    steps = [(f"epoch {moment.epoch}, β {moment.beta:.2f}", k) for k, moment in enumerate(state.moments)]
    return {
        "step": widgets.SelectionSlider(options=steps, value=state.step, description="network"),
        "class_id": widgets.Dropdown(options=state.offers()["class_id"], value=state.class_id, description="class"),
        "query": widgets.BoundedIntText(min=0, max=last, value=state.query, description="query photo"),
        "support": widgets.BoundedIntText(min=0, max=last, value=state.support, description="support photo"),
        "screening": widgets.Checkbox(value=state.screening, description="coarse screening", indent=False),
        "hatched": widgets.Checkbox(value=state.hatched, description="hatching", indent=False),
    }
