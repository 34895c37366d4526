"""Reading pictures and writing files so that bad input gets a sentence and nothing is ever half-written."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import secrets
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from oshp_lite.errors import UserError

_BENEATH_A_FILE = "part of its path is a file, not a folder; choose another place"
_FORBIDDEN = "no permission to write there; choose another place"
_WHY = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EFBIG: "a file-size limit was reached; raise it (ulimit -f) or choose another place",
    errno.ENOTDIR: _BENEATH_A_FILE,
    errno.EEXIST: _BENEATH_A_FILE,
    errno.EISDIR: "there is a folder of that name; choose another name",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: "the place is read-only; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def cannot_write(path: Path | str, error: OSError) -> UserError:
    """Turn an operating-system error met while writing `path` into the sentence a user reads."""
    why = _WHY.get(error.errno or 0, f"{(error.strerror or str(error)).lower()}; check the place and try again")
    return UserError(f"cannot write {path}: {why}")


def cannot_read(path: Path | str, error: Exception, kind: str = "file") -> UserError:
    """Turn an error met while reading `path` into the sentence a user reads."""
    match error:
        case OSError(errno=errno.ENAMETOOLONG):
            why = "cannot be opened: the name is too long; check the path"
        case FileNotFoundError() | NotADirectoryError():
            why = "does not exist; check the path"
        case IsADirectoryError():
            why = "is a folder; name a file in it"
        case PermissionError():
            why = "may not be read; check its permissions"
        case _:
            why = f"is damaged or cut short ({type(error).__name__}); get it again"
    return UserError(f"{kind} {path} {why}")


_OPENERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
)
"""First bytes -> reader: no other format is opened, since Pillow calls foreign programs for some (EPS)."""
MOST_PIXELS = 89_478_485
"""Larger pictures are refused by their header: decoding one takes more memory than it is worth."""


@contextmanager
def _opened(path: Path | str, kind: str) -> Iterator[Image.Image]:
    """Open a JPEG or PNG file; every failure while opening or decoding it becomes a UserError."""
    try:
        with open(path, "rb") as stream:
            start = stream.read(8)
            opener = next((opener for first, opener in _OPENERS if start.startswith(first)), None)
            if opener is None:
                raise UserError(f"{kind} {path} is not a picture that can be read; give a JPEG or PNG file")
            stream.seek(0)
            with opener(stream) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise UserError(
                        f"{kind} {path} is too large to be opened safely ({picture.width}x{picture.height} pixels); "
                        "make it smaller"
                    )
                yield picture
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise cannot_read(path, error, kind) from None


def read_image(path: Path | str, *, upright: bool = False) -> np.ndarray:
    """Read a photo as RGB, uint8 [H,W,3] in 0..255; `upright` turns it as its camera noted (EXIF).

    Datasets are read as stored, since masks know nothing of EXIF; a user's own photo is read upright, and its mask is
    meant upright. 16 bits of grey become 8 by scale. Raises UserError when the file is missing, unreadable, truncated
    or neither JPEG nor PNG.
    """
    with _opened(path, "image") as picture:
        picture.load()
        turned = ImageOps.exif_transpose(picture) if upright else picture
        if turned.mode.startswith("I"):
            grey = np.clip(np.array(turned).astype(np.int64), 0, 0xFFFF)
            return np.repeat(((grey * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8)[..., None], 3, axis=2)
        return np.array(turned.convert("RGB"))


def read_mask(path: Path | str) -> np.ndarray:
    """Read a label mask, uint8 [H,W] of ids (255 = ignore), from a single-channel or indexed PNG.

    Masks are taken as stored, upright. Raises UserError when the file is missing, unreadable, truncated or not a mask
    of ids (e.g. a coloured RGB one).
    """
    with _opened(path, "mask") as picture:
        if isinstance(picture, JpegImageFile):
            raise UserError(f"mask {path} is a JPEG, which changes ids as it compresses; save the mask as PNG")
        if picture.mode not in ("L", "P"):
            raise UserError(
                f"mask {path} has colour mode {picture.mode} where one 8-bit channel of class ids is expected; "
                "save it as an indexed or greyscale PNG whose values are the ids"
            )
        picture.load()
        return np.array(picture)


def picture_size(path: Path | str) -> tuple[int, int]:
    """Height and width of a picture, read from its header alone. Raises UserError as `read_image` does."""
    with _opened(path, "image") as picture:
        return picture.height, picture.width


def check_photo(path: Path | str) -> tuple[int, int]:
    """Height and width of a photo after a cheap look whether it is whole.

    A JPEG that ends with its end marker is taken to be whole; any other picture is decoded. Raises UserError.
    """
    with _opened(path, "image") as picture, open(path, "rb") as stream:
        stream.seek(-2, os.SEEK_END)
        if stream.read() != b"\xff\xd9":
            read_image(path)
        return picture.height, picture.width


def read_bytes(path: Path | str, kind: str = "file") -> bytes:
    """Read a file. Raises UserError when that is not possible."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise cannot_read(path, error, kind) from None


def read_json(path: Path | str) -> Any:
    """Read a JSON file. Raises UserError when it is missing, unreadable or not JSON."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except ValueError:
        raise UserError(f"file {path} is not valid JSON; make it again") from None


def parse_yaml(text: str) -> Any:
    """The content of a YAML text of our own, by libyaml where PyYAML has it: ten times as fast. Raises YAMLError."""
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows no class and no function, so that nothing in a file can run."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise UserError(f"asks for {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> Any:
        raise UserError("refers to objects outside itself")

    def load(self) -> Any:
        """The content, made of dicts, lists and numbers alone (loops are allowed to exist)."""
        content = super().load()
        seen: dict[int, Any] = {}
        waiting = [content]
        while waiting:
            value = waiting.pop()
            if type(value) not in (dict, list, int, float, bool):
                raise UserError(f"holds a {type(value).__name__}")
            if isinstance(value, dict | list) and id(value) not in seen:
                seen[id(value)] = value
                waiting += [*value, *value.values()] if isinstance(value, dict) else value
        return content


def read_plain_pickle(path: Path | str) -> Any:
    """Read a pickle that may hold nothing but dicts, lists and numbers; code in it never runs.

    Raises UserError when the file is missing, damaged, or wants anything else.
    """
    content = read_bytes(path)
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except UserError as refusal:
        raise UserError(
            f"pickle {path} {refusal}, but only dicts, lists and numbers are accepted; "
            "use the file published by the authors or make it again from the masks"
        ) from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise cannot_read(path, error, "pickle") from None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises UserError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None


def _hidden(path: Path) -> Path:
    """A hidden sibling of `path` to write to, whose name nobody else has (and is short enough for any disk)."""
    return path.with_name(f".{path.name[:20]}.{secrets.token_hex(6)}.partial")


def write_atomic(path: Path | str, content: bytes, *, durable: bool = True) -> None:
    """Write a file in one step: readers see the old content or the whole new one. Makes missing folders.

    durable=False leaves the moment of reaching the disk to the system (faster for thousands of small files).
    Raises UserError (full disk, file-size limit, path beneath a file, no permission); no partial file stays.
    """
    write_together({Path(path): content}, durable=durable)


def write_together(contents: Mapping[Path, bytes], *, durable: bool = True) -> None:
    """Write several files as `write_atomic` does one; where one cannot be written, none is."""
    ready: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.isdir(path):
                raise OSError(errno.EISDIR, "is a directory")
            ready[path] = temporary = _hidden(path)
            with open(temporary, "xb") as stream:
                stream.write(content)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
        for path, temporary in ready.items():
            os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        for temporary in ready.values():
            with suppress(OSError):
                os.unlink(temporary)


def write_json_atomic(path: Path | str, value: Any) -> None:
    """Write `value` as readable JSON, atomically. Raises UserError as `write_atomic` does."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))


def encode_png(array: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """Bytes of a PNG of uint8 [H,W] (ids or grey) or [H,W,3] (RGB); `palette` uint8 [256,3] makes ids indexed."""
    picture = Image.fromarray(np.ascontiguousarray(array, dtype=np.uint8))
    if palette is not None:
        picture.putpalette(np.ascontiguousarray(palette, dtype=np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Bytes of a JPEG of an RGB image uint8 [H,W,3]."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8)).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def write_mask(path: Path | str, mask: np.ndarray, palette: np.ndarray | None = None, *, durable: bool = True) -> None:
    """Write a mask of ids, uint8 [H,W], as PNG (indexed when a palette is given), atomically."""
    write_atomic(path, encode_png(mask, palette), durable=durable)


def publish_folder(finished: Path, path: Path) -> None:
    """Rename the finished folder to `path`; a folder (or link) that is there is removed after the swap."""
    old = _hidden(path)
    try:
        if path.exists() and not path.is_dir():
            raise OSError(errno.ENOTDIR, "not a directory")
        with suppress(FileNotFoundError):
            os.rename(path, old)
        os.rename(finished, path)
    except OSError as error:
        with suppress(OSError):
            os.rename(old, path)
        raise cannot_write(path, error) from None
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def sha256_json(value: Any) -> str:
    """SHA-256 (hex) of a value's compact JSON with sorted keys: the same for equal values on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def file_sha256(path: Path | str, kind: str = "file") -> str:
    """Return the SHA-256 (hex) of a file's content. UserError when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise cannot_read(path, error, kind) from None


PACKAGE_PARENT = Path(__file__).resolve().parents[1]
"""The folder that holds the package: the checkout's root when the package runs from a checkout."""


def project_root() -> Path:
    """The checkout: nearest folder above the working folder (or the package) with `notebooks/` and `pyproject.toml`.

    Falls back to the working folder when there is no checkout (package installed alone).
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents, PACKAGE_PARENT):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def _place(variable: str, name: str, given: str | Path | None = None) -> Path:
    chosen = given or os.environ.get(variable) or project_root() / name
    return Path(chosen).expanduser().resolve()


data_root = partial(_place, "OSHP_DATA", "data")
"""The folder of datasets: what was given, else OSHP_DATA, else `data/` in the checkout."""
runs_root = partial(_place, "OSHP_RUNS", "runs")
"""The folder of runs: what was given, else OSHP_RUNS, else `runs/` in the checkout."""
reports_root = partial(_place, "OSHP_REPORTS", "reports")
"""The folder of reports: what was given, else OSHP_REPORTS, else `reports/` in the checkout."""
