"""Start from a DeepLab v3+ Xception checkpoint trained on COCO, as the papers do (journal, section 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from oshp_lite.errors import UserError
from oshp_lite.models.released.eopnet import ENCODER_NAMES, official_names, read_state


@dataclass(frozen=True)
class PretrainedReport:
    """What a checkpoint gave: entry names in the file's words.

    matched     copied into the network
    mismatched  known names whose shape differs; left as initialised
    unknown     in the file, not in the network; skipped
    missing     in the encoder, not in the file; left as initialised
    """

    matched: tuple[str, ...]
    mismatched: tuple[str, ...]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        lines = []
        for label in ("matched", "mismatched", "unknown", "missing"):
            names: tuple[str, ...] = getattr(self, label)
            groups: dict[str, int] = {}
            for name in names:
                part = ".".join(name.split(".")[: 2 if name.startswith("xception_features") else 1])
                groups[part] = groups.get(part, 0) + 1
            detail = ", ".join(f"{part} ({count})" for part, count in groups.items())
            lines.append(f"{label:<10} {len(names):>4}  {detail}".rstrip())
        return "\n".join(lines)


@torch.no_grad()
def load_coco(
    net: nn.Module, source: str | Path | Mapping[str, Any], *, say: Callable[[str], object] = print
) -> PretrainedReport:
    """Copy what matches by name and shape into `net.encoder` (an XceptionEncoder) and say what did not.

    The names are those of the public Graphonomy network: xception_features.*, aspp1 to aspp4.*, global_avg_pool.*,
    concat_projection_*, feature_projection_*; a `module.` prefix and a wrapping dict are accepted. Decoder and heads
    keep their initialisation. Raises UserError for an unreadable file, or when nothing matches.
    """
    state = read_state(source)
    known = official_names(net, ENCODER_NAMES)
    ours = net.state_dict()
    matched = [name for name in state if name in known and state[name].shape == ours[known[name]].shape]
    mismatched = [name for name in state if name in known and name not in set(matched)]
    if not matched:
        raise UserError(
            "nothing in the checkpoint matches the Xception encoder by name; give a DeepLab v3+ Xception one"
        )
    for name in matched:
        ours[known[name]].copy_(state[name])
    counters = {name for name in known if name.endswith("num_batches_tracked")}
    report = PretrainedReport(
        tuple(matched),
        tuple(mismatched),
        tuple(name for name in state if name not in known),
        tuple(name for name in known if name not in state and name not in counters),
    )
    say(str(report))
    return report


def load_deeplab(encoders: Sequence[nn.Module], source: str | Path) -> str:
    """Give encoders (one a stage) the checkpoint's weights; what came of it in a line.

    Raises UserError as `load_coco` does.
    """
    state = read_state(source)
    reports = [load_coco(nn.ModuleDict({"encoder": encoder}), state, say=lambda text: None) for encoder in encoders]
    report = reports[-1]
    return (
        f"{len(report.matched)} encoder tensors from {Path(source).name}"
        + (f" in each of {len(reports)} stages" if len(reports) > 1 else "")
        + f" ({len(report.missing)} of the encoder's are not in it, {len(report.mismatched)} differ in shape, "
        f"{len(report.unknown)} are not the encoder's)"
    )
