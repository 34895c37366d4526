"""`oshp-lite parse`: classes marked in one photo, found in another."""

from __future__ import annotations

import argparse
from pathlib import Path

from oshp_lite.errors import UserError


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--weights", metavar="W", help="checkpoint (default: the small one in the package)")
    parser.add_argument("--support", required=True, metavar="JPG", help="the photo with the classes")
    parser.add_argument("--support-mask", required=True, metavar="PNG", help="its mask: ids 1..K are your classes")
    parser.add_argument("--query", required=True, metavar="JPG", help="the photo to be parsed")
    parser.add_argument("--out", required=True, type=Path, metavar="PNG", help="indexed PNG; an overlay goes beside it")
    parser.add_argument(
        "--classes", nargs="+", default=[], metavar="ID=NAME", help="ids that are classes the checkpoint knows: 1=hat"
    )
    parser.add_argument("--support-foreground", metavar="PNG", help="mask of the whole person there: 1 = person")
    parser.add_argument("--no-screening", action="store_true", help="also answer outside the predicted person")
    parser.add_argument("--device", default="cpu")


def run(options: argparse.Namespace) -> int:
    """Do it."""
    classes = _classes(options.classes)
    if options.out.suffix.lower() != ".png":
        raise UserError(f"--out {options.out} must end in .png: the answer is an indexed picture")
    from oshp_lite.files import encode_png, read_image, read_mask, write_atomic, write_mask

    support, query = read_image(options.support, upright=True), read_image(options.query, upright=True)
    mask = read_mask(options.support_mask)
    foreground = read_mask(options.support_foreground) if options.support_foreground else None
    from oshp_lite.assets import checkpoint
    from oshp_lite.predict import load_any_parser, parse_pair
    from oshp_lite.viz import overlay

    parser = load_any_parser(options.weights or checkpoint(), options.device)
    answer = parse_pair(
        parser,
        support,
        mask,
        query,
        classes=classes,
        support_foreground=foreground,
        screening=not options.no_screening,
    )
    beside = options.out.with_name(f"{options.out.stem}_overlay.png")
    picture = encode_png(overlay(query, answer.mask, answer.palette))
    write_mask(options.out, answer.mask, answer.palette)
    write_atomic(beside, picture)
    for remark in answer.remarks:
        print(remark)
    total = answer.mask.size
    for index, name in answer.names.items():
        print(f"{index}: {name}, {(answer.mask == index).sum() / total:.1%} of the photo")
    print(f"{options.out} and {beside}")
    return 0


def _classes(words: list[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for word in (part for entry in words for part in entry.split(",") if part):
        index, equals, name = word.partition("=")
        if not equals or not index.isdigit() or not 1 <= int(index) <= 254 or not name:
            raise UserError(f"--classes takes ID=NAME with an id of 1..254, e.g. 1=hat; got {word!r}")
        found[int(index)] = name
    return found
