"""What a person wears. Only shape and place know the kind of garment: every cloth comes from the same shop."""

from __future__ import annotations

from dataclasses import dataclass

from oshp_lite.data.synthetic.accessories import BAGS, HATS, SHOES
from oshp_lite.data.synthetic.body import HAIR_STYLES, LONG
from oshp_lite.data.synthetic.garments import Top, random_top
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.textures import Cloth, cloth

FITS: dict[tuple[float, float, float], float] = {(0.002, 0.002, 0.002): 3, (0.004, 0.010, 0.014): 3}
FITS |= {(0.008, 0.024, 0.036): 1.6, (0.002, 0.005, 0.034): 1.0, (0.009, 0.014, 0.004): 1.4}
"""How much trousers widen at hip, knee and ankle (skinny, straight, wide, flared, tapered), and how often."""


@dataclass(frozen=True)
class Habits:
    """How often things are worn in a dataset (probabilities)."""

    core: tuple[tuple[str, float], ...] = (("pants", 0.40), ("skirt", 0.31), ("dress", 0.26), ("jumpsuit", 0.03))
    coat: float = 0.34
    hat: float = 0.2
    bag: float = 0.53
    sunglasses: float = 0.29
    scarf: float = 0.055
    belt: float = 0.2
    gloves: float = 0.03
    barefoot: float = 0.02
    leggings: float = 0.13
    bald: float = 0.012


@dataclass
class Outfit:
    """Everything one person wears, with its measures and its cloth."""

    core: str
    top: Top
    top_cloth: Cloth
    low_cloth: Cloth
    coat: Top | None
    coat_cloth: Cloth
    coat_open: float
    coat_length: float
    tucked: bool
    leg_length: float
    leg_fit: tuple[float, float, float]
    skirt_length: float
    skirt_flare: float
    waist: float
    leggings: bool
    legging_cloth: Cloth
    hat: str
    hat_cloth: Cloth
    bag: str
    bag_cloth: Cloth
    shoes: str
    shaft: float
    shoe_cloth: Cloth
    socks: float
    sock_cloth: Cloth
    scarf: bool
    scarf_cloth: Cloth
    belt: bool
    belt_cloth: Cloth
    gloves: float
    glove_cloth: Cloth
    sunglasses: bool
    hair: str
    hair_length: float


def dress_up(rng: Rng, habits: Habits, scale: float, feminine: float) -> Outfit:
    """A random outfit for a person `scale` pixels tall."""
    core = rng.weighted(dict(habits.core))
    if feminine < 0.35 and core in ("dress", "skirt") and rng.chance(0.5):
        core = "pants" if rng.chance(0.4) else core
    main, second = cloth(rng, scale), cloth(rng, scale)
    if rng.chance(0.16):  # a two-piece of one cloth looks like a dress or jumpsuit
        second = main
    coat = random_top(rng, "coat") if rng.chance(habits.coat) else None
    if coat is not None:
        coat.sleeve = rng.weighted({1.95: 5, 1.45: 1, 0.0: 0.5})
        coat.ease = max(coat.ease, 0.010) + 0.008
        coat.width = max(coat.width, 0.008) + 0.007
    one_piece = core in ("dress", "jumpsuit")
    top = random_top(rng, core if one_piece else "upper-clothes")
    if one_piece:
        top.flare, top.ease, top.hem = 0.0, min(top.ease, 0.012), rng.uniform(0.56, 0.7)
    fit = rng.weighted(FITS)
    shoes = "" if rng.chance(habits.barefoot) else rng.weighted(SHOES)
    socks = rng.weighted({0.0: 6, 0.25: 1.2, 0.6: 0.6, 0.92: 0.6, 1.9: 1.0})
    hair = "" if rng.chance(habits.bald) else _hair(rng, feminine)
    coat_length = rng.weighted({0.86: 2.0, 1.0: 2.0, 1.2: 1.0, 1.5: 0.8, 1.9: 0.5, 2.3: 0.3})
    leg_lengths = {0.45: 0.8, 0.7: 0.6, 1.05: 0.5, 1.5: 0.5, 1.84: 1.0, 2.1: 7.0}
    skirt_lengths = {0.45: 1.5, 0.65: 2.2, 0.9: 2.2, 1.2: 1.0, 1.6: 0.9, 1.92: 0.9}
    return Outfit(
        core=core,
        top=top,
        top_cloth=main,
        low_cloth=second,
        coat=coat,
        coat_cloth=main if rng.chance(0.1) else cloth(rng, scale),
        coat_open=rng.weighted({0.0: 0.9, 0.05: 1.6, 0.075: 1.6, 0.1: 0.8}),
        coat_length=coat_length + rng.uniform(-0.06, 0.06),
        tucked=rng.chance(0.45),
        leg_length=rng.weighted(leg_lengths) + rng.uniform(-0.04, 0.02),
        leg_fit=fit,
        skirt_length=rng.weighted(skirt_lengths) + rng.uniform(-0.08, 0.06),
        skirt_flare=rng.weighted({0.0: 1.5, 0.015: 2.0, 0.04: 1.8, 0.075: 0.8}),
        waist=rng.uniform(0.54, 0.72),
        leggings=rng.chance(habits.leggings),
        legging_cloth=cloth(rng, scale),
        hat=rng.weighted(HATS) if rng.chance(habits.hat) else "",
        hat_cloth=cloth(rng, scale),
        bag=rng.weighted(BAGS) if rng.chance(habits.bag) else "",
        bag_cloth=cloth(rng, scale),
        shoes=shoes,
        shaft=rng.uniform(0.18, 0.34) if shoes == "ankle-boot" else rng.uniform(0.6, 0.95),
        shoe_cloth=cloth(rng, scale),
        socks=socks if shoes else 0.0,
        sock_cloth=cloth(rng, scale),
        scarf=rng.chance(habits.scarf),
        scarf_cloth=cloth(rng, scale),
        belt=rng.chance(habits.belt),
        belt_cloth=cloth(rng, scale),
        gloves=rng.uniform(0.1, 0.6) if rng.chance(habits.gloves) else 0.0,
        glove_cloth=cloth(rng, scale),
        sunglasses=rng.chance(habits.sunglasses),
        hair=hair,
        hair_length=rng.uniform(1.35, 3.2),
    )


def _hair(rng: Rng, feminine: float) -> str:
    styles = dict(HAIR_STYLES)
    for name in (*LONG, "bob", "pony", "bun"):
        styles[name] *= 0.25 + 1.5 * feminine
    for name in ("short", "crop", "side"):
        styles[name] *= 2.2 - 2.0 * feminine
    return rng.weighted(styles)
