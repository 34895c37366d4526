"""Start from a DeepLab v3+ Xception checkpoint trained on COCO, as the papers do (journal, section 6.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from oshp_lite.errors import UserError
from oshp_lite.models.released import ENCODER_NAMES, official_names, read_state


@torch.no_grad()
def load_deeplab(encoders: Sequence[nn.Module], source: str | Path) -> str:
    """Copy what matches by name and shape into XceptionEncoders (one a stage); what came of it in a line.

    The names are those of the public Graphonomy network: xception_features.*, aspp1 to aspp4.*, global_avg_pool.*,
    concat_projection_*, feature_projection_*; a `module.` prefix and a wrapping dict are accepted. The decoder keeps
    its initialisation. Raises UserError for an unreadable file, or when nothing matches.
    """
    state = read_state(source)
    for encoder in encoders:
        net = nn.ModuleDict({"encoder": encoder})
        known, ours = official_names(net, ENCODER_NAMES), net.state_dict()
        matched = [name for name in state if name in known and state[name].shape == ours[known[name]].shape]
        if not matched:
            raise UserError(
                "nothing in the checkpoint matches the Xception encoder by name; give a DeepLab v3+ Xception one"
            )
        for name in matched:
            ours[known[name]].copy_(state[name])
    missing = [name for name in known if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in known]
    return (
        f"{len(matched)} encoder tensors from {Path(source).name}"
        + (f" in each of {len(encoders)} stages" if len(encoders) > 1 else "")
        + f" ({len(missing)} of the encoder's are not in it, {len(state) - len(unknown) - len(matched)} differ in "
        f"shape, {len(unknown)} are not the encoder's)"
    )
