"""One scene: people in a place, with exact masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import cos, sin

import numpy as np

from oshp_lite.data.figures.atoms import merge_table
from oshp_lite.data.figures.backgrounds import background
from oshp_lite.data.figures.camera import photograph
from oshp_lite.data.figures.dice import Dice
from oshp_lite.data.figures.outlines import ellipse
from oshp_lite.data.figures.person import Person
from oshp_lite.data.figures.raster import Canvas
from oshp_lite.data.figures.skeleton import Build, Figure, Pose, fashion_pose, stand_up, strong_pose
from oshp_lite.data.figures.textures import Flat
from oshp_lite.data.figures.wardrobe import Habits, dress_up
from oshp_lite.errors import UserError

GENERATOR_VERSION = 1


@dataclass(frozen=True)
class Spec:
    """The character of a stand-in dataset."""

    name: str
    label_space: str
    people: tuple[int, int] = (1, 1)
    strong: float = 0.0
    height: tuple[float, float] = (0.84, 0.99)
    harsh: float = 0.2
    truncate: float = 0.12
    yaw: float = 20.0
    back: float = 0.004
    children: float = 0.0
    occluders: float = 0.0
    habits: Habits = field(default_factory=Habits)


SPECS: dict[str, Spec] = {
    "figures-atr": Spec("figures-atr", "atr"),
    "figures-lip": Spec(
        "figures-lip", "lip", strong=0.6, height=(0.6, 1.15), harsh=0.8, truncate=0.4, yaw=45, back=0.1, children=0.12, occluders=0.2,
        habits=Habits(core=(("pants", 0.66), ("skirt", 0.1), ("dress", 0.14), ("jumpsuit", 0.1)), coat=0.4, hat=0.25, bag=0.3, sunglasses=0.12, scarf=0.08, gloves=0.1, barefoot=0.06, bald=0.04),
    ),
    "figures-cihp": Spec(
        "figures-cihp", "cihp", people=(2, 6), strong=0.3, height=(0.45, 0.95), harsh=0.6, truncate=0.25, yaw=40, back=0.08, children=0.15, occluders=0.15,
        habits=Habits(core=(("pants", 0.62), ("skirt", 0.14), ("dress", 0.2), ("jumpsuit", 0.04)), coat=0.4, hat=0.22, bag=0.25, sunglasses=0.14, scarf=0.08, gloves=0.07, barefoot=0.04, bald=0.03),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A picture with its finest labels: image uint8 [H, W, 3], atoms uint8 [H, W], persons uint8 [H, W] (0 nobody)."""

    image: np.ndarray
    atoms: np.ndarray
    persons: np.ndarray

    def mask(self, space: str) -> np.ndarray:
        """Raw ids uint8 [H, W] in the label space "atr", "lip", "cihp" or "pascal"."""
        return merge_table(space)[self.atoms]

    @cached_property
    def boxes(self) -> dict[int, tuple[int, int, int, int]]:
        """The box (x0, y0, x1, y1), ends excluded, of every person that can be seen."""
        out = {}
        for k in np.unique(self.persons[self.persons > 0]).tolist():
            ys, xs = np.nonzero(self.persons == k)
            out[k] = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        return out


def spec(name: str) -> Spec:
    """The specification of a dataset by name; UserError for an unknown one."""
    if name not in SPECS:
        raise UserError(f"there is no procedural dataset called {name!r}; choose one of {', '.join(SPECS)}")
    return SPECS[name]


def scene(name: str, seed: int, index: int, size: int = 256) -> Scene:
    """Scene `index` of the dataset `name` drawn with `seed`: the same alone or in a batch. `size` is the side in pixels."""
    what = spec(name)
    if not 32 <= size <= 1024:
        raise UserError(f"a scene's size must be between 32 and 1024 pixels, not {size}; choose one in that range")
    dice = Dice(name, seed, index, "scene")
    place, _ = background(Dice(name, seed, index, "place"), size, size)
    angle = dice.uniform(-2.6, -0.5)
    light = (cos(angle), sin(angle))
    canvas = Canvas(place, light)
    n = dice.integer(*what.people)
    for k in range(n):
        draw_person(canvas, what, Dice(name, seed, index, "person", k), k + 1, n, size)
    atoms, persons = canvas.masks()
    image = photograph(canvas.image, Dice(name, seed, index, "camera"), what.harsh)
    return Scene(image, atoms, persons)


def draw_person(canvas: Canvas, what: Spec, dice: Dice, number: int, total: int, size: int) -> None:
    """Draw person `number` of `total` (the farther ones first)."""
    child = dice.chance(what.children)
    build = Build.random(dice, child)
    pose = strong_pose(dice, back=what.back) if dice.chance(what.strong) else fashion_pose(dice, what.yaw, what.back)
    scale, foot = _place(what, dice, number, total, size, child)
    fig = stand_up(build, pose, scale, foot)
    if total == 1:
        fig = _fit(fig, build, pose, scale, size, what, dice)
    outfit = dress_up(dice, what.habits, fig.scale, build.feminine)
    canvas.person = number
    _ground_shadow(canvas, fig)
    Person(canvas, fig, outfit, dice).draw()


def _place(what: Spec, dice: Dice, number: int, total: int, size: int, child: bool) -> tuple[float, tuple[float, float]]:
    """Stature and foot point in pixels."""
    t = (number - 1) / max(total - 1, 1)
    low, high = what.height
    tall = low + (high - low) * (0.25 + 0.6 * t) * dice.uniform(0.85, 1.15) if total > 1 else dice.uniform(low, high)
    if child:
        tall *= 0.7
    x = 0.5 + dice.normal(0, 0.06)
    y = dice.uniform(0.93, 0.985)
    if total > 1:
        order = (number * 2 - 1) % total if total % 2 else (number - 1)
        x = (order + 0.5 + dice.uniform(-0.3, 0.3)) / total
        y = 0.74 + 0.22 * t + dice.uniform(-0.03, 0.05)
    if dice.chance(what.truncate):
        tall *= dice.uniform(1.1, 1.9)
        y = y + (tall - 0.95) * dice.uniform(0.6, 1.0) if tall > 0.95 else y
    return tall * size, (x * size, y * size)


def _fit(fig: Figure, build: Build, pose: Pose, scale: float, size: int, what: Spec, dice: Dice) -> Figure:
    """Move and shrink a lone figure so that its head is in the picture."""
    top = min(float(p[1]) for p in fig.p.values()) - 0.05 * scale
    low = max(float(p[1]) for p in fig.p.values())
    xs = [float(p[0]) for p in fig.p.values()]
    foot = np.array([0.0, 0.0])
    foot[1] = low - 0.012 * scale
    shift = 0.5 * size + dice.normal(0, 0.03) * size - (min(xs) + max(xs)) / 2
    feet = stand_up(build, pose, scale, (0.0, 0.0))
    x0 = -(min(float(p[0]) for p in feet.p.values()) + max(float(p[0]) for p in feet.p.values())) / 2
    if top < 0:
        foot[1] += -top + 0.01 * size
    del shift
    return stand_up(build, pose, scale, (x0 + 0.5 * size + dice.normal(0, 0.05) * size, float(foot[1])))


def _ground_shadow(canvas: Canvas, fig: Figure) -> None:
    a, b = fig.at("ankle", "left"), fig.at("ankle", "right")
    s = fig.scale
    centre = (a + b) / 2 + np.array([-canvas.light[0] * 0.05 * s, 0.025 * s])
    shape = ellipse(centre, 0.1 * s + abs(float(a[0] - b[0])) / 2, 0.03 * s)
    dark = Flat(np.zeros(3, dtype=np.float32), 0)
    canvas.layer([(shape, 1)], dark, soft=max(0.03 * s, 1), relief=0, shadow=0.5, mark=False, opacity=0.0)
