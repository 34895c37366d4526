"""Measured results: what a run is called, what was counted for every test pair, the scores of those counts, files.

A result keeps the pixels won, wrongly claimed and missed of every class in every test pair, so that any score, any
interval and any comparison can be computed afterwards. Definitions of the scores: facts B.10 (journal, section 6.2).
On disk it is `<slug>.json` for what people read and `<slug>.npz` for the counts, small enough to be committed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.registry import DATASETS
from oshp_lite.engine.instance_tally import measure_of, score_tally
from oshp_lite.errors import UserError
from oshp_lite.files import read_json, write_atomic, write_json_atomic
from oshp_lite.labels import Fold, fold
from oshp_lite.labels.whole import whole_fold

Array = NDArray[Any]
CONDITIONS = ("papers", "person-class", "ignore")
"""Label conditions; see `RunKey`."""


@dataclass(frozen=True, order=True)
class RunKey:
    """Names one run: method, dataset, fold and way, the seed, what was changed (""), and the protocol of the folds.

    protocol   "journal" or "aaai", or "blocks": the journal's folds, tested on the block whose number is the seed;
               "whole": no fold, every raw id a class (SST, people); "" takes the dataset's own, "blocks" or "journal"
    condition  what a person's unlabelled pixels are in k-way training: background as in the papers ("papers"), one more
               class ("person-class"), or nothing ("ignore"); "" takes the papers'
    """

    method: str
    dataset: str
    fold: int
    way: Literal["k", "1"]
    seed: int = 0
    ablation: str = ""
    protocol: str = ""
    condition: str = ""

    def __post_init__(self) -> None:
        """Name protocol and condition. Raises ValueError for an unknown condition."""
        if not self.protocol:
            blocks = self.dataset in DATASETS and DATASETS[self.dataset].blocks
            object.__setattr__(self, "protocol", "blocks" if blocks else "journal")
        if not self.condition:
            object.__setattr__(self, "condition", CONDITIONS[0])
        if self.condition not in CONDITIONS:
            raise ValueError(f"unknown label condition {self.condition!r}; there are {', '.join(CONDITIONS)}")

    @property
    def split(self) -> Fold:
        """The fold it works on. UserError where the dataset has none of that number and protocol."""
        if self.protocol == "whole":
            return whole_fold(self.dataset)
        return fold(self.dataset, self.fold, self.protocol.replace("blocks", "journal"))

    @property
    def slug(self) -> str:
        """The run's name in files, "eopnet-synth-atr-fold1-kway-person-class-seed0-momentum-0.8"."""
        parts = [self.method, self.dataset, f"fold{self.fold}", f"{self.way}way", self.condition, f"seed{self.seed}"]
        return "-".join(filter(None, [*parts, self.ablation, self.protocol.replace("journal", "")]))


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
    classes     kept ids, the background (0) first; `novel` among them
    history     one dict an epoch
    confusion   int64 [I,I] over all ids, summed over the pairs, rows truth (k-way)
    misassigned int [N,4] (k-way): pixels of novel classes predicted as another novel class, and as a base class other
                than the background; the same of the base classes' pixels (not in older records, [N,2])
    people      of instance-level parsing: `engine.instance_tally.tally` of the photos, which are the pairs
    origin      "run here" or "committed"
    memo        scores under redrawn pairs, since many comparisons need the same
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
    people: dict[str, Array] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    origin: str = "run here"
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

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
        """Return one score (see `scores_under`) in 0..1, with its errors."""
        return float(scores_under(self, np.ones((1, len(self.counts))), measure, screened=screened)[0])


class Results:
    """All results at hand, looked up by key; what is missing comes with a reason.

    tuned  by method, in words: what was tried to choose its settings, and what that chose
    """

    def __init__(
        self,
        measured: Iterable[Measured] = (),
        reasons: Mapping[RunKey, str] | None = None,
        otherwise: str = "not run yet",
        tuned: Mapping[str, str] | None = None,
    ) -> None:
        self.tuned = dict(tuned or {})
        self._measured = {item.key: item for item in measured}
        self._by_seed: dict[RunKey, list[Measured]] = {}
        for item in sorted(self._measured.values(), key=lambda item: item.key.seed):
            self._by_seed.setdefault(replace(item.key, seed=0), []).append(item)
        self._reasons, self._otherwise = dict(reasons or {}), otherwise

    def get(self, key: RunKey) -> Measured | NotRun:
        """Return the result of exactly this run, or why there is none (a reason of the first seed serves)."""
        first = self._reasons.get(replace(key, seed=0), self._otherwise)
        return self._measured.get(key) or NotRun(self._reasons.get(key, first))

    def seeds(self, key: RunKey) -> list[Measured]:
        """Return the results of this run under all seeds, by seed; the key's own seed does not matter."""
        return list(self._by_seed.get(replace(key, seed=0), ()))

    def keys(self) -> list[RunKey]:
        """Return the keys of all results, sorted."""
        return sorted(self._measured)

    def __len__(self) -> int:
        return len(self._measured)


def counts_of(matrices: Any, classes: Sequence[int]) -> Array:
    """Turn confusion matrices [N,I,I] (rows truth) into counts int64 [N,C,3] (TP, FP, FN) of the classes.

    Predictions and truths of ids outside `classes` count as wrong claims and misses, as in the official evaluation.
    """
    matrices, chosen = np.asarray(matrices), list(classes)
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)[:, chosen]
    claimed, wanted = matrices.sum(-2)[:, chosen], matrices.sum(-1)[:, chosen]
    return np.stack([hits, claimed - hits, wanted - hits], -1).astype(np.int64)


def measured_of(
    key: RunKey, profile: str, matrices: Any, class_ids: Any, *, screened: Any = None, **more: Any
) -> Measured:
    """Make a `Measured` of confusion matrices per pair: int [N,I,I] (k-way) or [N,2,2] (1-way).

    screened  matrices of the screened predictions, if made; `more` goes to `Measured` (scores, history, ...)
    """
    split = key.split
    columns = split.classes if key.way == "k" else (0, 1)
    matrices, class_ids = np.asarray(matrices), np.asarray(class_ids).astype(np.int64)
    if key.way == "k":
        wrong = matrices.astype(np.int64) * ~np.eye(matrices.shape[-1], dtype=bool)
        novel, base = list(split.novel), list(split.base_foreground)
        ways = ((truth, taken) for truth in (novel, base) for taken in (novel, base))
        more["misassigned"] = np.stack([wrong[:, truth][:, :, taken].sum((1, 2)) for truth, taken in ways], 1)
        more["confusion"] = matrices.sum(0).astype(np.int64)
    if screened is not None:
        more["screened"] = counts_of(screened, columns)
    return Measured(key, profile, counts_of(matrices, columns), class_ids, split.classes, split.novel, **more)


def iou_of_counts(counts: Array) -> Array:
    """Return float64 [...], TP / (TP + FP + FN) of counts [...,3]; nan where 0 / 0."""
    return _ratio(counts[..., 0], counts.sum(-1))


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.asarray(part, np.float64) / np.asarray(whole, np.float64))


def scores_under(
    run: Measured, weights: Array, measure: str, *, screened: bool = False, sums: dict[bool, Array] | None = None
) -> Array:
    """Return a score in 0..1, float64 [R], of the summed counts when pair n counts weights[r,n] times.

    "novel", "base", "human" mean IoU; "novel_accuracy", "base_accuracy", "mean_accuracy" recall; "novel_precision";
    "accuracy" of all pixels; "bi_miou"; "iou:<id>" of one class; "a-b" the difference of two. k-way means leave out
    classes absent from truth and prediction alike; 1-way means are plain, and background's entry is the mean of the
    classes' background IoUs (facts B.10).

    Ours, in k-way, for "novel" and "base": "novel_present" mean IoU over pairs whose query has the class, "novel_alarm"
    share of the photo that is claimed for a class which it lacks, "novel_as_background", "novel_as_novel" and
    "novel_as_base" share of the foreground pixels that is predicted as background (the papers' testing bias), or as
    another class. UserError where the counts were not kept or not screened, KeyError for other names.

    sums  keeps the summed counts, screened and not, from one measure to the next under the same weights
    """
    if asked := measure_of(measure):
        try:
            return score_tally(run.people or {}, weights, asked)
        except KeyError:
            raise UserError(f"{run.key.slug} was not judged for {measure}") from None
    if "-" in measure:
        one, two = (scores_under(run, weights, name, screened=screened, sums=sums) for name in measure.split("-"))
        return one - two
    counts, kway = run.screened if screened else run.counts, run.key.way == "k"
    if counts is None:
        raise UserError(f"{run.key.slug} was not screened with EOP-Net's person mask; run EOP-Net and read it again")
    group, _, kind = measure.partition("_")
    if kind.startswith("as_"):
        return _ratio(*(weights @ pixels for pixels in _destined(run, group, kind[3:], screened)))
    if kind in ("present", "alarm"):
        if not kway:
            raise UserError(f"{run.key.slug}: {measure} is a measure of k-way")
        return _apart(run, counts, weights, group, kind)
    sums = {} if sums is None else sums
    if screened not in sums:
        if not kway:  # [N,F,2,3]: every pair counts for its own class
            counts = (run.class_ids[:, None] == np.array(run.classes[1:]))[..., None, None] * counts[:, None]
        summed = weights @ counts.reshape(len(counts), -1).astype(np.float64)
        sums[screened] = summed.reshape(-1, *counts.shape[1:])
    totals = sums[screened]
    hits, wanted = totals[..., 0], totals[..., 0] + totals[..., 2]
    if measure == "accuracy":
        axes = -1 if kway else (-1, -2)
        return _ratio(hits.sum(axes), wanted.sum(axes))
    if measure == "bi_miou" and not kway:
        return np.asarray(iou_of_counts(totals.sum(-3)).mean(-1))
    whole = {"": totals.sum(-1), "accuracy": wanted, "precision": totals[..., 0] + totals[..., 1]}[kind]
    entries = _ratio(hits, whole)
    if not kway:
        entries = np.concatenate([entries[..., 0].mean(-1, keepdims=True), entries[..., 1]], -1)
    if group.startswith("iou:"):
        return np.asarray(entries[..., run.classes.index(int(group[4:]))])
    ids = {"novel": run.novel, "base": run.base, "human": run.classes, "mean": run.classes}[group]
    chosen = entries[..., [run.classes.index(index) for index in ids]]
    if not kway:
        return np.asarray(chosen.mean(-1))
    defined = ~np.isnan(chosen)
    return _ratio(np.where(defined, chosen, 0.0).sum(-1), defined.sum(-1))


def _destined(run: Measured, group: str, where: str, screened: bool) -> tuple[Array, Array]:
    """Return int [N], foreground pixels of novel (base) classes that are predicted as `where`, and all of them."""
    place = ("novel", "base").index(group)
    if screened or run.misassigned is None or run.misassigned.shape[1] <= 2 * place:
        raise UserError(f"{run.key.slug}: where pixels of {group} classes go was not recorded; run it again")
    ids = [run.classes.index(c) for c in (run.novel, run.base)[place] if c]
    taken = run.misassigned[:, 2 * place : 2 * place + 2]
    missed, wanted = run.counts[:, ids, 2].sum(1), run.counts[:, ids][..., [0, 2]].sum((1, 2))
    return {"novel": taken[:, 0], "base": taken[:, 1], "background": missed - taken.sum(1)}[where], wanted


def _apart(run: Measured, counts: Array, weights: Array, group: str, kind: str) -> Array:
    """Return float64 [R], the mean of a score over the pairs whose query has ("present") or lacks ("alarm") a class."""
    ids = [run.classes.index(c) for c in {"novel": run.novel, "base": run.base}[group] if c]
    there = (counts[..., 0] + counts[..., 2] > 0)[:, ids]
    if kind == "present":
        totals = np.einsum("rn,nck->rck", weights, counts[:, ids] * there[..., None])
        entries = iou_of_counts(totals)
    else:
        pixels = counts[..., [0, 2]].sum((1, 2))[:, None]
        entries = _ratio(weights @ (counts[:, ids, 1] * ~there), weights @ (pixels * ~there))
    defined = ~np.isnan(entries)
    return _ratio(np.where(defined, entries, 0.0).sum(-1), defined.sum(-1))


def save_measured(folder: Path | str, measured: Measured) -> Path:
    """Write `<slug>.npz` (counts) and then `<slug>.json` (the rest, and the digest of the counts); returns the latter.

    Both are replaced in one step each; a pair that does not belong together is refused by `load_measured`.
    """
    path = Path(folder) / f"{measured.key.slug}.json"
    arrays = {name: getattr(measured, name) for name in ("counts", "class_ids", "queries", "confusion", "misassigned")}
    if measured.screened is not None:  # what screening leaves of TP and FP; TP + FN is the truth and stays
        arrays["screened"] = measured.screened[..., :2]
    arrays |= {f"people/{name}": one for name, one in (measured.people or {}).items()}
    # whole numbers, in the smallest unsigned type that holds them
    small = {k: a.astype(np.min_scalar_type(int(a.max(initial=0)))) for k, a in arrays.items() if a is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **small)
    names = ("profile", "classes", "novel", "scores", "provenance", "history")
    record = {"key": asdict(measured.key), **{name: getattr(measured, name) for name in names}}
    record["counts_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    # NumPy's numbers become plain ones, nan and infinity null
    plain = json.loads(json.dumps(record, default=np.generic.item), parse_constant=lambda _: None)
    write_atomic(path.with_suffix(".npz"), buffer.getvalue())
    write_json_atomic(path, plain)
    return path


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
        if "screened" in arrays:
            wanted = arrays["counts"][..., 0] + arrays["counts"][..., 2]
            missed = wanted - arrays["screened"][..., 0]
            arrays["screened"] = np.concatenate([arrays["screened"], missed[..., None]], -1)
        of_people = [name for name in arrays if name.startswith("people/")]
        people = {name.removeprefix("people/"): arrays.pop(name) for name in of_people}
        plain: dict[str, Any] = {name: record[name] for name in ("profile", "scores", "history", "provenance")}
        plain |= {name: tuple(record[name]) for name in ("classes", "novel")}
        return Measured(RunKey(**record["key"]), origin=origin, people=people or None, **plain, **arrays)
    except (OSError, AttributeError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a result ({type(error).__name__}); make it again") from None
