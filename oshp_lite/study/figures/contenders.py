"""A few test pairs under every method, photos included: notebook 08 draws them without a run, a network or a dataset.

The pairs are a typical and a poor one of the leading run, by `pairs.typical_pairs` over the scores of all parts, since
all parts are looked at; `oshp-lite matrix record` keeps them, with every method's predictions and the run behind each,
in `notebooks/results/predictions/contenders.npz`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic
from oshp_lite.labels import fold
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.figures.pairs import Array, PredictedPair, read_pairs, typical_pairs
from oshp_lite.study.figures.pictures import _of_run, predictions_folder
from oshp_lite.study.plan import Finder, config_of
from oshp_lite.study.records import Measured, NotRun, Results, RunKey

LEAD = RunKey("eopnet", "synth-atr", 1, "k", 0, condition="papers")
"""The run whose scores choose the pairs; every other method's run differs in the method alone."""
SHARES = (0.5, 0.1)
MASKS = ("query", "support", "support_mask", "truth")


@dataclass(frozen=True, eq=False)
class KeptPairs:
    """Test pairs, the typical one first, with the predictions (by method's name) that there are, and who made them.

    made  method's name -> its run: slug, identity, profile, epochs, condition, date
    """

    pairs: tuple[PredictedPair, ...]
    made: Mapping[str, Mapping[str, Any]]


def keep_pairs(results: Results, *, finder: Finder | None = None, folder: Path | None = None) -> Path | None:
    """Write the pairs with the predictions of all runs in the store; None when the leading run is not there.

    The file is left alone when it holds the same.
    """
    finder, lead = finder or Finder(), results.get(LEAD)
    dataset = None if isinstance(lead, NotRun) else finder.dataset(config_of(LEAD, lead.profile).data)
    if isinstance(lead, NotRun) or dataset is None:
        return None
    positions, config = typical_pairs(lead, SHARES, novel=False), config_of(LEAD, lead.profile)
    made, arrays = dict[str, dict[str, Any]](), dict[str, Array]()
    for name in METHODS:
        key = RunKey(name, LEAD.dataset, LEAD.fold, LEAD.way, LEAD.seed, condition=LEAD.condition)
        measured = results.get(key)
        every = _of_run(config_of(key, measured.profile), finder) if isinstance(measured, Measured) else None
        if isinstance(measured, NotRun) or every is None:
            continue
        arrays[f"of_{name}"] = np.stack([every[at] for at in positions])
        settings = measured.provenance.get("settings", {})
        made[name] = {"slug": key.slug, "profile": measured.profile, "epochs": settings.get("epochs")}
        made[name] |= {what: measured.provenance.get(what) for what in ("identity", "finished")}
    if LEAD.method not in made:
        return None
    for name in MASKS:
        stacked = [getattr(pair, name) for pair in read_pairs(dataset, config, {}, positions)]
        arrays[name] = np.stack(stacked).astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, made=np.array(json.dumps(made)), **arrays)  # type: ignore[arg-type]
    path = (folder or predictions_folder()) / "contenders.npz"
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        write_atomic(path, buffer.getvalue())
    return path


def kept_pairs(folder: Path | None = None) -> KeptPairs:
    """Read what `keep_pairs` wrote. UserError when it is missing or damaged."""
    path = (folder or predictions_folder()) / "contenders.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        made = json.loads(str(arrays["made"]))
        split = fold(LEAD.dataset, LEAD.fold)
        pairs = tuple(
            PredictedPair(
                **{name: arrays[name][place] for name in MASKS},
                predictions={name: arrays[f"of_{name}"][place] for name in made},
                space=split.space,
                novel=split.novel,
            )
            for place in range(len(arrays["query"]))
        )
    except (OSError, KeyError, ValueError) as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else f"is damaged ({type(error).__name__})"
        raise UserError(f"{path} {reason}; oshp-lite matrix record makes it from the runs") from None
    return KeptPairs(pairs, made)
