"""Measured results: what a run is called, what was counted for every test pair, the scores of those counts, files.

A result keeps the pixels won, wrongly claimed and missed of every class in every test pair, so that any score, any
interval and any comparison can be computed afterwards. Definitions of the scores: facts B.10 (journal, section 6.2).
On disk it is `<slug>.json` for what people read and `<slug>.npz` for the counts, small enough to be committed.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError
from oshp_lite.files import read_json, write_atomic, write_json_atomic
from oshp_lite.labels import Fold, fold

Array = NDArray[Any]
MEASURES = (
    "novel",
    "base",
    "human",
    "accuracy",
    "mean_accuracy",
    "bi_miou",
    "novel_accuracy",
    "base_accuracy",
    "novel_precision",
)
"""Scores by name; "iou:<id>" is one class, and "a-b" is the difference of two scores of one run."""

CONDITIONS = ("papers", "person-class", "ignore")
"""Label conditions; see `RunKey`."""


def primary_condition(dataset: str) -> str:
    """Return the label condition under which a dataset's rows are compared when a key names none."""
    return "person-class" if dataset in DATASETS and DATASETS[dataset].own_rules else "papers"


@dataclass(frozen=True, order=True)
class RunKey:
    """Names one run: method, dataset, fold and way, the seed, what was changed (""), and the protocol of the folds.

    condition  what a person's unlabelled pixels are in k-way training: background as in the papers ("papers"), one more
               class ("person-class"), or nothing ("ignore"); "" takes the dataset's `primary_condition`
    """

    method: str
    dataset: str
    fold: int
    way: Literal["k", "1"]
    seed: int = 0
    ablation: str = ""
    protocol: str = "journal"
    condition: str = ""

    def __post_init__(self) -> None:
        """Name the condition. Raises ValueError for an unknown one."""
        if not self.condition:
            object.__setattr__(self, "condition", primary_condition(self.dataset))
        if self.condition not in CONDITIONS:
            raise ValueError(f"unknown label condition {self.condition!r}; there are {', '.join(CONDITIONS)}")

    @property
    def slug(self) -> str:
        """The run's name in files, "eopnet-synth-atr-fold1-kway-person-class-seed0-momentum-0.8"."""
        parts = [self.method, self.dataset, f"fold{self.fold}", f"{self.way}way", self.condition, f"seed{self.seed}"]
        parts += [part for part in (self.ablation, "" if self.protocol == "journal" else self.protocol) if part]
        return "-".join(parts)


@dataclass(frozen=True)
class NotRun:
    """In place of a result: why there is none."""

    reason: str


@dataclass(frozen=True, eq=False)
class Measured:
    """One run's result.

    counts      int64 [N,C,3]: pixels won, wrongly claimed, missed (TP, FP, FN) of every pair and kept class, columns as
                `classes`; 1-way [N,2,3]: background and the target class
    screened    the same predictions within EOP-Net's person mask of the same data and seed; None if not made
    class_ids   int [N]: the class that each pair stands for (1-way: the target class)
    queries     int [N]: the query photo of each pair, None when unknown
    classes     kept ids incl. background; `novel` among them
    history     one dict an epoch
    confusion   int64 [I,I] over all ids, summed over the pairs, rows truth (k-way)
    misassigned int [N,2]: novel classes' pixels predicted as another novel class, and as a base class other than the
                background (k-way)
    origin      "run here" or "committed"; cost: params_m, macs_g, fps as far as they were measured
    """

    key: RunKey
    profile: str
    counts: Array
    class_ids: Array
    classes: tuple[int, ...]
    novel: tuple[int, ...]
    screened: Array | None = None
    queries: Array | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    confusion: Array | None = None
    misassigned: Array | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    origin: str = "run here"
    cost: dict[str, float] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """Scores under redrawn pairs, since many comparisons need the same."""

    def __post_init__(self) -> None:
        """Refuse counts that do not fit together, with a ValueError."""
        columns = len(self.classes) if self.key.way == "k" else 2
        if self.counts.ndim != 3 or self.counts.shape[1:] != (columns, 3):
            raise ValueError(f"{self.key.slug}: counts {self.counts.shape} are not [N,{columns},3]")
        for name in ("screened", "class_ids", "queries", "misassigned"):
            other = getattr(self, name)
            if other is not None and len(other) != len(self.counts):
                raise ValueError(f"{self.key.slug}: {name} holds {len(other)} pairs, counts {len(self.counts)}")

    @property
    def base(self) -> tuple[int, ...]:
        """Training ids, background included (facts B.10)."""
        return tuple(index for index in self.classes if index not in self.novel)

    def score(self, measure: str, *, screened: bool = False) -> float:
        """Return one score (see `MEASURES`) in 0..1. UserError without screened counts, KeyError for other names."""
        return float(values(totals_of(self, screened=screened), self, measure))

    def under(self, screened: bool) -> Array:
        """Return the counts, screened or not. UserError when the screened ones were not made."""
        if not screened:
            return self.counts
        if self.screened is None:
            raise UserError(
                f"{self.key.slug} was not screened with EOP-Net's person mask; run EOP-Net and read it again"
            )
        return self.screened


class Results:
    """All results at hand, looked up by key; what is missing comes with a reason."""

    def __init__(
        self,
        measured: Iterable[Measured] = (),
        reasons: Mapping[RunKey, str] | None = None,
        otherwise: str = "not run yet",
        costs: Mapping[str, Mapping[str, float]] | None = None,
        tuned: Mapping[str, str] | None = None,
    ) -> None:
        self.costs = {method: dict(known) for method, known in (costs or {}).items()}
        """Costs by method (params_m, macs_g, fps) where they were measured apart from the runs."""
        self.tuned = dict(tuned or {})
        """By method, in words: what was tried to choose its settings, and what that chose."""
        self._measured = {item.key: item for item in measured}
        self._by_seed: dict[RunKey, list[Measured]] = {}
        for item in sorted(self._measured.values(), key=lambda item: item.key.seed):
            self._by_seed.setdefault(replace(item.key, seed=0), []).append(item)
        self._reasons = dict(reasons or {})
        self._otherwise = otherwise

    def get(self, key: RunKey) -> Measured | NotRun:
        """Return the result of exactly this run, or why there is none (a reason of any seed serves)."""
        if key in self._measured:
            return self._measured[key]
        for other in (key, replace(key, seed=0)):
            if other in self._reasons:
                return NotRun(self._reasons[other])
        return NotRun(self._otherwise)

    def seeds(self, key: RunKey) -> list[Measured]:
        """Return the results of this run under all seeds, by seed; the key's own seed does not matter."""
        return list(self._by_seed.get(replace(key, seed=0), ()))

    def with_costs(self, costs: Mapping[str, Mapping[str, float]]) -> Results:
        """Return the same results with these costs by method."""
        return Results(self._measured.values(), self._reasons, self._otherwise, costs, self.tuned)

    def keys(self) -> list[RunKey]:
        """Return the keys of all results, sorted."""
        return sorted(self._measured)

    def __len__(self) -> int:
        return len(self._measured)


# ------------------------------------------------------------------------------------------------ counts and scores


def counts_of(matrices: Any, classes: Sequence[int]) -> Array:
    """Turn confusion matrices [N,I,I] (rows truth) into counts int64 [N,C,3] (TP, FP, FN) of the classes.

    Predictions and truths of ids outside `classes` count as wrong claims and misses, as in the official evaluation.
    """
    matrices = _array(matrices)
    chosen = list(classes)
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)[:, chosen]
    claimed, wanted = matrices.sum(-2)[:, chosen], matrices.sum(-1)[:, chosen]
    return np.stack([hits, claimed - hits, wanted - hits], -1).astype(np.int64)


def measured_of(
    key: RunKey, profile: str, matrices: Any, class_ids: Any, *, screened: Any = None, **more: Any
) -> Measured:
    """Make a `Measured` of confusion matrices per pair: int [N,I,I] (k-way) or [N,2,2] (1-way).

    screened  matrices of the screened predictions, if made; `more` goes to `Measured` (scores, history, ...)
    """
    split: Fold = fold(key.dataset, key.fold, key.protocol)
    columns = split.classes if key.way == "k" else (0, 1)
    return Measured(
        key=key,
        profile=profile,
        counts=counts_of(matrices, columns),
        class_ids=_array(class_ids).astype(np.int64),
        classes=split.classes,
        novel=split.novel,
        screened=None if screened is None else counts_of(screened, columns),
        confusion=_array(matrices).sum(0).astype(np.int64) if key.way == "k" else None,
        misassigned=_misassigned(_array(matrices), split) if key.way == "k" else None,
        **more,
    )


def _misassigned(matrices: Array, split: Fold) -> Array:
    """Return int64 [N,2] of matrices [N,I,I]; see `Measured.misassigned`."""
    novel, base = list(split.novel), [c for c in split.classes if c not in split.novel and c != 0]
    rows = matrices[:, novel].astype(np.int64)
    other = rows[:, :, novel].sum((1, 2)) - rows[:, np.arange(len(novel)), novel].sum(1)
    return np.stack([other, rows[:, :, base].sum((1, 2))], 1)


def _array(given: Any) -> Array:
    """Return a NumPy array of an array or a tensor."""
    return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)


def iou_of_counts(counts: Array) -> Array:
    """Return float64 [...], TP / (TP + FP + FN) of counts [...,3]; nan where 0 / 0."""
    return _ratio(counts[..., 0], counts.sum(-1))


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.asarray(part, np.float64) / np.asarray(whole, np.float64))


def _nanmean(scores: Array) -> Array:
    """Return the mean over the last axis of what is not nan; nan over nothing, without a warning."""
    defined = ~np.isnan(scores)
    return _ratio(np.where(defined, scores, 0.0).sum(-1), defined.sum(-1))


def totals_of(measured: Measured, weights: Array | None = None, *, screened: bool = False) -> Array:
    """Sum the pairs' counts: [C,3], or 1-way [F,2,3] by foreground class in the order of `classes`.

    weights  float [R,N], how often each pair counts in each of R draws: the result then has a leading R
    """
    counts = measured.under(screened)
    one = np.ones((1, len(counts))) if weights is None else weights
    if measured.key.way == "k":
        summed = (one @ counts.reshape(len(counts), -1).astype(np.float64)).reshape(len(one), *counts.shape[1:])
    else:
        summed = np.zeros((len(one), len(measured.classes) - 1, 2, 3))
        for place, class_id in enumerate(foreground_of(measured)):
            mine = measured.class_ids == class_id
            summed[:, place] = (one[:, mine] @ counts[mine].reshape(-1, 6).astype(np.float64)).reshape(-1, 2, 3)
    return summed[0] if weights is None else summed


def foreground_of(measured: Measured) -> tuple[int, ...]:
    """Return the kept ids without the background (id 0), in the official order."""
    return tuple(index for index in measured.classes if index != 0)


def values(totals: Array, measured: Measured, measure: str) -> Array:
    """Return a score, float64 [...], of totals [...,C,3] (1-way [...,F,2,3]) as `totals_of` makes them.

    k-way means leave out classes absent from truth and prediction alike; 1-way means are plain, and background's entry
    is the mean of the classes' background IoUs (facts B.10). KeyError for a name outside `MEASURES`.
    """
    if "-" in measure:
        first, _, second = measure.partition("-")
        return values(totals, measured, first) - values(totals, measured, second)
    kway = measured.key.way == "k"
    if measure == "accuracy":
        hits, wanted = totals[..., 0], totals[..., 0] + totals[..., 2]
        axes = -1 if kway else (-1, -2)
        return _ratio(hits.sum(axes), wanted.sum(axes))
    if measure == "bi_miou" and not kway:
        return np.asarray(iou_of_counts(totals.sum(-3)).mean(-1))
    if measure == "novel_precision":
        ratios, measure = _ratio(totals[..., 0], totals[..., 0] + totals[..., 1]), "novel"
    elif measure.endswith("accuracy"):
        ratios = _ratio(totals[..., 0], totals[..., 0] + totals[..., 2])
        measure = {"mean_accuracy": "human", "novel_accuracy": "novel", "base_accuracy": "base"}[measure]
    else:
        ratios = iou_of_counts(totals)
    entries = _entries(ratios, measured)
    if measure.startswith("iou:"):
        return np.asarray(entries[..., measured.classes.index(int(measure[4:]))])
    ids = {"novel": measured.novel, "base": measured.base, "human": measured.classes}[measure]
    chosen = entries[..., [measured.classes.index(index) for index in ids]]
    return _nanmean(chosen) if kway else np.asarray(chosen.mean(-1))


def _entries(ratios: Array, measured: Measured) -> Array:
    """Return one entry per kept class [...,C] of k-way ratios [...,C] or 1-way ones [...,F,2]."""
    if measured.key.way == "k":
        return ratios
    entries = np.empty((*ratios.shape[:-2], len(measured.classes)))
    for place, class_id in enumerate(foreground_of(measured)):
        entries[..., measured.classes.index(class_id)] = ratios[..., place, 1]
    entries[..., measured.classes.index(0)] = ratios[..., 0].mean(-1)
    return entries


# ------------------------------------------------------------------------------------------------------------ files


def save_measured(folder: Path | str, measured: Measured) -> Path:
    """Write `<slug>.npz` (counts) and then `<slug>.json` (the rest, and the digest of the counts); returns the latter.

    Both are replaced in one step each; a pair that does not belong together is refused by `load_measured`.
    """
    folder, slug = Path(folder), measured.key.slug
    arrays = {"counts": _small(measured.counts), "class_ids": _small(measured.class_ids)}
    if measured.screened is not None:  # what screening leaves of TP and FP; TP + FN is the truth and stays
        arrays["screened"] = _small(measured.screened[..., :2])
    for name in ("queries", "confusion", "misassigned"):
        if getattr(measured, name) is not None:
            arrays[name] = _small(getattr(measured, name))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    record = {
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
    write_json_atomic(folder / f"{slug}.json", _plain(record))
    return folder / f"{slug}.json"


def load_measured(path: Path | str, origin: str = "committed") -> Measured:
    """Read `<slug>.json` and its `.npz`. UserError when one is missing, damaged or does not belong to the other."""
    path = Path(path)
    record = read_json(path)
    try:
        content = path.with_suffix(".npz").read_bytes()
        if hashlib.sha256(content).hexdigest() != record["counts_sha256"]:
            raise UserError(f"{path.with_suffix('.npz')} does not belong to {path.name}; make both again")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name].astype(np.int64) for name in stored.files}
        screened = arrays.pop("screened", None)
        if screened is not None:
            wanted = arrays["counts"][..., 0] + arrays["counts"][..., 2]
            screened = np.concatenate([screened, (wanted - screened[..., 0])[..., None]], -1)
        plain: dict[str, Any] = {name: record[name] for name in ("profile", "scores", "history", "provenance", "cost")}
        plain |= {name: tuple(record[name]) for name in ("classes", "novel")}
        return Measured(RunKey(**record["key"]), screened=screened, origin=origin, **plain, **arrays)
    except (OSError, AttributeError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
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
