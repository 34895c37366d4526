"""The runs behind the tables and figures, declared once: methods, ablations, steps, and which exhibit needs what.

A run that several exhibits need has one key and is made once: the EOP-Net run of EOP-Net's Table 2 is the last row of
its Table 5, the fourth column of its Table 6 and the first row of its Table 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from oshp_lite.data.registry import DATASETS, dataset_spec
from oshp_lite.errors import UserError
from oshp_lite.models.registry import METHODS as REGISTERED
from oshp_lite.study.records import RunKey

Way = Literal["k", "1"]
_WAYS: tuple[Way, ...] = ("k", "1")

IN_AAAI = ("finetune", "panet", "sgone", "amp", "popnet")
"""Methods that POPNet's own paper compares."""

IN_JOURNAL_KWAY = ("panet", "sgone", "amp", "popnet", "eopnet")
"""Methods that the journal reports in k-way; the k-way form of the others is ours, and the tables mark it."""

IN_JOURNAL_ONEWAY = ("finetune", "persam", "ppnet", "pfenet", *IN_JOURNAL_KWAY)


@dataclass(frozen=True)
class Method:
    """A row of the comparisons: a registered method and what the papers say of it.

    kway_in_papers  the papers report it in k-way
    in_aaai         POPNet's own paper compares with it
    training_free   it has no meta-training of its own
    ours            in neither paper
    """

    name: str
    label: str
    kway_in_papers: bool
    in_aaai: bool
    training_free: bool
    ours: bool


METHODS: dict[str, Method] = {
    name: Method(
        name,
        spec.label,
        kway_in_papers=name in IN_JOURNAL_KWAY,
        in_aaai=name in IN_AAAI,
        training_free=not spec.trainable,
        ours=name not in IN_JOURNAL_ONEWAY,
    )
    for name, spec in REGISTERED.items()
    if spec.one_shot
}
"""Every registered one-shot method, in the registry's order: a new contender is a row of the matrix and the tables."""

_FIRST = ("eopnet", "popnet", "sgone", "amp", "label_transfer", "panet", "ppnet", "pfenet", "finetune", "persam")
RUN_ORDER = (*_FIRST, *(name for name in METHODS if name not in _FIRST))
"""The order in which a step makes its rows: what most other exhibits share comes first."""

PAPERS_CONDITION = ("eopnet", "sgone", "popnet", "panet", "amp")
"""Methods of the k-way comparison that are also run under the condition "papers"."""


@dataclass(frozen=True)
class Ablation:
    """A change against a method's full form: `overrides` are "dotted.name=value" over the profile's settings.

    `large` replaces them in the profile "paper", whose encoder has other depths to choose from.
    """

    label: str
    overrides: tuple[str, ...] = ()
    large: tuple[str, ...] | None = None

    def settings(self, profile: str) -> tuple[str, ...]:
        """Return the overrides that hold in a profile."""
        return self.large if self.large is not None and profile == "paper" else self.overrides


_FINE_ONLY = ("model.options.coarse_weight=0.0", "model.options.contrast_weight=0.0", "eval.screening=false")
_AGM = ("model.options.fixed_beta=1.0", "eval.source=agm")

_CEILING = ("train.task=segment", "train.visible=all")
"""A plain segmenter in the method's place; it takes the profile's settings of that task, novel classes labelled."""

_ONE_STAGE = ("model.options.stages=1", "model.options.dynamic=false")

ABLATIONS: dict[tuple[str, str], Ablation] = {
    ("eopnet", "agm"): Ablation("AGM", (*_FINE_ONLY, *_AGM)),
    ("eopnet", "npm"): Ablation("NPM", (*_FINE_ONLY, "model.options.fixed_beta=0.0")),
    ("eopnet", "dml-no-ws"): Ablation("DML w/o WS", (*_FINE_ONLY, "model.options.fixed_beta=0.5")),
    ("eopnet", "dml"): Ablation("DML", _FINE_ONLY),
    ("eopnet", "dml-coarse"): Ablation("DML + CG & FG", ("model.options.contrast_weight=0.0",)),
    **{
        ("eopnet", f"momentum-{value}"): Ablation(f"momentum {value}", (f"model.options.momentum={value}",))
        for value in ("0.8", "0.9", "0.99", "0.9999")
    },
    # momentum 0 keeps nothing of the bank, in training and at test: static prototypes throughout
    ("eopnet", "static"): Ablation("without momentum prototypes", ("model.options.momentum=0.0",)),
    ("eopnet", "depth-3"): Ablation(
        "deeper encoder (3 blocks; 69 layers in the paper)",
        ("model.options.lite_depth=3",),
        ("model.options.feature_level=mid",),
    ),
    ("eopnet", "depth-4"): Ablation(
        "deepest encoder (4 blocks; 74 layers in the paper)",
        ("model.options.lite_depth=4",),
        ("model.options.feature_level=high",),
    ),
    ("eopnet", "ceiling"): Ablation("its encoder, supervised with all labels", _CEILING),
    ("popnet", "ceiling"): Ablation("its encoder, supervised with all labels", _CEILING),
    ("popnet", "agm"): Ablation("AGM", (*_ONE_STAGE, *_AGM)),
    ("popnet", "ncm"): Ablation("NCM", (*_ONE_STAGE, "model.options.fixed_beta=0.0")),
    ("popnet", "dml"): Ablation("DML", (*_ONE_STAGE, "model.options.fixed_beta=0.5")),
    ("popnet", "dml-ws"): Ablation("DML + WS", _ONE_STAGE),
    ("popnet", "kim"): Ablation("DML + WS + KIM", ("model.options.stages=3", "model.options.dynamic=false")),
    ("popnet", "three-stage"): Ablation("DML + WS + KIM + DP", ("model.options.stages=3",)),
    ("panet", "bg-panet"): Ablation("background as in PANet's paper", ("model.options.bg=panet",)),
    ("label_transfer", "dino"): Ablation("features of a DINO model", ("model.options.source=dino",)),
}
"""(method, name) -> what the row changes; the name "" is a method's full form and needs no entry."""

PROFILE_OVERRIDES: dict[str, tuple[str, ...]] = {"paper": ("variant=paper",)}
"""What the matrix lays over a profile for every run: the tables are compared with the paper's word, not the code's."""

TABLE5 = ("agm", "npm", "dml-no-ws", "dml", "dml-coarse", "")
TABLE6 = ("momentum-0.8", "momentum-0.9", "momentum-0.99", "", "momentum-0.9999")
TABLE7 = ("", "depth-3", "depth-4")
FIGURE8 = ("", "static")
POPNET3 = ("agm", "ncm", "dml", "dml-ws", "kim", "three-stage")
SEVERAL_SEEDS = ("eopnet", "popnet", "sgone", "amp", "label_transfer")
SEEDS = (0, 1, 2)

TABLE_FAMILY = {"eopnet2": "atr", "eopnet3": "lip", "eopnet4": "cihp", "ccp": "ccp"}
"""The comparisons of the journal (and ours on CCP-OS) and the family of datasets each belongs to."""

FIGURE_METHODS = {
    "popnet3f": ("popnet",),
    "popnet4f": ("amp", "sgone", "panet", "popnet"),
    "eopnet4f": ("eopnet",),
    "eopnet5f": ("persam", "eopnet"),
    "eopnet6f": ("amp", "popnet", "eopnet"),
    "eopnet7f": ("eopnet",),
    "per_class": RUN_ORDER,
    "confusion": ("eopnet", "popnet"),
    "size_iou": RUN_ORDER,
}
"""Methods whose predictions a figure has, all on fold 1; Figure 8 of the journal is declared by FIGURE8."""

EXHIBITS = (
    *("popnet1", "popnet2", "popnet3", *TABLE_FAMILY, "eopnet5", "eopnet6", "eopnet7", "eopnet8", "framework"),
    *(*FIGURE_METHODS, "eopnet8f"),
)
"""Ids of all tables and figures that rest on runs."""

STEPS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
"""Parts of the study in their order; each is complete before the next begins.

a  procedural ATR, fold 1, k-way, every method        f  Tables 6, 7 and Figure 8 of the journal
b  Table 5 of the journal                             g  1-way, fold 1 of both
c  CCP-OS (real photos), fold 1, k-way                h  procedural LIP and CIHP, fold 1, k-way
d  more seeds for five methods on a and c             i  the rest of the comparisons: 1-way, fold 2; our own switches
e  fold 2 of both, k-way                              j  POPNet's own tables, by its own protocol
"""


CONDITION_LABELS = {"papers": "unlabelled person pixels are background, as in the paper"}


def families(profile: str) -> dict[str, str]:
    """Return {family: dataset} of a profile: the papers' own datasets, or their procedural counterparts and CCP-OS."""
    large = profile == "paper"
    return {spec.family: name for name, spec in DATASETS.items() if (not spec.synthetic if large else spec.own_rules)}


def label(method: str, ablation: str = "", condition: str = "") -> str:
    """Return what a row is called: by its condition, if given. UserError for a method or ablation not declared."""
    if condition:
        return CONDITION_LABELS[condition]
    if method not in METHODS or (ablation and (method, ablation) not in ABLATIONS):
        raise UserError(f"there is no method {method!r} with the ablation {ablation!r} among the declared runs")
    return ABLATIONS[method, ablation].label if ablation else METHODS[method].label


def overrides_of(key: RunKey, profile: str = "lite") -> tuple[str, ...]:
    """Return what turns a profile's configuration into that of `key`, as "dotted.name=value" (dataset, way apart)."""
    label(key.method, key.ablation)
    changed = ABLATIONS[key.method, key.ablation].settings(profile) if key.ablation else ()
    protocol = () if key.protocol == "journal" else (f"data.protocol={key.protocol}", *_as_aaai(key))
    fixed = [f"data.fold={key.fold}", f"model.method={key.method}", f"train.seed={key.seed}"]
    fixed.append(f"data.condition={key.condition}")
    # external models need to know the order of the channels, which is the papers' loader's there
    external = profile == "paper" and (key.method == "persam" or key.ablation == "dino")
    channels = ("model.options.channels=bgr",) if external else ()
    return (*PROFILE_OVERRIDES.get(profile, ()), *fixed, *protocol, *changed, *channels)


AAAI_EPOCHS = 30
"""Epochs of a training by POPNet's own paper (AAAI, implementation details); static prototypes in the first half."""


def _as_aaai(key: RunKey) -> tuple[str, ...]:
    """POPNet's own protocol on the papers' ATR; small datasets keep their split, budget and rule for test pairs.

    The paper trains its stages one after the other; each gets the epochs here. In 1-way it tests 500 pairs of a class
    without saying how they are drawn, so the journal's are taken.
    """
    if dataset_spec(key.dataset).own_rules:
        return ()
    stages = 3 if "model.options.stages=3" in ABLATIONS.get((key.method, key.ablation), Ablation("")).overrides else 1
    budget = ["data.split=8000", f"train.epochs={AAAI_EPOCHS * stages}"]
    if stages == 3:
        budget.append("model.options.stage_ends=[0.333333, 0.666666, 1.0]")
    return (*budget, "eval.pairs=aaai" if key.way == "k" else "data.size=576")


def step_runs(step: str, profile: str = "lite") -> list[RunKey]:
    """Return the runs of one step, in order. UserError for an unknown step."""
    if step not in STEPS:
        raise UserError(f"there is no step {step!r}; steps are {', '.join(STEPS)}")
    data = families(profile)
    atr, lip, cihp, ccp = data["atr"], data["lip"], data["cihp"], data["ccp"]
    runs = {
        "a": _every_method(atr),
        "b": _ablations("eopnet", reversed(TABLE5), atr),
        "c": _every_method(ccp),
        "d": [RunKey(name, one, 1, "k", seed) for seed in SEEDS for one in (atr, ccp) for name in SEVERAL_SEEDS],
        "e": _every_method(atr, ccp, fold=2),
        "f": _ablations("eopnet", (*TABLE6, *FIGURE8, *TABLE7), atr),
        "g": _every_method(atr, ccp, way="1"),
        "h": _every_method(lip, cihp),
        "i": [
            *(RunKey(name, atr, 1, "k", condition="papers") for name in PAPERS_CONDITION),
            *_ablations("panet", ("bg-panet",), atr),
            *(
                RunKey(method, one, 1, "k", 0, name)
                for one in (atr, ccp)
                for method, name in (("label_transfer", "dino"), ("eopnet", "ceiling"))
            ),
            *_every_method(lip, cihp, way="1"),
            *_every_method(atr, ccp, fold=2, way="1"),
            *_every_method(lip, cihp, fold=2),
            *_every_method(lip, cihp, fold=2, way="1"),
        ],
        "j": [
            *(key for exhibit in ("popnet3", "popnet1", "popnet2") for key in _popnet_table(exhibit, atr)),
            RunKey("popnet", atr, 1, "k", 0, "ceiling", "aaai"),
        ],
    }
    return runs[step]


def _every_method(*datasets: str, fold: int = 1, way: Way = "k") -> list[RunKey]:
    return [RunKey(method, dataset, fold, way) for dataset in datasets for method in RUN_ORDER]


def _ablations(method: str, names: Iterable[str], *datasets: str) -> list[RunKey]:
    return [RunKey(method, dataset, 1, "k", 0, name) for dataset in datasets for name in names]


def _popnet_table(exhibit: str, dataset: str) -> list[RunKey]:
    """Runs of POPNet's own tables: its folds, POPNet in its three-stage form."""
    full = RunKey("popnet", dataset, 1, "k", 0, "three-stage", "aaai")
    if exhibit == "popnet3":
        return [replace(full, ablation=name) for name in POPNET3]
    way: Way = "k" if exhibit == "popnet1" else "1"
    return [
        replace(full, method=name, fold=fold, way=way, ablation="three-stage" if name == "popnet" else "")
        for fold in (1, 2)
        for name, method in METHODS.items()
        if method.in_aaai and (way == "1" or method.kway_in_papers)
    ]


def runs_of(exhibit: str, profile: str = "lite", *, dataset: str | None = None) -> list[RunKey]:
    """Return the runs that a table or figure needs, first seeds only, in the order of its rows.

    `dataset` replaces the dataset that the profile would take. UserError for an unknown exhibit.
    """
    data = families(profile)
    atr = dataset or data["atr"]
    if exhibit in TABLE_FAMILY:
        chosen = dataset or data[TABLE_FAMILY[exhibit]]
        return [RunKey(method, chosen, fold, way) for method in METHODS for way in _WAYS for fold in (1, 2)]
    if exhibit in ("popnet1", "popnet2", "popnet3"):
        return _popnet_table(exhibit, atr)
    named = {"eopnet5": TABLE5, "eopnet6": TABLE6, "eopnet7": TABLE7, "eopnet8f": FIGURE8}
    if exhibit in named:
        return _ablations("eopnet", named[exhibit], atr)
    if exhibit == "framework":
        return [RunKey("popnet", atr, 1, "k"), RunKey("eopnet", atr, 1, "k", 0, "dml-coarse")]
    if exhibit == "eopnet8":
        return [RunKey(method, atr, 1, "k") for method in METHODS]
    if exhibit in FIGURE_METHODS:
        protocol = "aaai" if exhibit.startswith("popnet") else "journal"
        form = {"popnet": "three-stage"} if protocol == "aaai" else {}
        ways = _WAYS if exhibit in ("popnet3f", "eopnet4f") else (_WAYS[1] if exhibit == "eopnet5f" else _WAYS[0],)
        return [
            RunKey(method, atr, 1, way, 0, form.get(method, ""), protocol)
            for way in ways
            for method in FIGURE_METHODS[exhibit]
        ]
    raise UserError(f"there is no table or figure {exhibit!r} among {', '.join(EXHIBITS)}")


def needs_curve(key: RunKey) -> bool:
    """True for the two runs whose scores during training are drawn (Figure 8 of the journal)."""
    return key.method == "eopnet" and key.ablation in FIGURE8 and key.way == "k" and key.fold == 1 and key.seed == 0


def matrix(profile: str, steps: Sequence[str] | None = None, datasets: Sequence[str] | None = None) -> list[RunKey]:
    """Return the runs of a profile in their order, each once.

    smoke: every method in both ways and every ablation, on procedural ATR; quick: the two papers' methods and the rows
    without training, fold 1 of procedural ATR, k-way; lite, gpu and paper: all steps. `steps` and `datasets` keep a
    part. UserError for an unknown step or a dataset that the profile does not use.
    """
    known = families(profile)
    strange = sorted(set(datasets or ()) - set(known.values()))
    if strange:
        raise UserError(f"profile {profile} has no runs on {strange[0]!r}; it uses {', '.join(known.values())}")
    if steps is None and profile == "smoke":
        runs = _smoke(known["atr"])
    elif steps is None and profile == "quick":
        quick = [name for name in RUN_ORDER if METHODS[name].training_free or name in ("eopnet", "popnet")]
        runs = [RunKey(method, known["atr"], 1, "k") for method in quick]
    else:
        runs = [key for step in (STEPS if steps is None else steps) for key in step_runs(step, profile)]
    return [key for key in dict.fromkeys(runs) if not datasets or key.dataset in datasets]


def _smoke(dataset: str) -> list[RunKey]:
    runs = [RunKey(method, dataset, 1, way) for way in _WAYS for method in RUN_ORDER]
    changed = [(method, name, "") for method, name in ABLATIONS] + [(name, "", "papers") for name in PAPERS_CONDITION]
    for method, name, condition in changed:
        protocol = "aaai" if method == "popnet" else "journal"
        runs.append(RunKey(method, dataset, 1, "k", 0, name, protocol, condition))
    return runs
