"""Crowds for notebook 14: drawn ones with their truth, what a network says of them, and who was matched with whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from oshp_lite.data.people import PeopleResult, PeopleTruth, crowdedness, cut_out, mask_boxes, whole_map
from oshp_lite.data.people_batches import PeopleBatch
from oshp_lite.data.synthetic import scene
from oshp_lite.engine.instance_metrics import PeopleMeter, PeopleScores
from oshp_lite.labels import BACKGROUND, IGNORE
from oshp_lite.labels.whole import WholeSpace, whole_space
from oshp_lite.models.instance.core import ParsedBoxes, RegionNet, put_together
from oshp_lite.models.instance.regions import Pasted, RegionRules, assemble, paste
from oshp_lite.models.instance.rivals import group
from oshp_lite.predict.parser import frame_of
from oshp_lite.predict.photos import picture
from oshp_lite.viz import INK, add_legend, heat_on_photo, new_figure, overlay, show_image
from oshp_lite.viz.images import outlines

Array = NDArray[Any]
RGB = NDArray[np.uint8]
Rescore = Callable[[Tensor, Tensor], Tensor] | None
SEED = 1000
"""The seed of the book's crowds; networks of the book are trained on scenes of seed 0."""
SPACE = "pascal"
"""The label space of the network that comes with the notebook."""
HUES = ("#e6194b", "#0a84ff", "#f5b301", "#3cb44b", "#c04df9", "#00b5ad", "#ff7f0e", "#8c6d46")
"""A colour a person; a ninth person has the first one's."""


class CrowdPhoto(NamedTuple):
    """A drawn crowd: photo uint8 [H,W,3] and its truth."""

    image: RGB
    truth: PeopleTruth

    @property
    def boxes(self) -> Array:
        """Boxes float64 [P,4] of its people."""
        return self.truth.boxes()

    @property
    def crowded(self) -> float:
        """The largest IoU of any two people's boxes."""
        return float(crowdedness(self.boxes).max(initial=0.0))


def crowd(index: int, size: int = 256, *, name: str = "synth-cihp", seed: int = SEED) -> CrowdPhoto:
    """Draw crowd `index` of a dataset of several people, in the labels of `SPACE`. UserError for an unknown name."""
    drawn = scene(name, seed, index, size)
    return CrowdPhoto(drawn.image, PeopleTruth(drawn.mask(SPACE), drawn.persons))


def labels() -> WholeSpace:
    """The label space of the notebook's network, every id a class."""
    return whole_space(SPACE)


def seen_by(net: RegionNet, image: RGB) -> Tensor:
    """A photo uint8 [H,W,3] as a trained network sees it: float [1,3,h,w] in [-1,1]."""
    assert net.record is not None
    return picture(image, max(frame_of(net.record)), net.record.channels)[None]


def batch_of(net: RegionNet, photo: CrowdPhoto) -> PeopleBatch:
    """A crowd with its truth, as a batch of one photo that the network learns from."""
    seen = seen_by(net, photo.image)
    side = (np.arange(int(seen.shape[-1])) + 0.5) * photo.truth.size[1] / seen.shape[-1]
    at = np.ix_(side.astype(int), side.astype(int))
    classes, persons = photo.truth.classes[at], photo.truth.persons[at]
    ids = [int(index) for index in np.unique(persons) if index]
    return PeopleBatch(
        seen,
        torch.from_numpy(classes.astype(np.int64))[None],
        torch.from_numpy(persons.astype(np.int64))[None],
        [torch.from_numpy(mask_boxes(persons, ids)).float()],
        [torch.tensor(ids, dtype=torch.int64)],
    )


def on_photo(boxes: Tensor, seen: Tensor, size: Sequence[int]) -> Array:
    """Boxes float [N,4] of the network's view float [1,3,h,w], in pixels of the photo of `size` (height, width)."""
    factor = np.array([size[1] / seen.shape[-1], size[0] / seen.shape[-2]] * 2)
    return np.asarray(boxes.numpy() * factor)


def detect(net: RegionNet, photo: CrowdPhoto, *, true_boxes: bool = False) -> ParsedBoxes:
    """What the network detects and parses, boxes in pixels of its own view; `true_boxes` are parsed in their place."""
    seen = seen_by(net, photo.image)
    factor = seen.shape[-1] / photo.truth.size[1]
    given = [torch.from_numpy(photo.boxes * factor).float()] if true_boxes else None
    return net.detect(seen, given)[0]


def parse(net: RegionNet, photo: CrowdPhoto, rules: RegionRules | None = None, rescore: Rescore = None) -> PeopleResult:
    """A crowd parsed person by person, at the photo's own size.

    rescore  in the place of the last suppression: makes new scores float [N] of all boxes float [N,4] and their scores
    """
    own = net.detector.config
    if rescore is not None:
        net.detector.config = replace(own, nms=1.0)
    try:
        found, seen = detect(net, photo), seen_by(net, photo.image)
    finally:
        net.detector.config = own
    if rescore is not None:
        scores = rescore(found.boxes, found.scores)
        best = scores.argsort(descending=True, stable=True)
        maps = None if found.attention is None else found.attention[best]
        found = ParsedBoxes(found.boxes[best], scores[best], found.probabilities[best], maps)
    size = (int(seen.shape[-2]), int(seen.shape[-1]))
    return put_together(found, size, photo.truth.size, rules, net.n_ids)


def score(pairs: Sequence[tuple[PeopleTruth, PeopleResult]], n_classes: int) -> PeopleScores:
    """Score photos together."""
    meter = PeopleMeter(n_classes)
    for number, pair in enumerate(pairs):
        meter.add(f"{number:06d}", *pair)
    return meter.scores()


class Match(NamedTuple):
    """One predicted person: the true one that it overlaps most (a row, -1: nobody is true), and how well.

    verdict  "right", "duplicate" (somebody better scored has that person already) or "wrong" (overlap too small)
    parts    IoU of each part of that true person, by class
    """

    person: int
    overlap: float
    verdict: str
    parts: Mapping[int, float]


def matches(truth: PeopleTruth, result: PeopleResult, n_classes: int, threshold: float = 0.5) -> list[Match]:
    """Match predicted people, best first, as AP^p does at one threshold; equal to `PeopleMeter`'s own matches."""
    true = [labels for labels in (truth.person(index) for index in truth.ids) if (labels > 0).any()]
    taken, made = set[int](), []
    for one in sorted(result.people or (), key=lambda person: -person.score):
        said = whole_map(one, truth.size)
        ious = [class_ious(other, said, n_classes) for other in true]
        means = [float(np.nanmean(row)) for row in ious]
        best = int(np.argmax(means)) if means else -1
        good = best >= 0 and means[best] > threshold
        verdict = "wrong" if not good else "duplicate" if best in taken else "right"
        if good:
            taken.add(best)
        there = [c for c in range(1, n_classes) if best >= 0 and (true[best] == c).any()]
        parts = {c: float(ious[best][c]) for c in there}
        made.append(Match(best, means[best] if means else 0.0, verdict, parts))
    return made


def class_ious(truth: Array, said: Array, n_classes: int) -> Array:
    """IoU float64 [K] of every class of two label maps [H,W]; nan for a class of neither; 255 does not count."""
    counted = truth < n_classes
    rows = []
    for c in range(n_classes):
        a, b = (truth == c) & counted, (said == c) & counted
        union = int((a | b).sum())
        rows.append((a & b).sum() / union if union else np.nan)
    return np.array(rows)


def judge(truth: PeopleTruth, regions: Sequence[Pasted], n_classes: int) -> tuple[float, float, float, float]:
    """AP^p, PCP and AP^r at 0.5, and mIoU, of one photo whose people are these regions, all of them painted."""
    result = assemble(regions, truth.size, RegionRules(least=0.0, people_least=0.0), n_classes)
    scores = score([(truth, result)], n_classes)
    return scores.at("ap_p", 0.5), scores.at("pcp", 0.5), scores.at("ap_r", 0.5), scores.miou


def connected_people(truth: PeopleTruth) -> PeopleResult:
    """The true semantic map cut into connected pieces (4 neighbours), each of them taken for one person."""
    person = torch.from_numpy((truth.classes > 0) & (truth.classes < 255))
    pieces = group(person, torch.zeros_like(person), 1).numpy()
    areas = np.bincount(pieces.ravel())
    regions = []
    for number in np.argsort(-areas[1:]) + 1:
        one = cut_out(np.where(pieces == number, truth.classes, 0), areas[number] / pieces.size)
        regions.append(Pasted(one.labels, np.ones(one.labels.shape, np.float32), one.top, one.left, one.score))
    rules = RegionRules(least=0.0, people_least=0.0)
    return assemble(regions[:254], truth.size, rules, 256)


def metric_table(truth: PeopleTruth, results: Mapping[str, PeopleResult], n_classes: int) -> str:
    """The metrics of some results of one photo as a Markdown table."""
    lines = ["| | AP^p .5 | AP^p mean | PCP .5 | AP^r .5 | AP^r mean | PGN's AP^r mean | mIoU |", "|---" * 8 + "|"]
    for name, result in results.items():
        made = score([(truth, result)], n_classes)
        values = [made.at("ap_p", 0.5), made.volume("ap_p"), made.at("pcp", 0.5), made.at("ap_r", 0.5)]
        values += [made.volume("ap_r"), made.volume("ap_r_pgn"), made.miou]
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in values)} |")
    return "\n".join(lines)


def hue(number: int) -> tuple[int, int, int]:
    """The colour of person `number`, from 0."""
    text = HUES[number % len(HUES)]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def people_palette() -> RGB:
    """Colours uint8 [256,3] of a person map: id 1 has the first."""
    return np.array([(0, 0, 0), *(hue(number) for number in range(255))], np.uint8)


def boxed(image: RGB, boxes: Array, *, colours: Sequence[Any] | None = None, width: int = 2) -> RGB:
    """Draw boxes float [N,4], each in its colour (a person's by default), over black so that they stand out."""
    drawn = Image.fromarray(np.array(image))
    pen = ImageDraw.Draw(drawn)
    for number, box in reversed(list(enumerate(np.asarray(boxes).tolist()))):
        left, top, right, bottom = (round(side) for side in box)
        colour = hue(number) if colours is None else colours[number]
        pen.rectangle((left - 1, top - 1, right, bottom), outline="black", width=width + 2)
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=width)
    return np.asarray(drawn)


def painted(photo: CrowdPhoto, classes: Array | None = None, persons: Array | None = None) -> RGB:
    """A photo under a map of classes, or under one of people."""
    if classes is not None:
        return overlay(photo.image, classes, labels().class_palette)
    assert persons is not None
    return overlay(photo.image, persons, people_palette())


def in_box(square: Array, box: Array, size: Sequence[int]) -> Array:
    """A map [s,s] of a box laid into a photo of `size` by the nearest cell, float32 [H,W]; nan outside the box."""
    made = np.full(tuple(size), np.nan, np.float32)
    left, top, right, bottom = (float(side) for side in box)
    for row in range(max(0, int(np.ceil(top - 0.5))), min(size[0], int(np.ceil(bottom - 0.5)))):
        across = np.arange(max(0, int(np.ceil(left - 0.5))), min(size[1], int(np.ceil(right - 0.5))))
        down = min(int((row + 0.5 - top) / (bottom - top) * square.shape[0]), square.shape[0] - 1)
        columns = ((across + 0.5 - left) / (right - left) * square.shape[1]).astype(int)
        made[row, across] = square[down, np.clip(columns, 0, square.shape[1] - 1)]
    return made


def attention_figure(photo: CrowdPhoto, parsed: ParsedBoxes, boxes: Array, chosen: Sequence[int]) -> Figure:
    """Attention of some detections, from 0 (dark) to 1 (bright), above the parts in their boxes float [N,4]."""
    assert parsed.attention is not None
    size = photo.truth.size
    figure, axes = new_figure(2, len(chosen), width=2.0, height=2.35)
    for (above, below), i in zip(axes.T, chosen, strict=True):
        heat = np.nan_to_num(in_box(parsed.attention[i, 0].numpy(), boxes[i], size))
        warm = boxed(heat_on_photo(photo.image, heat, low=0, high=1), boxes[i : i + 1], colours=["white"])
        show_image(above, warm, f"attention, score {parsed.scores[i]:.2f}")
        own = paste(parsed.probabilities[i], boxes[i].tolist(), size)
        labels_there = np.zeros(size, np.uint8)
        high, wide = own.labels.shape
        labels_there[own.top : own.top + high, own.left : own.left + wide] = own.labels
        show_image(below, painted(photo, classes=labels_there), "parts in this box")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "magma"), ax=list(axes[0]), shrink=0.8, pad=0.01)
    bar.ax.set_yticks([0, 0.5, 1])
    add_legend(figure, labels(), range(1, labels().n_raw))
    return figure


def sheet(photos: Sequence[CrowdPhoto], results: Sequence[PeopleResult], titles: Sequence[str], columns: int) -> Figure:
    """Photos under their parts, true and parsed side by side; people are outlined in matching colours.

    A legend below names the parts.
    """
    rows = -(-len(photos) // columns)
    figure, axes = new_figure(rows, 2 * columns, width=2.0, height=2.3)
    for place in axes.flat:
        place.set_axis_off()
    for number, (photo, result, title) in enumerate(zip(photos, results, titles, strict=True)):
        row, column = divmod(number, columns)
        assert result.classes is not None
        assert result.persons is not None
        own = same_colours(photo.truth.persons, result.persons)
        pairs = ((photo.truth.classes, photo.truth.persons, "true"), (result.classes, own, title))
        for place, (classes, persons, words) in zip(axes[row, 2 * column : 2 * column + 2], pairs, strict=True):
            show_image(place, ringed_people(painted(photo, classes), persons))
            place.set_title(words, fontsize=7)
    shown = {int(index) for photo in photos for index in np.unique(photo.truth.classes)}
    add_legend(figure, labels(), sorted(shown - {BACKGROUND, IGNORE}), columns=4 * columns)
    return figure


def same_colours(true: Array, said: Array) -> Array:
    """Renumber predicted people [H,W]: each, the largest first, has the number of the true person that it covers most.

    One that covers nobody, or whose number is taken, has a number behind all others.
    """
    made, taken = np.zeros_like(said), set[int]()
    for index in sorted(np.unique(said[said > 0]), key=lambda one: -int((said == one).sum())):
        counts = np.bincount(true[(said == index) & (true < 255)], minlength=2)[1:]
        best = int(counts.argmax()) + 1 if counts.any() else 0
        number = best if best and best not in taken else max({int(true[true < 255].max()), *taken}) + 1
        taken.add(number)
        made[said == index] = number
    return made


def ringed_people(image: RGB, persons: Array) -> RGB:
    """Draw the border of every person of a map uint8 [H,W] in that person's colour."""
    made = np.array(image)
    for index in np.unique(persons[persons > 0]):
        edge = outlines(persons == index)
        edge[1:] |= edge[:-1]
        made[edge] = hue(int(index) - 1)
    return made


LETTERS = {".": 0, "H": 1, "T": 2, "L": 3}
"""Background, head, torso and legs of people who are one pixel high."""


def row(text: str) -> Array:
    """Labels uint8 [1,n] of a row of pixels: row(".HHTTLL.....")."""
    if set(text) - set(LETTERS):
        raise ValueError(f"a row of pixels is made of {' '.join(LETTERS)}, not {text!r}")
    return np.array([[LETTERS[sign] for sign in text]], np.uint8)


def row_truth(*people: str) -> PeopleTruth:
    """The truth of a row of pixels, one text a person; a later person covers an earlier one."""
    classes, persons = (np.zeros_like(row(people[0])) for _ in range(2))
    for number, text in enumerate(people, 1):
        mine = row(text)
        classes, persons = np.where(mine > 0, mine, classes), np.where(mine > 0, number, persons)
    return PeopleTruth(classes.astype(np.uint8), persons.astype(np.uint8))


def row_result(people: Sequence[tuple[str, float]]) -> PeopleResult:
    """What predicted people (a text and a score each) make: the better-scored is on top, parts are kept unmerged."""
    ordered = sorted(people, key=lambda one: -one[1])
    regions = [Pasted(row(text), np.ones((1, len(text)), np.float32), 0, 0, value) for text, value in ordered]
    made = assemble(regions, (1, len(ordered[0][0])), RegionRules(0.0, 0.0, parts="unmerged"), len(LETTERS))
    own = tuple(cut_out(row(text), value) for text, value in ordered)
    return PeopleResult(made.classes, own, made.parts, made.persons)


def row_figure(truth: PeopleTruth, people: Sequence[tuple[str, float]]) -> Figure:
    """Draw the true people and the predicted ones below one another, with a letter in every pixel."""
    lines = [(f"true {chr(64 + index)}", truth.person(index)) for index in truth.ids]
    lines += [(f"P{number} ({value:g})", row(text)) for number, (text, value) in enumerate(people, 1)]
    lines.append(("merged map", np.asarray(row_result(people).classes)))
    figure, axes = new_figure(width=5.6, height=0.34 * len(lines) + 0.5)
    place, signs = axes[0, 0], list(LETTERS)
    colours = np.array([(238, 238, 238), *(tuple(int(INK[i][a : a + 2], 16) for a in (1, 3, 5)) for i in (3, 2, 4))])
    grid = np.concatenate([labels for _, labels in lines])
    place.imshow(colours[grid].astype(np.uint8), aspect="auto")
    for (down, across), label in np.ndenumerate(grid):
        if label:
            place.text(across, down, signs[label], ha="center", va="center", fontsize=9)
    place.set_yticks(range(len(lines)), [name for name, _ in lines])
    place.set_xticks(range(grid.shape[1]))
    place.set_xticks(np.arange(grid.shape[1] + 1) - 0.5, minor=True)
    place.set_yticks(np.arange(len(lines) + 1) - 0.5, minor=True)
    place.grid(False)
    place.grid(which="minor", color="white", linewidth=2)
    place.tick_params(which="both", length=0)
    place.set_title("twelve pixels: H head, T torso, L legs")
    return figure
