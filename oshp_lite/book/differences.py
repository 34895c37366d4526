"""Where the papers and the released code differ, and which switch decides it here: the 45 rows of `differences.yaml`.

Every row that leaves a choice names fields of the model's configuration (`model.`) or of a run's (`data.`, `train.`,
`eval.`); their values are read from the presets, never written down twice. The other rows say what is fixed and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import resources
from typing import Any

from oshp_lite.engine.presets import variant_config
from oshp_lite.files import parse_yaml
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

    def settings(self, variant: str, dataset: str = "atr-os") -> dict[str, Any]:
        """Return field -> value under a preset ("official", "paper" or "lite")."""
        return {name: setting(name, variant, dataset) for name in self.fields}


def setting(field: str, variant: str, dataset: str = "atr-os") -> Any:
    """Return the value of one dotted field under a preset. Raises AttributeError for an unknown field."""
    group, _, name = field.partition(".")
    if group == "model":
        return getattr(EOPNetConfig.preset(variant), name)
    return getattr(getattr(variant_config(variant, dataset), group), name)


DIFFERENCES: tuple[Difference, ...] = tuple(
    Difference(**{**entry, "fields": tuple(entry.get("fields", ()))})
    for entry in parse_yaml(resources.files("oshp_lite.book").joinpath("differences.yaml").read_text("utf-8"))
)


def _words(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def difference_table(dataset: str = "atr-os") -> str:
    """Return all rows as a Markdown table, the switches' values read from both presets."""
    lines = ["| | | journal (AAAI: POPNet) | released code | `official` | `paper` |", "|---|---|---|---|---|---|"]
    for entry in DIFFERENCES:
        columns = [entry.stance, ""]
        if entry.fields:
            official, paper = (entry.settings(variant, dataset) for variant in VARIANTS)
            changed = (_words(paper[name]) if paper[name] != official[name] else "same" for name in entry.fields)
            chosen = (f"`{name}` = {_words(value)}" for name, value in official.items())
            columns = ["<br>".join(chosen), "<br>".join(changed)]
        lines.append(f"| {entry.row} | {entry.item} | {entry.paper} | {entry.code} | {columns[0]} | {columns[1]} |")
    return "\n".join(lines)


def preset_table(
    group: str = "model", variants: Sequence[str] = ("official", "paper", "lite"), dataset: str = "atr-os"
) -> str:
    """Return every plain field of one group (model, data, train or eval) under the presets, as a Markdown table."""
    owner = EOPNetConfig if group == "model" else getattr(variant_config("official", dataset), group)
    names = [field.name for field in fields(owner)]
    lines = [f"| {group} | {' | '.join(f'`{variant}`' for variant in variants)} |", "|---" * (1 + len(variants)) + "|"]
    for name in names:
        if is_dataclass(setting(f"{group}.{name}", variants[0], dataset)):
            continue  # a group of its own (the procedural people), the same in every preset
        values = [_words(setting(f"{group}.{name}", variant, dataset)) for variant in variants]
        marked = [value if value == values[0] else f"**{value}**" for value in values]
        lines.append(f"| `{name}` | " + " | ".join(marked) + " |")
    return "\n".join(lines)
