"""One scene: people in a place, with exact masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, sin
from typing import NamedTuple

import numpy as np

from oshp_lite.data.people import crowdedness, mask_boxes
from oshp_lite.data.synthetic.atoms import merge_table
from oshp_lite.data.synthetic.backgrounds import background
from oshp_lite.data.synthetic.camera import photograph
from oshp_lite.data.synthetic.outlines import ellipse, limb
from oshp_lite.data.synthetic.person import Person
from oshp_lite.data.synthetic.raster import Canvas, Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import Build, Figure, Pose, fashion_pose, stand_up, strong_pose
from oshp_lite.data.synthetic.textures import Flat, cloth
from oshp_lite.data.synthetic.wardrobe import Habits, dress_up
from oshp_lite.errors import UserError
from oshp_lite.labels import canonical

GENERATOR_VERSION = 4


@dataclass(frozen=True)
class Spec:
    """The character of a stand-in dataset."""

    name: str
    label_space: str
    people: tuple[int, int] = (1, 1)
    strong: float = 0.0
    height: tuple[float, float] = (0.92, 1.02)
    harsh: float = 0.2
    truncate: float = 0.17
    yaw: float = 20.0
    back: float = 0.004
    children: float = 0.0
    occluders: float = 0.0
    habits: Habits = field(default_factory=Habits)

    @property
    def stream(self) -> str:
        """Name that seeds every draw: "figures-atr" for synth-atr, so that scenes outlived the datasets' renaming."""
        return f"figures-{self.name.removeprefix('synth-')}"


@dataclass(frozen=True)
class CrowdSpec(Spec):
    """A dataset of people who stand so near each other that they overlap.

    spread  how wide their places are spread, in heights of the people; drawn for each scene
    overlap in a scene of two or more, someone's box overlaps another's by at least this IoU
    """

    spread: tuple[float, float] = (0.3, 0.9)
    overlap: float = 0.2


_LIP_CORE = (("pants", 0.66), ("skirt", 0.1), ("dress", 0.14), ("jumpsuit", 0.1))
_LIP_HABITS = Habits(
    _LIP_CORE, coat=0.4, hat=0.25, bag=0.3, sunglasses=0.12, scarf=0.08, gloves=0.1, barefoot=0.06, bald=0.04
)
_CIHP_CORE = (("pants", 0.62), ("skirt", 0.14), ("dress", 0.2), ("jumpsuit", 0.04))
_CIHP_HABITS = Habits(
    _CIHP_CORE, coat=0.4, hat=0.22, bag=0.25, sunglasses=0.14, scarf=0.08, gloves=0.07, barefoot=0.04, bald=0.03
)

_CIHP = Spec(
    "synth-cihp",
    "cihp",
    people=(2, 6),
    strong=0.3,
    height=(0.5, 0.95),
    harsh=0.6,
    truncate=0.25,
    yaw=40,
    back=0.08,
    children=0.15,
    occluders=0.15,
    habits=_CIHP_HABITS,
)

SPECS: dict[str, Spec] = {
    "synth-atr": Spec("synth-atr", "atr", strong=0.05),
    "synth-pascal": Spec("synth-pascal", "pascal", strong=0.05),
    "synth-lip": Spec(
        "synth-lip",
        "lip",
        strong=0.6,
        height=(0.8, 1.25),
        harsh=0.8,
        truncate=0.4,
        yaw=45,
        back=0.1,
        children=0.12,
        occluders=0.2,
        habits=_LIP_HABITS,
    ),
    "synth-cihp": _CIHP,
    "synth-crowd": CrowdSpec(
        **vars(_CIHP) | {"name": "synth-crowd", "people": (1, 8), "height": (0.2, 0.9), "truncate": 0.2}
    ),
}


@dataclass(frozen=True)
class Scene:
    """A picture with its finest labels: image uint8 [H, W, 3], atoms uint8 [H, W], persons uint8 [H, W] (0 nobody)."""

    image: np.ndarray
    atoms: np.ndarray
    persons: np.ndarray

    def mask(self, space: str) -> np.ndarray:
        """Raw ids uint8 [H, W] in the label space "atr", "lip", "cihp" or "pascal"."""
        return merge_table(space)[self.atoms]


def spec(name: str) -> Spec:
    """The specification of a dataset by name; UserError for an unknown one."""
    canonical(name)  # an old name gets its own sentence
    if name not in SPECS:
        raise UserError(f"there is no procedural dataset called {name!r}; choose one of {', '.join(SPECS)}")
    return SPECS[name]


def scene(name: str, seed: int, index: int, size: int = 256) -> Scene:
    """Scene `index` of the dataset `name` drawn with `seed`: the same alone or in a batch (`size` pixels square)."""
    what = spec(name)
    if not 32 <= size <= 1024:
        raise UserError(f"a scene's size must be between 32 and 1024 pixels, not {size}; choose one in that range")
    for attempt in range(8):  # rarely, people hide one another so well that too few are left: then once more
        drawn = _attempt(what, (what.stream, seed, index, attempt)[: 4 if attempt else 3], size)
        if int(drawn.persons.max()) >= what.people[0] and _crowded(what, drawn):
            break
    return drawn


def _crowded(what: Spec, drawn: Scene) -> bool:
    """Whether a crowd's people overlap as its specification demands; true for other datasets."""
    count = int(drawn.persons.max())
    if not isinstance(what, CrowdSpec) or count < 2:
        return True
    boxes = mask_boxes(drawn.persons, range(1, count + 1))
    return float(crowdedness(boxes).max()) >= what.overlap


class Stage(NamedTuple):
    """What the people of one scene share: how tall they are on the whole, and who stands where from left to right."""

    height: float
    slots: tuple[int, ...]
    spread: float | None = None  # share of the width that the places of a crowd take up


def _attempt(what: Spec, key: tuple[int | str, ...], size: int) -> Scene:
    rng = Rng(*key, "scene")
    place = background(Rng(*key, "place"), size, size)
    angle = rng.uniform(-2.6, -0.5)
    canvas = Canvas(place, (cos(angle), sin(angle)))
    n = rng.integer(*what.people)
    slots = sorted(range(n), key=lambda _: rng.u())
    stage = Stage(rng.uniform(*what.height), tuple(slots))
    if isinstance(what, CrowdSpec):
        stage = stage._replace(spread=stage.height * rng.uniform(*what.spread))
    for k in range(n):
        draw_person(canvas, what, stage, Rng(*key, "person", k), k + 1, size)
    if rng.chance(what.occluders):
        _occlude(canvas, rng, size)
    atoms, persons = canvas.masks()
    seen = np.unique(persons)
    number = np.zeros(256, dtype=np.uint8)  # those who can be seen are numbered 1, 2, ... from far to near
    number[seen[seen > 0]] = np.arange(1, int((seen > 0).sum()) + 1)
    return Scene(photograph(canvas.image, Rng(*key, "camera"), what.harsh), atoms, number[persons])


def draw_person(canvas: Canvas, what: Spec, stage: Stage, rng: Rng, number: int, size: int) -> None:
    """Draw person `number` of a scene (the farther ones first)."""
    child = rng.chance(what.children)
    build = Build.random(rng, child)
    pose = strong_pose(rng, back=what.back) if rng.chance(what.strong) else fashion_pose(rng, what.yaw, what.back)
    scale, foot = _place(what, stage, rng, number, size, child)
    if len(stage.slots) == 1:
        headroom = -rng.uniform(0, 0.12) if rng.chance(what.harsh * 0.15) else rng.uniform(0.0, 0.05)
        fig = _fit(build, pose, scale, size, rng, headroom)
    else:
        fig = stand_up(build, pose, scale, foot)
    outfit = dress_up(rng, what.habits, fig.scale, build.feminine)
    canvas.person = number
    if pose.name == "sit":
        _seat(canvas, fig, rng)
    _ground_shadow(canvas, fig)
    Person(canvas, fig, outfit, rng).draw()


def _place(
    what: Spec, stage: Stage, rng: Rng, number: int, size: int, child: bool
) -> tuple[float, tuple[float, float]]:
    """Stature and foot point in pixels."""
    total = len(stage.slots)
    if total == 1:
        tall = rng.uniform(*what.height) * (0.8 if child else 1.0)
        if rng.chance(what.truncate):
            tall *= rng.uniform(1.1, 1.7)
        return tall * size, (0.5 * size, 0.97 * size)
    near = (number - 1) / (total - 1)
    tall = stage.height * (0.78 + 0.3 * near) * rng.uniform(0.9, 1.1) * (0.7 if child else 1.0)
    x = (stage.slots[number - 1] + 0.5 + rng.uniform(-0.32, 0.32)) / total
    y = 0.78 + 0.18 * near + rng.uniform(-0.03, 0.05)
    if stage.spread is not None:  # a crowd of small people takes up little room
        x, y = 0.5 + (x - 0.5) * stage.spread, 0.88 + (y - 0.88) * stage.height
    cut = rng.chance(0.06)  # a few lose their heads at the upper edge
    if rng.chance(what.truncate):
        tall *= rng.uniform(1.1, 1.5)
    if not cut:
        y = max(y, tall + rng.uniform(-0.01, 0.06))
    return tall * size, (x * size, y * size)


def _fit(build: Build, pose: Pose, scale: float, size: int, rng: Rng, headroom: float) -> Figure:
    """A lone figure in the picture: centred, its feet on the ground, or its head below the upper edge."""
    fig = stand_up(build, pose, scale, (0.0, 0.0))
    xy = np.stack(list(fig.p.values()))
    tall = float(np.ptp(xy[:, 1])) + 0.05 * scale
    room = rng.uniform(0.945, 0.985) * size
    if scale <= 1.03 * size and tall > room:  # meant to be seen whole
        scale *= room / tall
        fig = stand_up(build, pose, scale, (0.0, 0.0))
        xy = np.stack(list(fig.p.values()))
        tall = room
    x0, y0 = xy.min(0)
    x1, y1 = xy.max(0)
    x = 0.5 * size - (x0 + x1) / 2 + rng.normal(0, 0.045) * size
    y = size * rng.uniform(0.95, 0.985) - y1
    if tall > 0.985 * size:
        y = -y0 + 0.035 * scale + headroom * size
    elif tall < 0.8 * size:  # a crouching figure stands somewhere on the floor
        y -= (0.8 * size - tall) * rng.uniform(0.1, 0.7)
    return stand_up(build, pose, scale, (float(x), float(y)))


def _seat(canvas: Canvas, fig: Figure, rng: Rng) -> None:
    """Something to sit on, under the hips: part of the place."""
    s = fig.scale
    hips = (fig.at("hip", "left") + fig.at("hip", "right")) / 2
    low = max(float(fig.at("ankle", k)[1]) for k in ("left", "right"))
    w, top = rng.uniform(0.12, 0.3) * s, float(hips[1]) + 0.045 * s
    x = float(hips[0])
    lid = np.array([(x - w, top), (x - w * 0.86, top - 0.05 * s), (x + w * 0.86, top - 0.05 * s), (x + w, top)])
    canvas.layer([(_box(x, w, top, low), 1), (lid, 1)], cloth(rng, s), soft=0.02 * s, mark=None)
    if rng.chance(0.4):
        back = _box(x, w, top - 0.3 * s, top - 0.04 * s)
        canvas.layer([(back, 1)], cloth(rng, s), soft=0.02 * s, mark=None)


def _box(x: float, w: float, top: float, low: float) -> np.ndarray:
    """An upright box around the line x, as a polygon."""
    return np.array([(x - w, top), (x + w, top), (x + w, low), (x - w, low)])


def _occlude(canvas: Canvas, rng: Rng, size: int) -> None:
    """A thing of the place in front of the people: a table edge, a post, a plant or a ball."""
    kind = rng.pick(("table", "post", "plant", "ball"))
    paint = cloth(rng, size * rng.uniform(0.6, 1.4))
    x, y = rng.uniform(0.1, 0.9) * size, rng.uniform(0.72, 0.95) * size
    shapes: list[Shape] = []
    if kind == "table":
        w = rng.uniform(0.15, 0.5) * size
        shapes = [(np.array([(x - w, y), (x + w, y), (x + w * 0.96, size + 2), (x - w * 0.96, size + 2)]), 1)]
    elif kind == "post":
        shapes = [(_box(x, rng.uniform(0.012, 0.035) * size, -2, size + 2), 1)]
    elif kind == "plant":
        for _ in range(rng.integer(5, 11)):
            tip = np.array([x + rng.normal(0, 0.13) * size, y - rng.uniform(0.05, 0.4) * size])
            root = np.array([x + rng.uniform(-0.02, 0.02) * size, size + 2.0])
            leaf = np.array([0.008, 0.022, 0.016, 0.002]) * size
            shapes.append((limb(root, tip, leaf, bow=rng.uniform(-0.06, 0.06) * size), 1))
    else:
        r = rng.uniform(0.05, 0.12) * size
        shapes = [(ellipse(np.array([x, y]), r, r), 1)]
    canvas.layer(shapes, paint, soft=0.02 * size, mark=False)


def _ground_shadow(canvas: Canvas, fig: Figure) -> None:
    a, b = fig.at("ankle", "left"), fig.at("ankle", "right")
    s = fig.scale
    centre = (a + b) / 2 + np.array([-canvas.light[0] * 0.05 * s, 0.025 * s])
    shape = ellipse(centre, 0.1 * s + abs(float(a[0] - b[0])) / 2, 0.03 * s)
    dark = Flat(np.zeros(3, dtype=np.float32), 0)
    canvas.layer([(shape, 1)], dark, soft=max(0.03 * s, 1), relief=0, shadow=0.5, mark=None, opacity=0.0)
