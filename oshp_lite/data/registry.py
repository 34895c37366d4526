"""The one list of datasets, and the way from a configuration to the dataset on disk: opened, or drawn first."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from oshp_lite.errors import UserError
from oshp_lite.fields import bounded, check_fields

if TYPE_CHECKING:  # the command line reads the list for its help, which must not wait for NumPy
    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.labels import LabelSpace


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset, as the command line, doctor, presets and the study know it.

    name           what `--dataset` takes
    family         its labels and folds, which a stand-in shares with the papers' dataset: "atr" for synth-atr
    title          what tables call it, and what the data are
    prepare        "module:NAME" of its `Preparation` in `data.prepare`; None for procedural people, which are drawn
    photos         (training, test) photos; for procedural people a configuration says how many
    train_queries  query photos of the training part, as the papers state them
    own_rules      has a split and a pair rule of its own under every variant, being too small for the papers'
    blocks         the study tests it on each of its blocks in turn (`DataConfig.block`), its photos being few
    """

    name: str
    family: str
    title: str
    prepare: str | None = None
    photos: tuple[int, int] | None = None
    train_queries: int | None = None
    own_rules: bool = False
    blocks: bool = False

    @property
    def synthetic(self) -> bool:
        """True for procedural people, drawn when first needed."""
        return self.prepare is None

    @property
    def space(self) -> LabelSpace:
        """Label space of its masks."""
        from oshp_lite.labels import one_shot_space

        return one_shot_space(self.family)

    @property
    def command(self) -> str:
        """The command that makes it of raw data; empty for procedural people, which need none."""
        if self.synthetic:
            return ""
        own = Path(__file__).parents[2] / "data_scripts" / f"{self.family}.py"
        return f"data_scripts/{self.family}.py" if own.is_file() else f"data_scripts/prepare.py {self.family}"


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec("synth-atr", "atr", "synth-atr (procedural people)", own_rules=True),
        DatasetSpec("synth-lip", "lip", "synth-lip (procedural people)", own_rules=True),
        DatasetSpec("synth-cihp", "cihp", "synth-cihp (procedural people)", own_rules=True),
        DatasetSpec("synth-pascal", "pascal", "synth-pascal (body parts of procedural people)"),
        DatasetSpec("synth-crowd", "cihp", "synth-crowd (procedural people in crowds)", own_rules=True),
        DatasetSpec("atr-os", "atr", "ATR-OS", "raw:ATR", (15000, 2706), 7500),
        DatasetSpec("lip-os", "lip", "LIP-OS", "raw:LIP", (30462, 10000), 14000),
        DatasetSpec("cihp-os", "cihp", "CIHP-OS", "raw:CIHP", (28280, 5000), 14000),
        DatasetSpec("pascal-parts", "pascal", "PASCAL-Person-Part", "pascal:PASCAL", (1716, 1817), 858),
        DatasetSpec("ccp-os", "ccp", "CCP-OS (real photos)", "ccp:CCP", (700, 303), 350, own_rules=True, blocks=True),
    )
}
"""The datasets a run may name. A new one is its label table, its file in `data/prepare` and a line here."""


def dataset_spec(name: str) -> DatasetSpec:
    """The dataset of that name. Raises UserError for an unknown one, or one that has another name by now."""
    from oshp_lite.labels import canonical

    if name in DATASETS:
        return DATASETS[name]
    canonical(name)
    raise UserError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")


_OLD_NAMES = {"figures": "synthetic", "figures_epochs": "synthetic_epochs", "FiguresConfig": "SyntheticConfig"}
"""What the settings of procedural people were called when the datasets were figures-*."""


def refuse_old_name(where: str, name: str) -> None:
    """Raise UserError when a setting or a class goes by another name now."""
    if name in _OLD_NAMES:
        raise UserError(f"{where}{name} is now called {_OLD_NAMES[name]}; use that name")


FREE: dict[str, Any] = {"identity": False}
"""Marks a field that cannot change what a run is (speed, comfort, or counted by content instead)."""

Condition = Literal["papers", "person-class", "ignore"]
"""What a person's pixels without a label of the training classes are in training (novel garments hide among them).

papers: background, as in both papers; person-class: one more class that support and query share; ignore: left out.
"""

BLOCKS = 5
"""Blocks of neighbouring photos in the cross-validation; each is tested once, by a run trained on the others."""

MOST = 10_000_000
"""A bound for counts that have no natural one."""


PROPORTION = {"pascal": 1, "atr": 9, "cihp": 16, "lip": 18}
"""Training photos of the papers' datasets by PASCAL-Person-Part's 1,717, as procedural label domains have them."""


@dataclass(frozen=True)
class SyntheticConfig:
    """How many procedural scenes to draw, and how large, when the dataset is a `synth-*` one."""

    n_train: int = bounded(1200, 2, 1_000_000)
    n_test: int = bounded(300, 2, 1_000_000)
    size: int = bounded(128, 16, 2048)
    seed: int = bounded(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        check_fields(self, "data.synthetic.")


@dataclass(frozen=True)
class DataConfig:
    """Which episodes a run sees.

    `condition` names the label condition of the training (see `Condition`). `size` is the training size, one number
    or [height, width]; `split` the last line of the training part's query side (None: the dataset's own); `cap` limits
    1-way queries per class. `synthetic` counts in a run's identity by the drawn data's fingerprint. `block` tests on
    one of five blocks of neighbouring photos and trains on the others (None: the dataset's own split).
    """

    dataset: str = "synth-atr"
    fold: int = bounded(1, 1, 99)
    protocol: Literal["journal", "aaai", "tuning"] = "journal"
    way: Literal["k", "1"] = "k"
    condition: Condition = "person-class"
    size: int | tuple[int, int] = bounded(128, 16, 2048)
    augment: Literal["paper", "mild", "none"] = "mild"
    pairing: Literal["once", "each epoch"] = "each epoch"
    channels: Literal["rgb", "bgr"] = "rgb"
    pad_label: Literal[0, 255] = 255
    pre_resize: int | None = bounded(None, 16, 2048)
    scale: Literal["independent", "joint"] = "joint"
    jitter: float = bounded(0.2, 0, 1)
    split: int | None = bounded(None, 1, MOST)
    cap: int | None = bounded(1500, 1, MOST)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig, metadata=FREE)
    workers: int = bounded(0, 0, 256, **FREE)
    cache_mb: int = bounded(1024, 0, MOST, **FREE)
    block: int | None = bounded(None, 0, BLOCKS - 1)

    def __post_init__(self) -> None:
        check_fields(self, "data.")


def domain_data(data: DataConfig, domain: str) -> DataConfig:
    """Where the photos of another label domain come from: `data` with its name; procedural ones in the papers' sizes.

    `data.synthetic.n_train` is the number of a procedural dataset's own photos, beside a real one that of CIHP's
    counterpart. UserError for an unknown dataset.
    """
    if domain == data.dataset:
        return data
    moved = replace(data, dataset=domain, protocol="journal", block=None)
    drawn = {name: dataset_spec(name).family for name in (domain, data.dataset) if dataset_spec(name).synthetic}
    here, there = (PROPORTION.get(drawn.get(name, "cihp"), 0) for name in (domain, data.dataset))
    if not here or not there:
        return moved
    n_train = max(8, round(data.synthetic.n_train * here / there))
    return replace(moved, synthetic=replace(data.synthetic, n_train=n_train))


def dataset_folder(data: DataConfig, root: str | Path | None = None) -> Path:
    """Where this dataset lies under the data folder; procedural ones carry their size in the name.

    `root` may be the dataset's own folder (one that holds `dataset.json`) when the dataset is not procedural.
    """
    from oshp_lite.files import data_root

    base = data_root(root)
    if dataset_spec(data.dataset).synthetic:
        scenes = data.synthetic
        return base / f"{data.dataset}-{scenes.n_train}+{scenes.n_test}-{scenes.size}px-seed{scenes.seed}"
    if _holds_dataset(base):
        return base
    spellings = (data.dataset, data.dataset.removesuffix("-os"), f"{data.dataset}-os", data.dataset.upper())
    return next((base / name for name in spellings if _holds_dataset(base / name)), base / data.dataset)


def missing_dataset(data: DataConfig, root: str | Path | None = None) -> str:
    """Why the dataset cannot be used, naming the command that makes it; empty when it is there or will be drawn."""
    spec, folder = dataset_spec(data.dataset), dataset_folder(data, root)
    if spec.synthetic or _holds_dataset(folder):
        return ""
    return f"the dataset {spec.name} is not at {folder}; make it with {spec.command} or name its folder by --data"


def _holds_dataset(folder: Path) -> bool:
    return os.path.isfile(folder / "dataset.json")


def check_names(data: DataConfig) -> None:
    """Raise UserError for a dataset that does not exist or has no such fold, before any time is spent."""
    from oshp_lite.labels import fold

    dataset_spec(data.dataset)
    fold(data.dataset, data.fold, data.protocol)
    if data.block is not None and data.protocol == "tuning":
        raise UserError("data.block and data.protocol=tuning exclude each other; leave one of them out")


def find_dataset(data: DataConfig, root: str | Path | None = None, *, progress: bool = True) -> OneShotDataset:
    """Open the dataset; procedural people are drawn first when they are not there (or by an older generator).

    Under the protocol "tuning", or with a block, it is what `prepare.derived` makes of the dataset, beside it.
    Nothing is written where a finished dataset lies. Raises UserError for a real dataset that is missing.
    """
    from oshp_lite.data.dataset import open_dataset
    from oshp_lite.data.prepare import derived
    from oshp_lite.labels import fold

    check_names(data)
    missing = missing_dataset(data, root)
    if missing:
        raise UserError(missing)
    folder = dataset_folder(data, root)
    if dataset_spec(data.dataset).synthetic:
        scenes = data.synthetic
        whole = draw(data.dataset, folder, scenes.n_train, scenes.n_test, scenes.size, scenes.seed, progress=progress)
    else:
        whole = open_dataset(folder)
    if data.block is not None:
        made, name = derived.block(whole, data.block, BLOCKS), f"{whole.root.name}-block{data.block}"
    elif data.protocol == "tuning":
        chosen = fold(data.dataset, data.fold)
        made, name = derived.tuning(whole, chosen), f"{whole.root.name}-tuning-fold{data.fold}"
    else:
        return whole
    place = whole.root.with_name(name)
    return _once(place, made.recipe, lambda: derived.make(whole, made, place, progress=progress))


def draw(
    name: str, folder: Path, n_train: int, n_test: int, size: int, seed: int = 0, *, progress: bool = True
) -> OneShotDataset:
    """Draw procedural people into `folder`, or keep what an equal order by the same generator left there."""
    from oshp_lite.data.synthetic.generate import generate, recipe

    workers = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))  # how much of the machine is ours
    make = partial(generate, name, folder, n_train, n_test, size, seed, progress, workers=workers, replaces="generator")
    return _once(folder, recipe(name, n_train, n_test, size, seed), make)


def _once(folder: Path, recipe: Any, make: Callable[[], OneShotDataset]) -> OneShotDataset:
    """The dataset finished from this recipe, or what `make` makes; of several processes one makes it, others wait."""
    from oshp_lite.data.writer import finished_dataset
    from oshp_lite.lock import locked

    there = finished_dataset(folder, recipe)
    if there is None:
        with locked(folder.parent / ".locks" / f"{folder.name}.lock", f"the dataset {folder.name}"):
            there = finished_dataset(folder, recipe) or make()
    return there
