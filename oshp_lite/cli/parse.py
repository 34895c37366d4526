"""`oshp-lite parse`: classes marked in one or more photos, cut out of another one or of a folder of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import words
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.models.base import OneShotModel
    from oshp_lite.models.inference import Precision
    from oshp_lite.predict import ParseOptions, Parser

FOREGROUND = (
    "mask of a support's whole person, 1 = person; one per support or none. Its unmarked pixels compete with your "
    "classes; without it the network looks for the person itself. Measured on 120 pairs of CCP's test photos, IoU of "
    "one marked class without and with it: 30 and 39 % by an EOP-Net trained on CCP, 20 and 20 % by the shipped one of "
    "drawn people (whole photos, no crop to the person)"
)
CLASSES = (
    "ids that are classes the checkpoint knows, e.g. 1=hat: its own hat is meant (EOP-Net: three quarters the stored "
    "prototype, one quarter the marked pixels)"
)
NAMES = (
    "what to call your classes, in the order of their ids (skirt,bag) or by id (1=skirt,2=bag); COCO and labelme JSON "
    "bring names with them"
)
MASKS = (
    "its mask, one per support and as large: a PNG with the class in white on black, or of ids 1..K for several "
    "classes; COCO or labelme JSON"
)
SHIPPED: dict[str, Literal["lessons", "photos"]] = {"eopnet": "lessons", "matching": "photos"}
"""Methods whose checkpoints the package ships, and which of them it is."""
METHOD = (
    "the method of --weights, checked; or a training-free one on foreign features (label_transfer: DINO weights, "
    "persam: SAM weights), which takes no --weights; matching or eopnet: the package's checkpoint for street photos "
    "(default) or that of drawn people. Only these two methods were measured on photos"
)
UNIVERSAL = (
    "no support: parse into every label space of --weights, a network of method sst; a mask and an overlay for each "
    "label space, their names after --out"
)
PEOPLE = (
    "parse everybody in a photo one by one: weights of method instance, which detects them; a mask a person, "
    "OUT_person1.png and so on, beside the map of all"
)
PRECISION = "bf16: convolutions in bfloat16, faster where the processor has it; scores differ slightly"
EXPORT = "also write: cutout (RGBA), soft (grey masks of the probabilities), labelme, coco; several with commas"


def parse(
    context: typer.Context,
    *,
    support: Annotated[list[Path], words("PHOTO", "a photo with the classes; several: pooled")],
    support_mask: Annotated[list[Path], words("MASK", MASKS)],
    query: Annotated[Path, typer.Option(metavar="PHOTO|FOLDER", help="the photo to be parsed, or a folder of them")],
    out: Annotated[Path, typer.Option(metavar="PNG|FOLDER", help="indexed PNG with an overlay beside it; or a folder")],
    names: Annotated[list[str], words("[ID=]NAME ...", NAMES)],
    classes: Annotated[list[str], words("ID=NAME ...", CLASSES)],
    support_foreground: Annotated[list[Path], words("PNG", FOREGROUND)],
    export: Annotated[list[str], words("KIND", EXPORT)],
    scores: Annotated[bool, typer.Option("--scores", help="also write probabilities (npz)")] = False,
    no_screening: Annotated[
        bool, typer.Option("--no-screening", help="label pixels outside the predicted person as well")
    ] = False,
    no_crop: Annotated[bool, typer.Option("--no-crop", help="parse whole photos, not cut to the person")] = False,
    no_mirror: Annotated[bool, typer.Option("--no-mirror", help="no averaging with the mirrored photo")] = False,
    rivals: Annotated[
        bool, typer.Option("--rivals", help="classes of the checkpoint that no support shows compete too")
    ] = False,
    drop_unlikely: Annotated[
        bool, typer.Option("--drop-unlikely", help="leave out the pixels of classes that are probably not in a photo")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="checkpoint (default: the small one in the package)")
    ] = None,
    method: Annotated[str | None, typer.Option(help=METHOD)] = None,
    labels: options.Labels = None,
    device: options.Device = None,
    precision: Annotated[Literal["float32", "bf16"], typer.Option(help=PRECISION)] = "float32",
    fresh: Annotated[bool, typer.Option("--fresh", help="folder: parse finished photos again")] = False,
    universal: Annotated[bool, typer.Option("--universal", help=UNIVERSAL)] = False,
    people: Annotated[Path | None, typer.Option(metavar="FILE", help=PEOPLE)] = None,
    quiet: options.Quiet = False,
) -> int:
    """Cut classes out of a photo, or of every photo in a folder, given one or more photos with masks."""
    if universal:
        options.takes_only(context, "universal query out weights device quiet", "--universal needs no support")
        return _universal(weights, query, out, device or "cpu", quiet)
    known, called, exports = read_classes(classes), read_names(names), _exports(export)
    check_supports(support, support_mask, support_foreground)
    many = query.is_dir()
    if many and out.suffix.lower() == ".png":
        raise UserError(f"--query {query} is a folder, so --out must name a folder, not {out}")
    if people is not None and (many or exports or scores):
        raise UserError("--people parses one photo and writes masks alone; leave --export, --scores and folders out")
    if not many and out.suffix.lower() != ".png":
        raise UserError(f"--out {out} must end in .png: the prediction is an indexed picture")
    from oshp_lite.predict import ParseOptions

    chosen = ParseOptions(
        crop=not no_crop,
        mirror=not no_mirror,
        screening=not no_screening,
        rivals=rivals,
        drop_unlikely=drop_unlikely,
        scores=scores or "soft" in exports,
    )
    results = [] if many else [out, _beside(out, "overlay.png")]
    for path in (*support, *support_mask, *support_foreground, query, weights, people):
        if path is not None and any(_same(path, result) for result in results):
            raise UserError(f"--out {out} and its overlay would overwrite the input {path}; choose another name")
    photos, given = supports_of(support, support_mask, support_foreground, called)
    if not many:
        from oshp_lite.predict.exports import read_photo

        image = read_photo(query)
    network = read_network(weights, method, device or "cpu", labels, precision)
    parser = parser_with(network, chosen, given, known)
    if people is not None:
        return _people(parser, people, image, out, device or "cpu")
    if many:
        setup = _setup(photos, weights, method, known, chosen, precision)
        return _folder(parser, query, out, setup, exports, scores, fresh, quiet)
    from oshp_lite.files import encode_png, write_together
    from oshp_lite.predict.exports import coco, json_bytes
    from oshp_lite.predict.folder import pictures_of, scores_bytes
    from oshp_lite.viz import overlay

    parsing = parser.parse(image)
    files = {out: encode_png(parsing.mask, parsing.palette)}
    files[results[1]] = encode_png(overlay(image, parsing.mask, parsing.palette))
    more = pictures_of(image, parsing, exports, query.name)
    if "coco" in exports:
        more["coco.json"] = json_bytes(coco([(query.name, parsing.mask, parsing.confidence)], parsing.names))
    if scores:
        more["scores.npz"] = scores_bytes(parsing)
    files |= {_beside(out, kind): content for kind, content in more.items()}
    write_together(files)
    for remark in parsing.remarks:
        print(remark)
    for index, name in parsing.names.items():
        share, sure = (parsing.mask == index).mean(), parsing.confidence[index]
        print(f"{index}: {name}, {share:.1%} of the photo, confidence {sure:.2f}")
    print(f"{out} and {', '.join(path.name for path in list(files)[1:])}")
    return 0


def _universal(weights: Path | None, query: Path, out: Path, device: str, quiet: bool) -> int:
    """Masks of a photo, or of a folder's photos, in every label space of the network."""
    from oshp_lite.predict.universal import load_universal, universal_folder, write_universal

    if weights is None:
        raise UserError("--universal needs --weights: the weights of a training with model.method=sst")
    many = query.is_dir()
    if many == (out.suffix.lower() == ".png"):
        raise UserError(f"--out {out} must be {'a folder, since --query is one' if many else 'a .png for one photo'}")
    network = load_universal(weights, device)
    if not many:
        for name, path in write_universal(network, query, lambda end: _beside(out, end)).items():
            print(f"{name}: {path}")
        return 0
    count, failed = universal_folder(network, query, out, progress=not quiet)
    print(f"{count} photos parsed into {len(network.config.names)} label spaces; look into {out}")
    for name, why in failed.items():
        print(f"  not parsed: {name}: {why}")
    return int(bool(failed))


def _people(parser: Parser, weights: Path, image: Any, out: Path, device: str) -> int:
    """Masks of everybody in a photo."""
    from oshp_lite.predict.people import load_detector, parse_people, write_people

    parsed = parse_people(parser, load_detector(weights, device), image)
    paths = write_people(image, parsed, out, lambda end: _beside(out, end))
    for number, person in enumerate(parsed.people, 1):
        shown = [name for index, name in parsed.names.items() if (person.mask == index).any()]
        print(f"person {number}, score {person.score:.2f}: {', '.join(shown) or 'none of the classes'}")
    print(f"{out} and {', '.join(path.name for path in paths[1:])}")
    return 0


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f"{out.stem}_{kind}")


class Support(NamedTuple):
    """A support's file, photo uint8 [H,W,3], mask uint8 [H,W], names by id, and foreground uint8 [H,W] or None."""

    path: Path
    photo: Any
    mask: Any
    names: dict[int, str]
    foreground: Any


def check_supports(support: Sequence[Path], masks: Sequence[Path], foregrounds: Sequence[Path]) -> None:
    """UserError where supports are missing, or do not have a mask each."""
    if not support:
        raise UserError("give a photo with your classes: --support PHOTO --support-mask MASK")
    if len(support) != len(masks):
        raise UserError(f"{len(support)} --support and {len(masks)} --support-mask; give one mask per support")
    if foregrounds and len(foregrounds) != len(support):
        raise UserError("give one --support-foreground per --support, or none")


def supports_of(
    support: Sequence[Path],
    masks: Sequence[Path],
    foregrounds: Sequence[Path],
    called: Mapping[int, str] | Sequence[str],
) -> tuple[list[Any], list[Support]]:
    """The files of each support, and what is in them. `called` is what --names says. UserError as they may be."""
    from oshp_lite.predict.naming import check_names, names_by_id
    from oshp_lite.predict.photos import marked_ids

    check_supports(support, masks, foregrounds)
    photos, given, known = [*zip_longest(support, masks, foregrounds)], list[Support](), dict[int, str]()
    for photo in photos:
        given.append(_read_support(*photo, known))
        known |= given[-1].names
    ids = {index for one in given for index in marked_ids(one.mask)}
    if not called or not ids:
        return photos, given
    try:
        chosen = names_by_id(called, ids)
        check_names(known | chosen, ids)
    except UserError as error:
        raise UserError(f"--names: {error}") from None
    return photos, [one._replace(names=one.names | chosen) for one in given]


def _read_support(photo: Path, mask: Path, foreground: Path | None, known: Mapping[int, str]) -> Support:
    """A support's files; a name that an earlier support has keeps that one's id."""
    from oshp_lite.predict.exports import read_painted, read_photo, read_support_mask

    image = read_photo(photo)
    ids, names = read_support_mask(mask, photo, image.shape[:2], known)
    return Support(photo, image, ids, names, read_painted(foreground) if foreground else None)


def parser_with(
    network: OneShotModel, chosen: ParseOptions, given: Sequence[Support], classes: dict[int, str]
) -> Parser:
    """The network with its supports; a person finder stands by for networks that know no person."""
    from oshp_lite.assets import checkpoint
    from oshp_lite.predict import Parser, load_network
    from oshp_lite.predict.heads import can_find_people

    finder = None if can_find_people(network) else load_network(checkpoint("photos"))
    parser = Parser(network, chosen, finder=finder)
    for path, image, ids, names, foreground in given:
        try:
            parser.support(image, ids, foreground=foreground, classes=classes, names=names)
        except UserError as error:
            raise error if len(given) == 1 else UserError(f"--support {path}: {error}") from None
    return parser


def read_network(
    weights: Path | None, method: str | None, device: str, labels: Any, precision: Precision
) -> OneShotModel:
    """The network that --weights and --method name. UserError where they do not go together."""
    from oshp_lite.assets import checkpoint
    from oshp_lite.predict import load_network, training_free

    if method is not None and weights is None and method not in SHIPPED:
        if precision != "float32":
            raise UserError(f"method {method} runs on someone else's weights as they are; leave --precision out")
        return training_free(method, device)
    path = weights or checkpoint(SHIPPED.get(method or "", "photos"))
    network = load_network(path, device, labels, precision)
    if precision == "bf16":
        print("convolutions in bfloat16, prototypes and cosines in float32")
    own = getattr(network.record, "method", method)
    if method is not None and own != method:
        raise UserError(f"{path} is a checkpoint of {own}, not of {method}; leave --method out or name another file")
    return network


def _setup(
    photos: Sequence[Any],
    weights: Path | None,
    method: str | None,
    known: dict[int, str],
    chosen: Any,
    precision: Precision,
) -> dict[str, Any]:
    """What a folder's results depend on beside its photos: contents by their SHA-256, and the options."""
    from oshp_lite.assets import checkpoint
    from oshp_lite.files import file_sha256

    files = [[None if path is None else file_sha256(path) for path in photo] for photo in photos]
    foreign = weights is None and method is not None and method not in SHIPPED
    network = method if foreign else file_sha256(weights or checkpoint(SHIPPED.get(method or "", "photos")))
    return {
        "supports": files,
        "network": network,
        "classes": {str(i): n for i, n in known.items()},
        "options": vars(chosen) | ({} if precision == "float32" else {"precision": precision}),
    }


def _folder(
    parser: Parser,
    query: Path,
    out: Path,
    setup: dict[str, Any],
    exports: list[str],
    scores: bool,
    fresh: bool,
    quiet: bool,
) -> int:
    from oshp_lite.predict.folder import parse_folder

    how: dict[str, Any] = {"exports": exports, "scores": scores, "fresh": fresh, "progress": not quiet}
    report = parse_folder(parser, query, out, setup=setup, **how)
    skipped = f", {report.skipped} were done already" if report.skipped else ""
    skipped += f", {report.renewed} written anew from their masks" if report.renewed else ""
    others = f"; {report.left_alone} files that are not pictures were left alone" if report.left_alone else ""
    print(f"{report.parsed} photos parsed{skipped}{others}; look at {report.page}")
    if report.failed:
        print(f"not parsed, {len(report.failed)}:")
        for name, why in report.failed.items():
            print(f"  {name}: {why}")
    return int(bool(report.failed))


def _same(path: Path, other: Path) -> bool:
    """Whether two paths name one file, however they are spelt or linked."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False  # one of them is not there, so nothing is overwritten


def _exports(entries: list[str]) -> list[str]:
    from oshp_lite.predict.folder import EXPORTS

    chosen = [part for entry in entries for part in entry.split(",") if part]
    wrong = [part for part in chosen if part not in EXPORTS]
    if wrong:
        raise UserError(f"--export {wrong[0]}: there are {', '.join(EXPORTS)}")
    return chosen


def read_classes(entries: list[str]) -> dict[int, str]:
    """The words of --classes, names of the checkpoint's classes by the user's id."""
    classes: dict[int, str] = {}
    for word in (part for entry in entries for part in entry.split(",") if part):
        index, equals, name = word.partition("=")
        if not equals or not index.isdecimal() or not 1 <= int(index) <= 254 or not name:
            raise UserError(f"--classes takes ID=NAME with an id of 1..254, e.g. 1=hat; got {word!r}")
        if classes.get(int(index), name) != name:
            raise UserError(f"--classes names id {int(index)} twice, {classes[int(index)]} and {name}; keep one")
        classes[int(index)] = name
    return classes


def read_names(entries: list[str]) -> dict[int, str] | list[str]:
    """The words of --names: names by id where they say ID=NAME, else in the order of the ids."""
    said = [part.strip() for entry in entries for part in entry.split(",") if part.strip()]
    pairs = [(index.strip(), name.strip()) for index, equals, name in (part.partition("=") for part in said) if equals]
    if not pairs:
        return said
    names: dict[int, str] = {}
    for index, name in pairs:
        if len(pairs) < len(said) or not index.isdecimal() or not 1 <= int(index) <= 254 or not name:
            raise UserError(
                f"--names takes names alone (skirt,bag) or each with an id of 1..254 (1=skirt,2=bag); got "
                f"{','.join(said)!r}"
            )
        if int(index) in names:
            raise UserError(f"--names names id {int(index)} twice, {names[int(index)]} and {name}; keep one")
        names[int(index)] = name
    return names
