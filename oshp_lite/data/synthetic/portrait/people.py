"""One person of version 5: who it is, what they wear, and the order in which everything is painted."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import Head, torso_rows
from oshp_lite.data.synthetic.outlines import across
from oshp_lite.data.synthetic.portrait import bottoms, clothes, extras, hair
from oshp_lite.data.synthetic.portrait.clothes import COATS, TOPS, Cut, Wearer
from oshp_lite.data.synthetic.portrait.coats import Coat
from oshp_lite.data.synthetic.portrait.easel import Easel, Tint
from oshp_lite.data.synthetic.portrait.fabrics import LIFE, NOTHING, Shop
from oshp_lite.data.synthetic.portrait.face import SKIN, Face, draw_glasses, rgb
from oshp_lite.data.synthetic.portrait.frame import (
    Physique,
    arm_joints,
    arm_radii,
    draw_hand,
    leg_joints,
    leg_radii,
    shape_torso,
    torso_strip,
    tube,
)
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import SIDES, Figure
from oshp_lite.data.synthetic.wardrobe import Habits

SKIRTS = {"pencil": 1.5, "straight": 2.0, "full": 2.0, "pleated": 1.6}
LEGS = {"jeans": 4.0, "trousers": 4.0, "shorts": 1.0}
DRESS_TOPS = ("v tee", "tee", "tank", "blouse", "long tee", "shirt")


@dataclass
class Outfit:
    """What one person wears: kinds of garment, "" or None where there is none."""

    core: str
    top: Cut
    coat: Cut | None
    open_: float
    legs: str
    fit: str
    length: float
    skirt: str
    skirt_length: float
    waist: float
    tucked: bool
    shoes: str
    shaft: float
    socks: float
    hat: str
    bag: str
    belt: bool
    scarf: bool
    gloves: bool
    sunglasses: bool
    spectacles: bool

    @classmethod
    def random(cls, rng: Rng, habits: Habits, who: Physique) -> Outfit:
        """An outfit; how often each thing is worn stands in the dataset's habits."""
        core = rng.weighted(dict(habits.core))
        if who.feminine < 0.3 and core in ("dress", "skirt"):
            core = "pants" if rng.chance(0.85) else core
        top = TOPS[rng.pick(DRESS_TOPS) if core in ("dress", "jumpsuit") else _kind(rng, TOPS)][1]
        coat = COATS[_kind(rng, COATS)][1] if rng.chance(habits.coat) else None
        if coat is not None and top.neck == "hood" and rng.chance(0.7):
            top = TOPS["sweater"][1]
        if coat is not None:
            top = replace(top, ease=min(top.ease, coat.ease * 0.5))
        legs = rng.weighted(LEGS)
        bare = core in ("skirt", "dress") or legs == "shorts"
        shoes = "" if rng.chance(habits.barefoot) else rng.weighted(extras.SHOES)
        if shoes == "pump" and (who.feminine < 0.5 or who.age == "child"):
            shoes = "sneaker"
        socks = rng.weighted({0.0: 3, 0.3: 1.4, 0.85: 0.6, 1.92: 1.6}) if bare else 0.3
        if shoes in ("", "sandal", "pump") and socks < 1.5:
            socks = 0.0
        return cls(core=core, top=top, coat=coat, open_=rng.weighted({0.0: 1.6, 0.045: 2.0, 0.06: 2.0, 0.075: 0.8}),
            legs=legs, fit=rng.weighted({"skinny": 2.0, "straight": 3.4, "wide": 1.4, "tapered": 1.6}),
            length=rng.uniform(0.5, 0.85) if legs == "shorts" else rng.weighted({2.03: 5.0, 1.9: 1.6, 1.72: 0.7}),
            skirt=rng.weighted(SKIRTS), skirt_length=rng.weighted({0.55: 1.5, 0.8: 2.6, 1.05: 2.0, 1.45: 1.4,
            1.8: 0.8}) + rng.uniform(-0.05, 0.05), waist=rng.uniform(0.58, 0.66), tucked=rng.chance(0.5), shoes=shoes,
            shaft=rng.uniform(0.62, 0.85), socks=socks, hat=rng.weighted(hair.HATS) if rng.chance(habits.hat) else "",
            bag=rng.weighted(extras.BAGS) if rng.chance(habits.bag) else "", belt=rng.chance(habits.belt * 1.6),
            scarf=rng.chance(habits.scarf), gloves=rng.chance(habits.gloves), sunglasses=rng.chance(habits.sunglasses),
            spectacles=rng.chance(0.12))


def _kind(rng: Rng, table: dict[str, tuple[float, Cut]]) -> str:
    return rng.weighted({name: weight for name, (weight, _) in table.items()})


class Person:
    """One figure in its outfit, ready to be painted; with a `tailor`, in cloth that says nothing of the garment."""

    def __init__(
        self,
        easel: Easel,
        fig: Figure,
        who: Physique,
        outfit: Outfit,
        hands: dict[str, str],
        rng: Rng,
        tailor: Rng | None,
    ) -> None:
        shape_torso(fig, who)
        self.fig, self.who, self.o, self.hands, self.rng, self.easel = fig, who, outfit, hands, rng, easel
        self.w = Wearer(easel, fig, who, rng)
        self.head = Head(fig)
        tone = rgb(rng.pick(SKIN))
        self.skin = Tint((tone * np.float32(rng.uniform(0.96, 1.03))).clip(0, 250), 0.02, flesh=True)
        dark = tone.mean() < 150
        elder = who.age == "elder"
        shades = {k: v for k, v in hair.COLOURS.items() if not dark or k in ("241c1a", "3a2a22")}
        self.tint = rgb(rng.weighted(hair.GREY if elder and rng.chance(0.85) else shades))
        self.s = fig.scale
        self._fabrics(Shop(rng, self.s, LIFE))  # always: what is drawn after it is the same with every cloth
        self.printed = self.top.weave == "plain"
        if tailor:
            self._fabrics(Shop(tailor, self.s, NOTHING))

    def _fabrics(self, shop: Shop) -> None:
        o, of = self.o, shop.of
        self.top = of("dress" if o.core in ("dress", "jumpsuit") else o.top.kind)
        self.low = (
            self.top
            if o.core in ("dress", "jumpsuit")
            else of("skirt" if o.core == "skirt" else "jeans" if o.legs == "jeans" else "trousers")
        )
        self.coat = of(o.coat.kind) if o.coat else self.top
        self.leather = of("sneaker" if o.shoes == "sneaker" else "shoe")
        self.sock, self.belt = of("tights" if o.socks > 1.5 else "socks"), of("belt")
        self.hat, self.band = of(hair.HAT_CLOTH.get(o.hat, "cap")), of("belt")
        self.bag, self.scarf, self.glove = of("tote" if o.bag == "tote" else "bag"), of("scarf"), of("gloves")

    def paint(self) -> None:
        """Everything, the farthest first."""
        o, fig, w, head = self.o, self.fig, self.w, self.head
        style = hair.pick_style(self.rng, self.who, o.hat)
        locks = hair.Hair(self.easel, head, self.who, style, self.tint, self.rng)
        coat = Coat(w, o.coat, self.coat, o.open_) if o.coat else None
        bag = extras.Bag(w, o.bag, self.rng.pick(SIDES), self.bag) if o.bag else None
        self.held = bag.grip if bag else ""
        behind = {side: self._behind(side) for side in SIDES}
        if fig.facing:
            locks.behind()
        if coat:
            coat.behind()
        for side in SIDES:
            if behind[side]:
                self._arm(side)
        self._legs()
        self._trunk()
        if coat:
            coat.front()
        if o.scarf:
            extras.draw_scarf(w, self.scarf)
        face = Face(self.easel, head, self.who, self.skin.colour, self.tint, self.rng)
        face.draw()
        if o.spectacles and not o.sunglasses:
            draw_glasses(self.easel, head, self.rng, sun=False)
        if not fig.facing:
            locks.behind()
        elif head.facing:
            locks.front()
        if o.sunglasses:
            draw_glasses(self.easel, head, self.rng, sun=True)
        if o.hat:
            hair.draw_hat(self.easel, head, o.hat, self.hat, self.band, self.rng)
        if bag and bag.under:
            bag.draw()
        for side in fig.order("elbow"):
            if not behind[side]:
                self._arm(side)
        if bag and not bag.under:
            bag.draw()

    def _behind(self, side: str) -> bool:
        z = self.fig.z
        trunk = 0.4 * z["neck", ""] + 0.6 * z["pelvis", ""]
        return 0.6 * z["elbow", side] + 0.4 * z["wrist", side] < trunk - 0.045

    def _arm(self, side: str) -> None:
        o, fig, s = self.o, self.fig, self.s
        atoms = atom("skin", "upper-arm", side), atom("skin", "lower-arm", side)
        joints, radii = arm_joints(fig, side), arm_radii(fig, self.who)
        form: list[Shape] = [(torso_strip(fig, clothes.TRUNK, 0.0), 1)]
        bare = tube(joints, radii, atoms, 0.0, 2.0, hem=0.004 * s)
        hidden = self.hands.get(side) == "pocket"
        long = max(o.top.sleeve, o.coat.sleeve if o.coat else 0.0)
        if long < 1.9:
            thrown = tube(joints, radii, atoms, 0.5, 2.0, cap=False)
            self.easel.layer(bare, self.skin, 0.022 * s, depth=1.3, rim=0.1, form=form, caster=thrown, cast=0.35)
        elif hidden:
            self.easel.layer(tube(joints, radii, atoms, 1.5, 2.0, cap=False), self.skin, 0.02 * s, cast=0.0)
        if not hidden:
            grip = "fist" if side == self.held else "spread" if self.hands.get(side) == "wave" else "rest"
            kind = "glove" if o.gloves else "skin"
            paint = Tint(self.glove.colour, 0.04) if o.gloves else self.skin
            draw_hand(self.easel, fig, side, paint, grip, kind, 0.25 if o.gloves else 0.0)
        if o.top.sleeve and not o.coat:
            clothes.draw_sleeve(self.w, side, o.top, self.top, self._material)
        if o.coat:
            clothes.draw_sleeve(self.w, side, o.coat, self.coat, "coat")

    @property
    def _material(self) -> str:
        return self.o.core if self.o.core in ("dress", "jumpsuit") else "upper-clothes"

    def _legs(self) -> None:
        o, fig, w, s = self.o, self.fig, self.w, self.s
        inner = Tint(self.sock.colour) if o.socks else self.skin
        covered = o.core in ("pants", "jumpsuit") and o.legs != "shorts" and o.length > 1.8
        tucked = o.shoes in ("boot", "ankle-boot") and (o.fit == "skinny" or not covered)
        for side in fig.order("knee"):
            atoms = atom("skin", "upper-leg", side), atom("skin", "lower-leg", side)
            if not covered or o.length < 2:
                bare = tube(leg_joints(fig, side), leg_radii(fig, self.who), atoms, 0.0, 2.0, hem=0.006 * s)
                self.easel.layer(bare, self.skin, 0.035 * s, depth=1.3, rim=0.1, cast=0.45)
                self._knee(side, atoms)
            if not o.shoes or o.shoes in ("pump", "loafer"):
                extras.draw_bare_foot(w, side, self.skin)
            if o.socks:
                extras.draw_socks(w, side, self.sock, o.socks)
            if o.shoes and not (tucked and covered):
                extras.draw_shoe(w, side, o.shoes, self.leather, o.shaft, inner)
        if o.core in ("pants", "jumpsuit"):
            material = "pants" if o.core == "pants" else "jumpsuit"
            bottoms.draw_trousers(w, "jeans" if self.low.weave == "denim" else "trousers", self.low, material, o.length,
                o.fit, o.waist)
        if o.shoes and tucked and covered:
            for side in fig.order("knee"):
                extras.draw_shoe(w, side, o.shoes, self.leather, o.shaft, inner)

    def _knee(self, side: str, atoms: tuple[int, int]) -> None:
        _, knee, ankle = leg_joints(self.fig, side)
        n, s = across(knee, ankle), self.s
        for d in (-1, 1):
            arc = np.stack([knee + n * d * 0.016 * s - [0, 0.008 * s], knee + n * d * 0.012 * s + [0, 0.012 * s]])
            self.easel.stroke(arc, 0.004 * s, self.skin.colour * 0.8, 0.35, only=list(atoms))

    def _neck(self) -> list[Shape]:
        fig, s = self.fig, self.s
        neck, chin = fig.at("neck"), fig.at("chin")
        centre, u, half = torso_rows(fig, np.array([0.0, 0.07]))
        n = across(neck, chin)
        n = -n if n[0] < 0 else n
        size = (0.0305 - 0.0070 * self.who.feminine) * s * (1 + (self.who.weight - 1) * 0.5)
        size *= 0.86 if self.who.age == "child" else 1.0
        up = chin + (self.head.centre - chin) * 0.55
        root = u[0] * half[0]
        left = [centre[0] - root, neck - n * size * 1.12 + (chin - neck) * 0.12, up - n * size]
        right = [up + n * size, neck + n * size * 1.12 + (chin - neck) * 0.12, centre[0] + root]
        return [(np.stack([*left, *right, centre[1]]), atom("skin", "neck"))]

    def _trunk(self) -> None:
        o, fig, w, s = self.o, self.fig, self.w, self.s
        body = [(torso_strip(fig, np.linspace(0, 1, 14), 0.0), atom("skin", "torso")), *self._neck()]
        if o.core in ("pants", "jumpsuit"):  # trousers are painted already: keep their seat on top
            body[0] = (torso_strip(fig, np.linspace(0, o.waist + 0.006, 12), 0.0), atom("skin", "torso"))
        self.easel.layer(body, self.skin, 0.05 * s, depth=1.0, rim=0.06, cast=0.0)
        if fig.facing:
            only = [atom("skin", "torso"), atom("skin", "neck")]
            for d in (-1, 1):  # collar bones, and the throat's shade
                bone = np.stack([w.mid(0.045, 0.008 * d), w.mid(0.035, 0.035 * d), w.mid(0.02, 0.06 * d)])
                self.easel.stroke(bone, 0.004 * s, self.skin.colour * np.array([0.80, 0.68, 0.64]), 0.5, only=only)
        if o.core == "dress":
            self._dress()
        elif o.core == "jumpsuit":
            clothes.draw_top(w, o.top, self.top, "jumpsuit", o.waist + 0.06)
        else:
            self._two_piece()
        if o.belt and (o.core == "dress" or (o.core == "pants" and (o.tucked or not fig.facing))):
            dress = o.core == "dress"
            extras.draw_belt(w, "sash" if dress else "belt", self.top.shaded(0.8) if dress else self.belt,
                o.waist + (0.0 if dress else 0.036), 0.006)

    def _dress(self) -> None:
        o, w = self.o, self.w
        flare = {"pencil": 0.004, "straight": 0.018, "full": 0.065, "pleated": 0.045}[o.skirt]
        low = bottoms.skirt(w, "dress", o.waist, o.skirt_length, 0.006, flare, 11 if o.skirt == "pleated" else 0)
        clothes.draw_top(w, o.top, self.top, "dress", o.waist + 0.03, low.shapes, low.folds)
        only = [a for _, a in low.shapes]
        bottoms.finish_hem(w, self.top, low.hem, only)
        c, u, h = torso_rows(self.fig, np.array([o.waist]))
        if o.skirt in ("full", "pleated") or self.rng.chance(0.5):
            w.seam([c[0] - u[0] * h[0] * 1.1, c[0] + np.array([0, 0.004 * self.s]), c[0] + u[0] * h[0] * 1.1], self.top,
                only, 0.7)
        for line in low.lines if o.skirt == "pleated" else ():
            w.seam(list(line), self.top, only, 0.3)

    def _two_piece(self) -> None:
        o, w = self.o, self.w
        hem = o.waist + 0.012 if o.tucked else o.top.hem
        if o.tucked:
            clothes.draw_top(w, o.top, self.top, "upper-clothes", hem, printed=self.printed)
        if o.core == "skirt":
            bottoms.draw_skirt(w, self.low, o.waist, o.skirt_length, o.skirt)
        if not o.tucked:
            clothes.draw_top(w, o.top, self.top, "upper-clothes", hem, printed=self.printed)
