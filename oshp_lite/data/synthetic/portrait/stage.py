"""One scene of version 5: people in a place, in its light, with exact masks. For the book; studies use version 4."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oshp_lite.data.synthetic.outlines import ellipse
from oshp_lite.data.synthetic.portrait.easel import Easel
from oshp_lite.data.synthetic.portrait.fabrics import CLOTH, LIFE, NOTHING
from oshp_lite.data.synthetic.portrait.frame import (
    Physique,
    arm_joints,
    arm_radii,
    calm_pose,
    leg_joints,
    leg_radii,
    torso_strip,
    tube,
)
from oshp_lite.data.synthetic.portrait.people import Outfit, Person
from oshp_lite.data.synthetic.portrait.places import Place
from oshp_lite.data.synthetic.raster import FINE
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.scenes import CrowdSpec, Scene, Spec, spec
from oshp_lite.data.synthetic.skeleton import SIDES, Build, Figure, Pose, stand_up, strong_pose
from oshp_lite.data.synthetic.textures import noise_tile, tile_crop
from oshp_lite.errors import UserError

GENERATOR_VERSION = 5
UPRIGHT = ("run", "walk", "lunge", "dance", "serve", "stretch")
"""Strong poses in which clothes still hang as they are cut."""
CHILDREN = 0.1
"""How often a person is a child where the dataset's own habits say less."""


class Slot(NamedTuple):
    """Where one of several people stands: number from far to near, how many, place from left, stature, spread."""

    number: int
    total: int
    place: int
    tall: float
    spread: float


def scene(name: str, seed: int, index: int, size: int = 256, cloth: str = LIFE) -> Scene:
    """Scene `index` of the dataset `name` as version 5 draws it with `seed`: alone or in a batch the same.

    `cloth` is one of `CLOTH`. UserError for an unknown name, size or cloth.
    """
    what = spec(name)
    if not 32 <= size <= 1024:
        raise UserError(f"a scene's size must be between 32 and 1024 pixels, not {size}; choose one in that range")
    if cloth not in CLOTH:
        raise UserError(f"there is no cloth called {cloth!r}; choose one of {', '.join(map(repr, CLOTH))}")
    for attempt in range(8):  # rarely, people hide one another so well that too few are left: then once more
        drawn = _attempt(what, (f"portrait-{what.name}", seed, index, attempt), size, cloth)
        if int(drawn.persons.max()) >= what.people[0]:
            break
    return drawn


def _attempt(what: Spec, key: tuple[int | str, ...], size: int, cloth: str) -> Scene:
    side = size * FINE
    place = Place(Rng(*key, "place"), side, side)
    easel = Easel(place.image, place.light)
    rng = Rng(*key, "scene")
    n = rng.integer(*what.people)
    slots = sorted(range(n), key=lambda _: rng.u())
    tall = rng.uniform(*what.height)
    spread = tall * rng.uniform(*what.spread) if isinstance(what, CrowdSpec) else 1.0
    for k in range(n):
        easel.person = k + 1
        tailor = Rng(*key, "cloth", k) if cloth == NOTHING else None
        _person(easel, what, Rng(*key, "person", k), Slot(k, n, slots[k], tall, spread), side, tailor)
    image, atoms, persons = easel.finish()
    seen = np.unique(persons)
    number = np.zeros(256, dtype=np.uint8)  # those who can be seen are numbered 1, 2, ... from far to near
    number[seen[seen > 0]] = np.arange(1, int((seen > 0).sum()) + 1)
    return Scene(_developed(image, Rng(*key, "camera")), atoms, number[persons])


def _person(easel: Easel, what: Spec, rng: Rng, slot: Slot, side: int, tailor: Rng | None) -> None:
    who = Physique.random(rng, rng.chance(max(what.children, CHILDREN)))
    build, hands = who.build(rng), dict.fromkeys(SIDES, "")
    strong = rng.chance(what.strong)
    if strong:
        pose = strong_pose(rng, back=what.back)
        while pose.name not in UPRIGHT:
            pose = strong_pose(rng, back=what.back)
    else:
        pose, hands = calm_pose(rng, what.yaw, what.back)
    fig = (_alone(build, pose, who, what, side, rng) if slot.total == 1 else _among(build, pose, who, what, slot, side,
        rng))
    _ground_shadow(easel, fig, who)
    outfit = Outfit.random(rng, what.habits, who)
    if strong and outfit.core in ("skirt", "dress") and rng.chance(0.8):  # few do sports in them
        outfit.core = "pants"
    Person(easel, fig, who, outfit, hands, rng, tailor).paint()


def _alone(build: Build, pose: Pose, who: Physique, what: Spec, side: int, rng: Rng) -> Figure:
    """One person in the middle: whole, or from the knees or the waist upwards."""
    fig = stand_up(build, pose, 1.0, (0.0, 0.0))
    xy = np.stack(list(fig.p.values()))
    (x0, y0), (x1, y1) = xy.min(0) - np.array([0.06, 0.045]), xy.max(0) + np.array([0.06, 0.03])
    room = 0.92 * min(who.stature, 1.0) * min(0.96 + rng.uniform(0, 0.06), 1.0)
    scale = min(room, 0.93 / (y1 - y0), 0.9 / (x1 - x0) if x1 - x0 > 0.9 else 9.0)
    top = 0.955 - y1 * scale
    if rng.chance(what.truncate):
        scale *= rng.uniform(1.3, 1.75) / max(who.stature, 0.8)
        top = rng.uniform(0.04, 0.07) - y0 * scale
    x = 0.5 - (x0 + x1) / 2 * scale + rng.normal(0, 0.025)
    return stand_up(build, pose, scale * side, (x * side, top * side))


def _among(build: Build, pose: Pose, who: Physique, what: Spec, slot: Slot, side: int, rng: Rng) -> Figure:
    """One of several: the nearer the larger and the lower in the picture."""
    near = slot.number / (slot.total - 1)
    tall = slot.tall * (0.80 + 0.25 * near) * who.stature
    x = 0.5 + ((slot.place + 0.5 + rng.uniform(-0.25, 0.25)) / slot.total - 0.5) * slot.spread * 0.92
    y = 0.83 + 0.13 * near + rng.uniform(-0.02, 0.02)
    if slot.spread < 1 and isinstance(what, CrowdSpec):
        y = 0.88 + (y - 0.88) * slot.tall
    if rng.chance(what.truncate * 0.5):
        tall *= rng.uniform(1.1, 1.4)
    return stand_up(build, pose, tall * side, (x * side, max(y, tall + 0.02) * side))


def _ground_shadow(easel: Easel, fig: Figure, who: Physique) -> None:
    """The person's own shadow on the floor, away from the light, and a dark spot under either foot."""
    s, light = fig.scale, easel.light
    parts = [torso_strip(fig, np.linspace(0, 1, 9), 0.01)]
    for side in SIDES:
        parts += [p for p, _ in tube(leg_joints(fig, side), leg_radii(fig, who), (1, 1))]
        parts += [p for p, _ in tube(arm_joints(fig, side), arm_radii(fig, who), (1, 1))]
    centre = (fig.at("crown") + fig.at("chin")) / 2
    parts.append(ellipse(centre, fig.build.head * s * 0.4, fig.build.head * s * 0.52))
    feet = [(fig.at("ankle", k) + fig.at("toe", k)) / 2 for k in SIDES]
    ground = max(float(p[1]) for p in feet)
    lx, _, lz = light.towards

    def laid(p: np.ndarray) -> np.ndarray:
        up = ground - p[:, 1]
        return np.stack([p[:, 0] - up * lx * 0.75, ground - up * 0.20 * lz], 1)

    tint = np.array([58, 56, 74]) * (1 - light.hard) + np.array([40, 42, 66]) * light.hard
    easel.glaze([laid(p) for p in parts], tint, 0.16 + 0.34 * light.hard, (0.03 - 0.02 * light.hard) * s, multiply=True)
    for p in feet:
        spot = ellipse(p + np.array([-lx * 0.012, 0.014]) * s, 0.045 * s, 0.014 * s)
        easel.glaze([spot], tint * 0.5, 0.6, 0.010 * s, multiply=True)


def _developed(image: np.ndarray, rng: Rng) -> np.ndarray:
    """A camera that does little: a gentle curve and a fine grain, uint8."""
    h, w = image.shape[:2]
    x = np.clip(image / 255, 0, 1)
    x = x + (x * x * (3 - 2 * x) - x) * np.float32(0.22)
    grain = tile_crop(noise_tile(0), rng.integer(0, 255), rng.integer(0, 255), w, h)
    return np.asarray(np.clip(x * 255 + grain[..., None] * np.float32(1.3) + 0.5, 0, 255), dtype=np.uint8)
