"""A folder of photos parsed from the same supports: resumable, each photo whole or not at all, with a page to look at.

In the folder of results: `masks/`, `overlays/`, `records/` (one JSON a photo, written together with its pictures, by
which a rerun knows what is done), what was chosen of `cutouts/`, `soft/`, `labelme/` and `scores/`, and at the end
`coco.json`, `contact.png` and `index.html`.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from oshp_lite import viz
from oshp_lite.errors import UserError
from oshp_lite.files import (
    encode_jpeg,
    encode_png,
    read_bytes,
    read_json,
    read_mask,
    sha256_json,
    write_atomic,
    write_json_atomic,
    write_together,
)
from oshp_lite.predict.exports import coco, cutout, json_bytes, labelme, read_photo, soft_mask
from oshp_lite.predict.naming import file_words
from oshp_lite.predict.parser import Parser, PhotoParsing

PICTURES = {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".avif"}
"""Endings of files that are taken for photos; whether they can be read is then a matter of their content."""
EXPORTS = ("cutout", "soft", "labelme", "coco")
SETUP = "setup.json"
THUMB = 240
"""Longer side of a photo on the page and the contact sheet, in pixels."""
PAGE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class FolderReport:
    """What a run over a folder did: photos parsed now, skipped because they were done, and failed with the reason.

    `renewed` are those whose kept masks got other names or further exports.
    """

    parsed: int
    skipped: int
    renewed: int
    failed: dict[str, str]
    left_alone: int
    page: Path


def photos_in(folder: Path) -> tuple[dict[str, Path], int]:
    """The photos of a folder by the name of their results, and how many other files there are. UserError if none."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"folder {folder} cannot be read ({error.strerror}); check the path") from None
    photos = [path for path in files if path.suffix.lower() in PICTURES]
    if not photos:
        raise UserError(f"folder {folder} holds no photo; JPEG and PNG files are parsed")
    stems = [path.stem.lower() for path in photos]
    names = {
        path.stem if stems.count(path.stem.lower()) == 1 else f"{path.stem}_{path.suffix[1:]}": path for path in photos
    }
    return names, len(files) - len(photos)


def pictures_of(photo: np.ndarray, parsing: PhotoParsing, exports: Sequence[str], file: str) -> dict[str, bytes]:
    """What is written of a parse beside mask and overlay: "cutout_CLASS.png", "soft_CLASS.png", "labelme.json"."""
    made: dict[str, bytes] = {}
    for place, (index, word) in enumerate(file_words(parsing.names).items()):
        own = parsing.mask == index
        if "cutout" in exports and own.any():
            made[f"cutout_{word}.png"] = cutout(photo, own)
        if "soft" in exports and parsing.scores is not None:
            made[f"soft_{word}.png"] = soft_mask(parsing.scores[place])
    if "labelme" in exports:
        made["labelme.json"] = json_bytes(labelme(file, parsing.mask, parsing.names))
    return made


def scores_bytes(parsing: PhotoParsing) -> bytes:
    """An npz of `scores` float16 [K,H,W] in [0,1] and `ids` int64 [K]."""
    buffer = io.BytesIO()
    scores: Any = parsing.scores
    np.savez_compressed(buffer, scores=scores, ids=np.array(list(parsing.names)))
    return buffer.getvalue()


def parse_folder(
    parser: Parser,
    folder: Path,
    out: Path,
    *,
    setup: Mapping[str, Any],
    exports: Sequence[str] = (),
    scores: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> FolderReport:
    """Parse every photo of a folder into `out`; photos that are done are skipped, bad ones listed.

    Other names of the classes and further exports are made from the masks that are there, but "soft", which is not.

    setup    what the masks depend on beside the photo (supports, weights, options), as JSON; a folder of another
             set-up is refused unless `fresh`
    exports  of EXPORTS;  scores  probabilities too (npz)

    Raises UserError before anything is written where the supports, the folder or `out` do not fit.
    """
    names, others = photos_in(folder)
    if out.resolve() == folder.resolve():
        raise UserError(f"--out {out} is the folder of the photos itself; choose another one")
    called = {str(index): name for index, name in parser.called.items()}  # wrong supports are refused here
    marker = out / SETUP
    plain, wanted = {**setup, "scores": scores}, sorted(exports)
    before = read_json(marker) if marker.is_file() and not fresh else plain
    if not isinstance(before, dict) or {**before, "exports": wanted} != {**plain, "exports": wanted}:
        raise UserError(f"{out} holds results of other supports or options; choose another folder or say --fresh")
    write_json_atomic(marker, plain)
    failed: dict[str, str] = {}
    parsed = skipped = renewed = 0
    for name, path in tqdm(names.items(), desc="photos", disable=not progress, leave=False):
        stamp = {"stamp": _stamp(path), "setup": sha256_json(plain)}
        record = None if fresh else _record(out, name, stamp)
        if record is not None and record["names"] == called and record.get("exports") == wanted:
            skipped += 1
            continue
        try:
            photo = read_photo(path)
            kept = None if record is None or "soft" in wanted else _kept(out, name, record, parser)
            parsing = kept or parser.parse(photo)
        except UserError as error:
            failed[path.name] = str(error)
            continue
        if record is not None and record["names"] != called:
            _remove_named(out, name, record["names"])
        _write(out, name, path, photo, parsing, exports, scores=scores and kept is None, stamp=stamp)
        renewed += kept is not None
        parsed += kept is None
    done = [name for name in names if (out / "records" / f"{name}.json").is_file()]
    page = summarise(out, done, failed, exports, parser.palette)
    return FolderReport(parsed, skipped, renewed, failed, others, page)


def _stamp(path: Path) -> list[int]:
    """Size and time of a photo: another photo of the same name is parsed again."""
    try:
        about = path.stat()
        return [about.st_size, about.st_mtime_ns]
    except OSError:
        return []


def _record(out: Path, name: str, stamp: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a photo that is done, or None; a --fresh that was interrupted leaves records of another set-up."""
    path = out / "records" / f"{name}.json"
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(path)
        same = all(record.get(key, value) == value for key, value in stamp.items())
        return record if same and isinstance(record["names"], dict) else None
    except (UserError, AttributeError, KeyError, TypeError):
        return None


def _kept(out: Path, name: str, record: Mapping[str, Any], parser: Parser) -> PhotoParsing | None:
    """What a photo was parsed to, with the present names of the classes; None where that cannot be read any more."""
    try:
        before = {label: int(index) for index, label in record["names"].items()}
        remarks = [remark.partition(": ") for remark in record["remarks"]]
        says = tuple("".join([parser.called.get(before.get(a, 0), a), b, c]) for a, b, c in remarks)
        sure = {int(index): float(value) for index, value in record["confidence"].items()}
        mask = read_mask(out / "masks" / f"{name}.png")
        return PhotoParsing(mask, parser.palette, parser.called, says, sure, tuple(record["unlikely"]))
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _remove_named(out: Path, name: str, names: Mapping[str, str]) -> None:
    """Remove a photo's pictures that carry former names of the classes."""
    for word in file_words({int(index): label for index, label in names.items()}).values():
        for sort in ("cutouts", "softs"):
            (out / sort / f"{name}_{word}.png").unlink(missing_ok=True)


def _thumb(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((THUMB, THUMB))
    return np.asarray(image)


def _write(
    out: Path,
    name: str,
    path: Path,
    photo: np.ndarray,
    parsing: PhotoParsing,
    exports: Sequence[str],
    *,
    scores: bool,
    stamp: Mapping[str, Any],
) -> None:
    over = viz.overlay(photo, parsing.mask, parsing.palette)
    files = {
        out / "masks" / f"{name}.png": encode_png(parsing.mask, parsing.palette),
        out / "overlays" / f"{name}.jpg": encode_jpeg(over, 90),
        out / "thumbs" / f"{name}.jpg": encode_jpeg(_thumb(over), 80),
    }
    for kind, content in pictures_of(photo, parsing, exports, path.name).items():
        sort, _, rest = kind.partition("_")
        place = out / "labelme" / f"{name}.json" if kind == "labelme.json" else out / f"{sort}s" / f"{name}_{rest}"
        files[place] = content
    if scores:
        files[out / "scores" / f"{name}.npz"] = scores_bytes(parsing)
    record = {
        "photo": path.name,
        **stamp,
        "exports": sorted(exports),
        "names": {str(index): label for index, label in parsing.names.items()},
        "share": {str(index): round(float((parsing.mask == index).mean()), 5) for index in parsing.names},
        "confidence": {str(index): round(value, 4) for index, value in parsing.confidence.items()},
        "unlikely": list(parsing.unlikely),
        "remarks": list(parsing.remarks),
    }
    # the record is the last to get its name: with it the photo counts as done
    write_together({**files, out / "records" / f"{name}.json": json_bytes(record)})


def summarise(
    out: Path, names: Sequence[str], failed: Mapping[str, str], exports: Sequence[str], palette: np.ndarray
) -> Path:
    """Write contact sheet, page and COCO file of all photos that are done; returns the page."""
    records = {name: read_json(out / "records" / f"{name}.json") for name in names}
    order = sorted(records, key=lambda name: (min(records[name]["confidence"].values(), default=0.0), name))
    if "coco" in exports:
        labels = {int(i): label for record in records.values() for i, label in record["names"].items()}
        items = [
            (
                record["photo"],
                read_mask(out / "masks" / f"{name}.png"),
                {int(i): c for i, c in record["confidence"].items()},
            )
            for name, record in records.items()
        ]
        write_atomic(out / "coco.json", json_bytes(coco(items, labels)))
    if order:
        write_atomic(out / "contact.png", contact_sheet(out, {name: records[name] for name in order}))
    cards = "\n".join(_card(out, name, records[name], palette) for name in order)
    bad = "".join(f"<li><b>{html.escape(name)}</b>: {html.escape(why)}</li>" for name, why in failed.items())
    body = Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(out.resolve().name),
        count=len(order),
        unlikely=sum(any(_is_low(record, index) for index in record["names"]) for record in records.values()),
        failed=f"<h2>Not parsed</h2><ul>{bad}</ul>" if bad else "",
        cards=cards,
    )
    write_atomic(out / "index.html", body.encode("utf-8"))
    return out / "index.html"


def _is_low(record: Mapping[str, Any], index: str) -> bool:
    """Whether a class is probably not in a photo: its confidence is below the threshold, or no pixel is its own."""
    return int(index) in record["unlikely"] or not record["share"][index]


def _card(out: Path, name: str, record: Mapping[str, Any], palette: np.ndarray) -> str:
    picture = base64.b64encode(read_bytes(out / "thumbs" / f"{name}.jpg")).decode("ascii")
    photo = html.escape(str(record["photo"]))
    lines = []
    for index, label in record["names"].items():
        confidence, share = record["confidence"].get(index, 0.0), record["share"][index]
        low = _is_low(record, index)
        says = "probably not there" if low else f"{share:.1%}"
        colour = "rgb({},{},{})".format(*palette[int(index)])
        lines.append(
            f'<li class="{"low" if low else ""}"><i style="background:{colour}"></i><span>{html.escape(label)}</span>'
            f'<meter min="0" max="1" value="{confidence:.3f}">{confidence:.2f}</meter>'
            f"<span>{confidence:.2f}, {says}</span></li>"
        )
    return (
        f'<figure><a href="overlays/{quote(name)}.jpg"><img loading="lazy" alt="{photo} with its classes coloured" '
        f'src="data:image/jpeg;base64,{picture}"></a><figcaption><b>{photo}</b> '
        f'<a href="masks/{quote(name)}.png">mask</a><ul>{"".join(lines)}</ul></figcaption></figure>'
    )


def contact_sheet(out: Path, records: Mapping[str, Mapping[str, Any]], most: int = 200) -> bytes:
    """PNG of the photos' overlays in the given order with name and lowest confidence, at most `most` of them."""
    chosen = list(records.items())[:most]
    columns = max(1, min(6, round(len(chosen) ** 0.5 * 1.3)))
    rows, line = -(-len(chosen) // columns), 18
    sheet = Image.new("RGB", (columns * (THUMB + 8) + 8, rows * (THUMB + line + 8) + 8), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (name, record) in enumerate(chosen):
        left, top = 8 + place % columns * (THUMB + 8), 8 + place // columns * (THUMB + line + 8)
        with Image.open(io.BytesIO(read_bytes(out / "thumbs" / f"{name}.jpg")), formats=["JPEG"]) as thumb:
            sheet.paste(thumb, (left + (THUMB - thumb.width) // 2, top + (THUMB - thumb.height) // 2))
        lowest = min(record["confidence"].values(), default=0.0)
        pen.text((left, top + THUMB + 3), f"{str(record['photo'])[:26]}  {lowest:.2f}", fill="black")
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()
