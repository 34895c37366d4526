"""Drawing one dressed person, back to front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from oshp_lite.data.synthetic import accessories as acc
from oshp_lite.data.synthetic import body
from oshp_lite.data.synthetic import garments as gar
from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.outlines import across, ellipse
from oshp_lite.data.synthetic.raster import Canvas, Paint, Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import SIDES, Figure
from oshp_lite.data.synthetic.textures import Cloth, Flat, hair_tone, skin_tone
from oshp_lite.data.synthetic.wardrobe import Outfit

Shapes = Sequence[Shape]
Folds = Sequence[gar.Fold]


class Person:
    """One figure in its outfit, ready to be drawn on a canvas."""

    def __init__(self, canvas: Canvas, fig: Figure, outfit: Outfit, rng: Rng) -> None:
        self.canvas, self.fig, self.outfit, self.rng = canvas, fig, outfit, rng
        self.head = body.Head(fig)
        self.tone = skin_tone(rng)
        self.skin = Flat(self.tone, 0.012, 2)
        self.hair = Flat(hair_tone(rng), 0.13, 4)
        self.s = fig.scale
        for piece in (outfit.top_cloth, outfit.low_cloth, outfit.coat_cloth):
            piece.top, piece.bottom = float(fig.at("neck")[1]), float(fig.at("ankle", "left")[1])

    def _layer(
        self, shapes: Shapes, paint: Paint, soft: float, relief: float = 1.0, shadow: float = 0.22, folds: Folds = ()
    ) -> None:
        if any(a for _, a in shapes):
            soft = max(soft * self.s, 0.8)
            self.canvas.layer(shapes, paint, soft=soft, relief=relief, folds=folds, shadow=shadow)

    def draw(self) -> None:
        """Everything, the farthest first."""
        o, fig, head = self.outfit, self.fig, self.head
        behind = {side: self._arm_behind(side) for side in SIDES}
        bag, under = acc.bag_shapes(fig, o.bag, self.rng.pick(SIDES), self.rng) if o.bag else ([], True)
        if o.hair and head.facing:
            self._layer(body.hair_back(head, o.hair, o.hair_length, self.rng), self.hair, 0.02)
        if o.coat and o.coat_length > 1.05:
            self._coat_back()
        for side in SIDES:
            if behind[side]:
                self._arm(side)
        for side in fig.order("knee"):
            self._leg(side, last=side == fig.order("knee")[1])
        self._trunk()
        if o.coat:
            self._coat(o.coat)
        if o.scarf:
            self._layer(acc.scarf_shapes(fig, self.rng), o.scarf_cloth, 0.012)
        self._head()
        if under:
            self._layer(bag, o.bag_cloth, 0.016, 0.8)
        for side in fig.order("elbow"):
            if not behind[side]:
                self._arm(side)
        if not under:
            self._layer(bag, o.bag_cloth, 0.016, 0.8)

    def _arm_behind(self, side: str) -> bool:
        z = self.fig.z
        trunk = 0.4 * z["neck", ""] + 0.6 * z["pelvis", ""]
        return 0.6 * z["elbow", side] + 0.4 * z["wrist", side] < trunk - 0.035

    def _arm(self, side: str) -> None:
        o, fig = self.outfit, self.fig
        bare = body.arm_shapes(fig, side)
        self._layer(bare, self.skin, 0.016, 0.9)
        d = fig.at("elbow", side) - fig.at("shoulder", side)
        angle = float(np.arctan2(-d[0], max(d[1], 1e-3))) if d[1] > 0 else 0.0
        if o.top.sleeve:
            width = 0.001 if o.coat and o.coat.sleeve else o.top.width
            self._sleeve(side, o.top.material, o.top.sleeve, width, o.top_cloth.turned(angle), 0.02)
        if o.gloves:
            self._layer(acc.glove_shapes(fig, side, bare, o.gloves), o.glove_cloth, 0.014)
        if o.coat and o.coat.sleeve:
            self._sleeve(side, "coat", o.coat.sleeve, o.coat.width, o.coat_cloth.turned(angle), 0.022)

    def _sleeve(self, side: str, material: str, length: float, width: float, paint: Cloth, soft: float) -> None:
        folds = gar.sleeve_folds(self.fig, side, length, self.rng)
        self._layer(gar.sleeve_shapes(self.fig, side, material, length, width), paint, soft, folds=folds)

    def _leg(self, side: str, last: bool) -> None:
        o, fig = self.outfit, self.fig
        self._layer(body.leg_shapes(fig, side), self.skin, 0.026, 0.9)
        if o.socks:
            self._layer(acc.sock_shapes(fig, side, o.socks), o.sock_cloth, 0.02)
        tucked_in = o.shoes in ("boot", "ankle-boot") and o.leg_fit[2] < 0.01
        shoe = acc.shoe_shapes(fig, side, o.shoes, o.shaft, self.rng) if o.shoes else []
        if not tucked_in:
            self._layer(shoe, o.shoe_cloth, 0.014)
        if o.core in ("pants", "jumpsuit") or o.leggings:
            length, fit, material, paint = o.leg_length, np.array(o.leg_fit), "pants", o.low_cloth
            if o.core == "jumpsuit":
                material, paint = "jumpsuit", o.top_cloth
            elif o.core != "pants":
                length, fit, paint = 1.97, np.array([0.002, 0.002, 0.002]), o.legging_cloth
            shapes = gar.trouser_leg(fig, side, material, length, fit)
            folds = gar.trouser_folds(fig, side, length, self.rng)
            if last and o.core not in ("skirt", "dress"):
                shapes = shapes + gar.seat_shapes(fig, material, max(o.waist, 0.56), 0.003)
            self._layer(shapes, paint, 0.03, folds=folds)
        if tucked_in:
            self._layer(shoe, o.shoe_cloth, 0.016)

    def _neck(self) -> list[Shape]:
        fig, s = self.fig, self.s
        neck, chin = fig.at("neck"), fig.at("chin")
        centre, u, half = body.torso_rows(fig, np.array([0.0, 0.09]))
        n = across(neck, chin)
        if n[0] < 0:
            n = -n
        w = (0.029 - 0.005 * fig.build.feminine) * s * fig.build.bulk
        up = chin + (self.head.centre - chin) * 0.5
        root, low = u[0] * half[0], n * w * 1.08
        right, left = [up + n * w, neck + low, centre[0] + root], [centre[0] - root, neck - low, up - n * w]
        return [(np.stack([*right, centre[1], *left]), atom("skin", "neck"))]

    def _trunk(self) -> None:
        o, fig, rng = self.outfit, self.fig, self.rng
        trunk = (body.torso_shape(fig, 0.0, 1.0), atom("skin", "torso"))
        self._layer([trunk, *self._neck()], self.skin, 0.03, 0.9, 0.1)
        if o.core == "dress":
            self._skirt("dress", o.top_cloth)
            self._print()
        elif o.core == "jumpsuit":
            shapes = gar.top_shapes(fig, o.top, rng, hem=0.75)
            shapes.insert(1, (body.torso_shape(fig, 0.6, 1.02, 0.004, 8), atom("jumpsuit", "torso")))
            self._layer(shapes, o.top_cloth, 0.04, folds=gar.trunk_folds(fig, 0.1, 0.9, rng))
        else:
            self._two_piece(o.top)
        if o.belt and (o.core == "dress" or (o.core == "pants" and o.tucked)):
            dress = o.core == "dress"
            v = o.waist if dress else max(o.waist, 0.56) + 0.015
            self._layer(acc.belt_shapes(fig, "sash" if dress else "belt", v, 0.006), o.belt_cloth, 0.006, 0.6)

    def _two_piece(self, top: gar.Top) -> None:
        o, fig, rng = self.outfit, self.fig, self.rng
        hem = max(o.waist, 0.56) + 0.08 if o.tucked else max(top.hem, o.waist + 0.03)
        upper = gar.top_shapes(fig, top, rng, hem)
        folds = gar.trunk_folds(fig, 0.05, min(hem, 1.0), rng)
        if o.tucked:
            self._layer(upper, o.top_cloth, 0.04, folds=folds)
        if o.core == "skirt":
            self._skirt("skirt", o.low_cloth)
        else:
            self._layer(gar.seat_shapes(fig, "pants", max(o.waist, 0.56), 0.004), o.low_cloth, 0.035, shadow=0.05)
        if not o.tucked:
            self._layer(upper, o.top_cloth, 0.04, folds=folds)
        self._print()
        if top.neck == "collar":
            self._layer(gar.collar_shapes(fig, top.material, 0.16, 0.004), o.top_cloth, 0.008)
            self._buttons(0.24, min(hem, 0.95), 0.0)

    def _print(self) -> None:
        """A picture or letters on the chest, or a contrasting panel: any garment may have one."""
        rng, s = self.rng, self.s
        if not rng.chance(0.14):
            return
        w, h, v = rng.uniform(0.02, 0.055) * s, rng.uniform(0.015, 0.06) * s, rng.uniform(0.28, 0.5)
        kind, seed = rng.integer(0, 2), rng.array(5, 2)
        if not self.fig.facing:
            return
        at = gar.middle(self.fig, v)
        w *= max(abs(np.cos(self.fig.yaw)), 0.4)
        if kind == 0:
            shapes = [(ellipse(at, w, h), 1)]
        elif kind == 1:
            shapes = [(at + seed * (w, h), 1)]
        else:
            shapes = [(at + np.array([(-w, y), (w, y), (w, y + h * 0.3), (-w, y + h * 0.3)]), 1) for y in (0, h * 0.5)]
        self.canvas.layer(shapes, self.outfit.belt_cloth, soft=0.8, relief=0.0, shadow=0.0, mark=None)

    def _buttons(self, v0: float, v1: float, offset: float) -> None:
        if self.fig.facing and v1 > v0 + 0.1:
            paint = Flat(np.full(3, self.rng.pick((24.0, 110.0, 226.0)), dtype=np.float32), 0)
            shapes = gar.button_shapes(self.fig, v0, v1, offset, self.rng.integer(3, 6))
            self.canvas.layer(shapes, paint, soft=0.6, relief=0.0, shadow=0.2, mark=None)

    def _skirt(self, material: str, paint: Cloth) -> None:
        o, fig, rng = self.outfit, self.fig, self.rng
        shapes, folds = gar.skirt_shapes(fig, material, o.skirt_length, 0.006, o.skirt_flare, rng, o.waist)
        if material == "dress":
            shapes = [*gar.top_shapes(fig, o.top, rng, hem=o.waist + 0.03), *shapes]
            folds += gar.trunk_folds(fig, 0.1, o.waist, rng)
        self._layer(shapes, paint, 0.04, folds=folds)

    def _coat_back(self) -> None:
        o = self.outfit
        shapes, folds = gar.skirt_shapes(self.fig, "coat", max(o.coat_length - 0.98, 0.3), 0.012, 0.02, self.rng, 0.6)
        colour, second = (shade * np.float32(0.72) for shade in (o.coat_cloth.colour, o.coat_cloth.second))
        self._layer(shapes, replace(o.coat_cloth, colour=colour, second=second), 0.04, folds=folds)

    def _coat(self, coat: gar.Top) -> None:
        o, fig, rng = self.outfit, self.fig, self.rng
        ease = coat.ease * np.linspace(0.4, 1.0, 12) + rng.array(12) * 0.0016
        v1 = min(o.coat_length, 1.04)
        shapes: list[Shape] = [(body.torso_shape(fig, 0.0, v1, ease), atom("coat", "torso"))]
        folds = gar.trunk_folds(fig, 0.1, v1, rng)
        bottom = gar.middle(fig, v1) + np.array([0, 0.03 * self.s])
        if o.coat_length > 1.05:
            skirt, more = gar.skirt_shapes(fig, "coat", max(o.coat_length - 0.98, 0.3), coat.ease, 0.02, rng, 0.6)
            shapes += skirt
            folds += more
            bottom = np.mean([p[0].mean(0) for p in skirt], axis=0)
            bottom[1] = max(p[0][:, 1].max() for p in skirt) + 2
        if fig.facing:
            shapes.append((gar.coat_opening(fig, -0.02, bottom, o.coat_open * 0.55, o.coat_open), 0))
        self._layer(shapes, o.coat_cloth, 0.035, folds=folds)
        if fig.facing and coat.neck in ("collar", "v", "crew"):
            collar = gar.collar_shapes(fig, "coat", rng.uniform(0.2, 0.5), max(o.coat_open * 0.6, 0.006))
            self._layer(collar, o.coat_cloth, 0.01, 0.8)
        if coat.neck in ("collar", "boat", "v"):
            self._buttons(0.42, 0.85, o.coat_open * 0.7 + 0.012)

    def _head(self) -> None:
        o, head = self.outfit, self.head
        body.draw_face(self.canvas, head, self.tone, self.rng)
        if o.hair:
            self._layer(body.hair_front(head, o.hair, o.hair_length, self.rng), self.hair, 0.016, 1.1)
        if o.sunglasses:
            glass = Flat(np.array([26, 24, 30], dtype=np.float32), 0.02)
            self._layer(acc.sunglasses_shapes(head, self.rng), glass, 0.006, 1.2, 0.1)
        if o.hat:
            self._layer(acc.hat_shapes(head, o.hat, self.rng), o.hat_cloth, 0.018)
