"""Where the papers and the released code differ, and which switch decides it here: 45 rows, as data.

Every row that leaves a choice names fields of the model's configuration (`model.`) or of a run's (`data.`, `train.`,
`eval.`); their values are read from the presets, never written down twice. The other rows say what is fixed and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from oshp_lite.engine.presets import variant_config
from oshp_lite.models.eopnet_config import EOPNetConfig

VARIANTS = ("official", "paper")


@dataclass(frozen=True)
class Difference:
    """One row: what is compared, what the papers say, what the released code does, and our switches or our stance.

    fields  dotted names, "model.momentum" or "data.pairing"; empty when nothing is left to choose
    stance  for rows without a field: what we do and why
    """

    row: int
    item: str
    paper: str
    code: str
    fields: tuple[str, ...] = ()
    stance: str = ""

    def settings(self, variant: str, dataset: str = "atr") -> dict[str, Any]:
        """Return field -> value under a preset ("official", "paper" or "lite")."""
        return {name: setting(name, variant, dataset) for name in self.fields}


def setting(field: str, variant: str, dataset: str = "atr") -> Any:
    """Return the value of one dotted field under a preset. Raises AttributeError for an unknown field."""
    group, _, name = field.partition(".")
    if group == "model":
        return getattr(EOPNetConfig.preset(variant), name)
    return getattr(getattr(variant_config(variant, dataset), group), name)


def _row(row: int, item: str, paper: str, code: str, *fields: str, stance: str = "") -> Difference:
    return Difference(row, item, paper, code, fields, stance)


DIFFERENCES: tuple[Difference, ...] = (
    _row(
        1,
        "momentum of the bank",
        "AAAI: 0.001 on the old value; journal: 0.999",
        "0.999 old, 0.001 new",
        "model.momentum",
    ),
    _row(
        2,
        "epochs with static prototypes",
        "journal 3, AAAI 15",
        "26 (0 to 25 inclusive)",
        "model.proto_warmup",
        "model.warmup_inclusive",
    ),
    _row(3, "bank during warm-up", "not said", "overwritten by the latest", "model.bank_during_warmup"),
    _row(4, "coarse prototypes", "smoothed like the fine ones", "static, detached", "model.coarse_proto"),
    _row(
        5,
        "coarse attention",
        "scene and person",
        "both computed, the person's kept",
        "model.coarse_attention",
        "model.coarse_bg_pass",
    ),
    _row(6, "AGM's trunk", "several separable layers", "2 plain 3x3 and 1 separable unit", "model.agm_trunk"),
    _row(
        7,
        "trunk for classes and for background",
        "two functions",
        "one trunk, two outputs",
        stance="fixed: one trunk, whose second output passes a scalar affine map after the mean",
    ),
    _row(8, "mean behind the background", "classes of the support", "all ids, absent ones too", "model.bg_mean"),
    _row(
        9,
        "NPM's background",
        "one affine map of the mean",
        "affine per id, mean, affine",
        stance="fixed: as the code; both together are one affine map in effect",
    ),
    _row(10, "scale of NPM's scores", "not mentioned", "10, learnable", "model.npm_scale", "model.npm_scale_learnable"),
    _row(11, "ids in the softmax", "classes of the support", "all ids", "model.restrict_to_support"),
    _row(
        12,
        "1-way head",
        "as in k-way",
        "own 1-to-2 map; AGM without residual",
        "model.oneway_head",
    ),
    _row(
        13,
        "contrastive loss in 1-way",
        "not excluded",
        "none",
        stance="fixed off: with one class there is nothing to contrast",
    ),
    _row(
        14, "classes of the contrastive loss", "classes of the support", "a background row as well", "model.contrast_bg"
    ),
    _row(
        15,
        "when a class counts as absent",
        "not in the support",
        "not in the mask at stride 4",
        "model.absent_test",
        "eval.absent_test",
    ),
    _row(
        16,
        "size of training photos",
        "resized to 512 first",
        "native, scaled apart in x and y",
        "data.pre_resize",
        "data.scale",
    ),
    _row(17, "label of the padding", "not said", "0 (255 was meant)", "data.pad_label"),
    _row(18, "size of test photos", "512 in the complexity table only", "native", "eval.test_size"),
    _row(
        19,
        "screening by the coarse answer",
        "in no equation",
        "on in all scripts",
        "model.screening",
        "eval.screening",
    ),
    _row(
        20,
        "prototypes of base classes at test",
        "the stored ones",
        "0.999 stored, 0.001 of this support; zero if absent",
        stance="fixed: as the code",
    ),
    _row(21, "AGM at test", "not needed", "computed, thrown away", "model.skip_agm_at_test"),
    _row(22, "query photos in training", "ATR 7,500 (AAAI: 8,000), else 14,000", "7,500 for all", "data.split"),
    _row(
        23,
        "size of ATR",
        "16,000 or 18,000 photos",
        "lists of 15,000 and 2,706",
        stance="fixed: the released lists decide",
    ),
    _row(24, "partner of a query", "drawn in each episode", "drawn once per run", "data.pairing"),
    _row(25, "1-way queries per class", "not said", "the first 1,500", "data.cap"),
    _row(26, "test pairs", "journal 1,650 or 1,800; AAAI 5,000", "as the journal", "eval.pairs"),
    _row(27, "folds", "AAAI and journal differ", "the journal's", "data.protocol"),
    _row(
        28,
        "learning rate",
        "poly",
        "poly every 10 epochs, with a fresh optimiser",
        "train.poly_step",
        "train.reset_momentum",
    ),
    _row(
        29, "beta at the end", "0", "0.02 in epoch 49 of 50", stance="fixed: beta = 1 - epoch / epochs, as both state"
    ),
    _row(30, "depth of the embedding", "62 layers", "mid, 69 by the same count", "model.feature_level"),
    _row(
        31,
        "batch normalisation",
        "not mentioned",
        "not synchronised; query and support apart",
        "model.bn_sync",
        "model.joint_encode",
    ),
    _row(
        32,
        "shortcuts of the encoder",
        "not mentioned",
        "see the rectified input",
        stance="fixed: trained weights depend on it (section 3 of this notebook)",
    ),
    _row(
        33, "background in human and base mIoU", "mean over the human classes", "included", stance="fixed: as the code"
    ),
    _row(34, "1-way background IoU", "not said", "mean over the classes' own", stance="fixed: as the code"),
    _row(35, "Bi-mIoU", "average binary IoU", "every 10th pair, pooled", "eval.bi_every"),
    _row(
        36,
        "AAAI's softmax",
        "background not exponentiated",
        "ordinary softmax",
        stance="fixed: as the code; notebook 05 shows why",
    ),
    _row(
        37,
        "POPNet's stages",
        "AAAI three, journal two",
        "the one-shot stage only",
        stance="POPNet's option stages: 1, 2 or 3 (notebook 05)",
    ),
    _row(
        38,
        "POPNet's KIM",
        "two conv layers",
        "two separable units",
        stance="POPNet's option kim: as the code; plain layers on the lite encoder",
    ),
    _row(
        39,
        "POPNet's 1-way head",
        "with residual",
        "with (static) or without (dynamic)",
        stance="POPNet's option oneway_head: as the code, or the k-way scheme with residual",
    ),
    _row(
        40,
        "parameters",
        "42.5 M; POPNet 85.8 M",
        "44.22 M held, 41.12 M used",
        stance="both reported (section 6 of this notebook)",
    ),
    _row(
        41,
        "MACs at 512 px, 5 classes",
        "129.3 G",
        "243.6 G, or 120.9 G without what is thrown away",
        stance="reported with its definition (section 6 of this notebook)",
    ),
    _row(
        42,
        "foreground mask",
        "could come from a parser",
        "from the labels, dropped and novel classes too",
        stance="fixed: as the code",
    ),
    _row(
        43,
        "random flip",
        "one",
        "query and support apart, with mirrored labels",
        stance="fixed: mirror and swap sides, which is the same",
    ),
    _row(
        44,
        "pre-training",
        "COCO",
        "COCO by name; decoder and heads random",
        stance="loaded by name when you have the file; the lite encoder starts from procedural people",
    ),
    _row(
        45,
        "weights of the losses",
        "1, 1; tau 0.1",
        "the same",
        "model.coarse_weight",
        "model.contrast_weight",
        "model.temperature",
    ),
)


def _words(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def difference_table(dataset: str = "atr") -> str:
    """Return all rows as a Markdown table, the switches' values read from both presets."""
    lines = ["| | | papers | released code | `official` | `paper` |", "|---|---|---|---|---|---|"]
    for entry in DIFFERENCES:
        if entry.fields:
            columns = [
                "<br>".join(f"`{name}` = {_words(value)}" for name, value in entry.settings(variant, dataset).items())
                for variant in VARIANTS
            ]
            columns[1] = "<br>".join(
                _words(value) if value != entry.settings("official", dataset)[name] else "same"
                for name, value in entry.settings("paper", dataset).items()
            )
        else:
            columns = [entry.stance, ""]
        lines.append(f"| {entry.row} | {entry.item} | {entry.paper} | {entry.code} | {columns[0]} | {columns[1]} |")
    return "\n".join(lines)


def preset_table(
    group: str = "model", variants: Sequence[str] = ("official", "paper", "lite"), dataset: str = "atr"
) -> str:
    """Return every plain field of one group (model, data, train or eval) under the presets, as a Markdown table."""
    names = [field.name for field in fields(EOPNetConfig)]
    if group != "model":
        names = [field.name for field in fields(getattr(variant_config("official", dataset), group))]
    lines = [
        f"| {group} | " + " | ".join(f"`{variant}`" for variant in variants) + " |",
        "|---" * (1 + len(variants)) + "|",
    ]
    for name in names:
        if is_dataclass(setting(f"{group}.{name}", variants[0], dataset)):
            continue  # a group of its own (the procedural people), the same in every preset
        values = [_words(setting(f"{group}.{name}", variant, dataset)) for variant in variants]
        marked = [value if value == values[0] else f"**{value}**" for value in values]
        lines.append(f"| `{name}` | " + " | ".join(marked) + " |")
    return "\n".join(lines)
