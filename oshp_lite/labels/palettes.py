"""One colour per meaning, the same in every dataset, chosen to stay apart in small pictures."""

from __future__ import annotations

from collections.abc import Mapping

from oshp_lite.errors import UserError

Colour = tuple[int, int, int]

IGNORE_COLOUR: Colour = (236, 236, 236)
UNUSED_COLOUR: Colour = (128, 128, 128)

# Bodies are drawn in skin and hair tones, garments in saturated hues, small things in greys and pastels.
_COLOURS: Mapping[str, Colour] = {
    "background": (28, 30, 38),
    # head
    "hat": (70, 200, 235),
    "hair": (112, 66, 40),
    "face": (255, 217, 178),
    "head": (255, 200, 120),
    "sunglasses": (60, 70, 105),
    # garments
    "upper-clothes": (52, 112, 210),
    "coat": (38, 48, 125),
    "dress": (235, 82, 160),
    "skirt": (250, 208, 48),
    "pants": (58, 160, 80),
    "jumpsuits": (18, 140, 140),
    "socks": (150, 158, 205),
    "legwear": (130, 136, 190),
    "shoes": (214, 52, 50),
    "scarf": (250, 150, 140),
    "belt": (96, 96, 100),
    "glove": (120, 190, 170),
    "bag": (160, 92, 226),
    "accessory": (205, 205, 130),
    # body
    "arms": (245, 158, 104),
    "legs": (196, 112, 88),
    "torso-skin": (216, 150, 168),
    "skin": (255, 205, 165),
    # coarse parts
    "body": (52, 112, 210),
    "torso": (78, 134, 214),
    "upper-arms": (245, 158, 104),
    "lower-arms": (240, 108, 60),
    "upper-legs": (58, 160, 80),
    "lower-legs": (146, 206, 110),
}


def colour_of(meaning: str) -> Colour:
    """Red, green, blue in 0..255 of a meaning such as "hat" or "legs". Raises UserError for an unknown one."""
    try:
        return _COLOURS[meaning]
    except KeyError:
        known = ", ".join(sorted(_COLOURS))
        raise UserError(f"no colour is kept for {meaning!r}; known meanings: {known}") from None


def shade(colour: Colour, step: int) -> Colour:
    """A neighbouring shade: step 0 is the colour itself, 1, 2, ... alternate darker and lighter.

    Used where several raw ids share one meaning (left and right arm, the many CCP tags of one class).
    """
    if step == 0:
        return colour
    amount, target = min(0.16 * ((step + 1) // 2), 0.6), 0 if step % 2 else 255
    red, green, blue = (round(value + (target - value) * amount) for value in colour)
    return red, green, blue
