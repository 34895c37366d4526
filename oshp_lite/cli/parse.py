"""`oshp-lite parse`: classes marked in one photo, cut out of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import words
from oshp_lite.errors import UserError

FOREGROUND = (
    "mask of the whole person in the support, 1 = person; its unmarked pixels then compete with your classes. Measured "
    "on 120 pairs of CCP's test photos, IoU of one marked class without and with it: 30 and 39 % by a network trained "
    "on CCP, 20 and 20 % by the shipped one, which has seen synthetic people only and is poor on photos"
)
CLASSES = "ids the checkpoint knows, e.g. 1=hat: three quarters the stored prototype, one quarter the marked pixels"


def parse(
    *,
    support: Annotated[Path, typer.Option(metavar="JPG", help="the photo with the classes")],
    support_mask: Annotated[Path, typer.Option(metavar="PNG", help="its mask: ids 1..K are your classes")],
    query: Annotated[Path, typer.Option(metavar="JPG", help="the photo to be parsed")],
    out: Annotated[Path, typer.Option(metavar="PNG", help="indexed PNG; an overlay goes beside it")],
    classes: Annotated[list[str], words("ID=NAME ...", CLASSES)],
    support_foreground: Annotated[Path | None, typer.Option(metavar="PNG", help=FOREGROUND)] = None,
    no_screening: Annotated[
        bool, typer.Option("--no-screening", help="label pixels outside the predicted person as well")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="checkpoint (default: the small one in the package)")
    ] = None,
    labels: options.Labels = None,
    device: options.Device = None,
) -> None:
    """Cut classes out of a photo, given one photo with a mask."""
    from oshp_lite.assets import checkpoint
    from oshp_lite.files import encode_png, read_image, read_mask, write_together

    named = _classes(classes)
    weights = weights or checkpoint()
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out} must end in .png: the prediction is an indexed picture")
    beside = out.with_name(f"{out.stem}_overlay.png")
    for path in (support, support_mask, query, support_foreground, weights):
        if path is not None and any(_same(path, result) for result in (out, beside)):
            raise UserError(f"--out {out} and its overlay would overwrite the input {path}; choose another name")
    support_image, query_image = read_image(support, upright=True), read_image(query, upright=True)
    mask = read_mask(support_mask)
    foreground = read_mask(support_foreground) if support_foreground else None
    from oshp_lite.predict import load_network, parse_pair
    from oshp_lite.viz import overlay

    parsing = parse_pair(
        load_network(weights, device or "cpu", labels),
        support_image,
        mask,
        query_image,
        classes=named,
        support_foreground=foreground,
        screening=not no_screening,
    )
    picture = overlay(query_image, parsing.mask, parsing.palette)
    write_together({out: encode_png(parsing.mask, parsing.palette), beside: encode_png(picture)})
    for remark in parsing.remarks:
        print(remark)
    for index, name in parsing.names.items():
        print(f"{index}: {name}, {(parsing.mask == index).mean():.1%} of the photo")
    print(f"{out} and {beside}")


def _same(path: Path, other: Path) -> bool:
    """Whether two paths name one file, however they are spelt or linked."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False  # one of them is not there, so nothing is overwritten


def _classes(entries: list[str]) -> dict[int, str]:
    classes: dict[int, str] = {}
    for word in (part for entry in entries for part in entry.split(",") if part):
        index, equals, name = word.partition("=")
        if not equals or not index.isdecimal() or not 1 <= int(index) <= 254 or not name:
            raise UserError(f"--classes takes ID=NAME with an id of 1..254, e.g. 1=hat; got {word!r}")
        if classes.get(int(index), name) != name:
            raise UserError(f"--classes names id {int(index)} twice, {classes[int(index)]} and {name}; keep one")
        classes[int(index)] = name
    return classes
