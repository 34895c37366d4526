"""Results on disk: `<slug>.json` for what people read and `<slug>.npz` for the counts, small enough to be committed."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.files import read_json, write_atomic, write_json_atomic
from oshp_lite.study.records.records import Array, Measured, RunKey


def save_measured(folder: Path | str, measured: Measured) -> Path:
    """Write `<slug>.npz` (counts) and then `<slug>.json` (the rest, and the digest of the counts); returns the latter.

    Both are replaced in one step each; a pair that does not belong together is refused by `load_measured`.
    """
    folder, slug = Path(folder), measured.key.slug
    arrays = {"counts": _small(measured.counts), "class_ids": _small(measured.class_ids)}
    if measured.screened is not None:  # what screening leaves of TP and FP; TP + FN is the truth and stays
        arrays["screened"] = _small(measured.screened[..., :2])
    for name in ("queries", "confusion", "confusions"):
        if getattr(measured, name) is not None:
            arrays[name] = _small(getattr(measured, name))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    about = {
        "key": asdict(measured.key),
        "profile": measured.profile,
        "classes": list(measured.classes),
        "novel": list(measured.novel),
        "scores": measured.scores,
        "cost": measured.cost,
        "provenance": measured.provenance,
        "history": measured.history,
        "counts_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    write_atomic(folder / f"{slug}.npz", buffer.getvalue())
    write_json_atomic(folder / f"{slug}.json", _plain(about))
    return folder / f"{slug}.json"


def load_measured(path: Path | str, origin: str = "committed") -> Measured:
    """Read `<slug>.json` and its `.npz`. UserError when one is missing, damaged or does not belong to the other."""
    path = Path(path)
    about = read_json(path)
    try:
        content = path.with_suffix(".npz").read_bytes()
        if hashlib.sha256(content).hexdigest() != about["counts_sha256"]:
            raise UserError(f"{path.with_suffix('.npz')} does not belong to {path.name}; make both again")
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = {name: found[name].astype(np.int64) for name in found.files}
        screened = arrays.get("screened")
        if screened is not None:
            wanted = arrays["counts"][..., 0] + arrays["counts"][..., 2]
            screened = np.concatenate([screened, (wanted - screened[..., 0])[..., None]], -1)
        return Measured(
            key=RunKey(**about["key"]),
            profile=about["profile"],
            counts=arrays["counts"],
            class_ids=arrays["class_ids"],
            classes=tuple(about["classes"]),
            novel=tuple(about["novel"]),
            screened=screened,
            queries=arrays.get("queries"),
            scores=about["scores"],
            history=about["history"],
            confusion=arrays.get("confusion"),
            confusions=arrays.get("confusions"),
            provenance=about["provenance"],
            origin=origin,
            cost=about["cost"],
        )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a result ({type(error).__name__}); make it again") from None


def _small(array: Array) -> Array:
    """Return a whole-number array in the smallest unsigned type that holds it."""
    top = int(array.max()) if array.size else 0
    return array.astype(np.min_scalar_type(top))


def _plain(value: Any) -> Any:
    """Return a form that JSON takes: nan becomes null, tuples become lists, NumPy numbers plain ones."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
