"""`oshp-lite export`: a parser with its supports, for programs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import words
from oshp_lite.cli.parse import (
    CLASSES,
    FOREGROUND,
    MASKS,
    NAMES,
    parser_with,
    read_classes,
    read_names,
    read_network,
    supports_of,
)
from oshp_lite.errors import UserError

FORM = "onnx (needs the extra `export`), pt2 (torch.export) or both"


def export(
    *,
    support: Annotated[list[Path], words("PHOTO", "a photo with the classes; several: pooled")],
    support_mask: Annotated[list[Path], words("MASK", MASKS)],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="gets the network, the prototypes and a description")],
    names: Annotated[list[str], words("[ID=]NAME ...", NAMES)],
    classes: Annotated[list[str], words("ID=NAME ...", CLASSES)],
    support_foreground: Annotated[list[Path], words("PNG", FOREGROUND)],
    form: Annotated[Literal["onnx", "pt2", "both"], typer.Option(help=FORM)] = "both",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="checkpoint of a k-way EOP-Net (default: the package's)")
    ] = None,
    labels: options.Labels = None,
) -> None:
    """Write a parser as ONNX and torch.export, checked against the network; the supports become a file of numbers."""
    if out.is_file():
        raise UserError(f"--out {out} is a file; name a folder")
    from oshp_lite.predict.export import FORMS, check_forms
    from oshp_lite.predict.export import export as write
    from oshp_lite.predict.parser import ParseOptions

    forms = FORMS if form == "both" else (form,)
    check_forms(forms)
    _, given = supports_of(support, support_mask, support_foreground, read_names(names))
    network = read_network(weights, None if weights else "eopnet", "cpu", labels, "float32")
    paths = write(parser_with(network, ParseOptions(), given, read_classes(classes)), out, forms)
    print(f"wrote {', '.join(path.name for path in paths)} into {out}")
