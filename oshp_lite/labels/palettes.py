"""One colour per meaning, the same in every dataset, chosen to stay apart in small pictures."""

from __future__ import annotations

from collections.abc import Mapping

from oshp_lite.errors import UserError

Colour = tuple[int, int, int]

IGNORE_COLOUR: Colour = (236, 236, 236)
UNUSED_COLOUR: Colour = (128, 128, 128)

# Bodies are drawn in skin and hair tones, garments in saturated hues, small things in greys and pastels.
_COLOURS: Mapping[str, Colour] = {
    name: (int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16))
    for line in (
        "background 1c1e26, hat 46c8eb, hair 704228, face ffd9b2, head ffc878, sunglasses 3c4669",
        "upper-clothes 3470d2, coat 26307d, dress eb52a0, skirt fad030, pants 3aa050, jumpsuits 128c8c, socks 969ecd",
        "legwear 8288be, shoes d63432, scarf fa968c, belt 606064, glove 78beaa, bag a05ce2, accessory cdcd82",
        "arms f59e68, legs c47058, torso-skin d896a8, skin ffcda5",
        "body 3470d2, torso 4e86d6, upper-arms f59e68, lower-arms f06c3c, upper-legs 3aa050, lower-legs 92ce6e",
    )
    for name, code in (entry.split() for entry in line.split(", "))
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
