"""The released POPNet checkpoints' names and ours (one one-shot stage with dynamic prototypes)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from oshp_lite.errors import UserError
from oshp_lite.models.released import eopnet as official
from oshp_lite.models.released.eopnet import ENCODER_NAMES

_HEADS = {
    "k": (
        ("classifier_6.", "guidance.classify."),
        ("bg_att_fusion.", "agm_fusion."),
        ("after_sim_fg.", "ncm.foreground."),
        ("after_sim_bg.", "ncm.background."),
        ("bg_sim_fusion.", "ncm.fusion."),
    ),
    "1": (("classifier_6.0.", "guidance.classify."), ("after_sim.0.", "ncm.")),
}


def table(way: str) -> tuple[tuple[str, str], ...]:
    """(official prefix, our prefix inside the stage) of every part of a released network, in its order."""
    return (
        ("scaler", "scale"),
        ("prototype", "bank.rows"),
        *ENCODER_NAMES,
        ("decoder1.0.atrous_convolution.", "encoder.high_decoder."),
        ("decoder2.0.", "guidance.trunk.0."),
        ("decoder2.1.", "guidance.trunk.1."),
        ("decoder3.0.atrous_convolution.", "guidance.trunk.2."),
        ("midfea_adapt_conv.", "encoder.mid_adapt."),
        ("midfea_adapt_bn.", "encoder.mid_adapt_bn."),
        ("midfea_conv.0.atrous_convolution.", "encoder.mid_decoder."),
        *_HEADS[way],
        ("feature_fusion.0.atrous_convolution.", "infusion.units.0."),
        ("feature_fusion.1.atrous_convolution.", "infusion.units.1."),
    )


def our_names(net: nn.Module) -> dict[str, str]:
    """Official name -> our name for the whole state of a released form. Raises ValueError for any other network."""
    config: Any = net.config
    parts = [(theirs, f"stages.0.{ours}") for theirs, ours in table(config.way)]
    names = official.official_names(net, parts)
    missing = sorted(set(net.state_dict(keep_vars=True)) - set(names.values()))
    plain = config.encoder == "xception" and config.all_branches and config.stages == 1
    same = config.agm_trunk == "plain2+sep1" and config.kim == "separable"
    if missing or not plain or not same or (config.way == "1" and config.oneway_head != "code"):
        raise ValueError("this configuration has no counterpart in the released code; use the official one-stage form")
    return names


def read(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a released state and what its shapes say (way, n_ids, width). Raises UserError for anything else."""
    state = official.read_state(source)
    bank = state.get("prototype")
    way = "k" if "after_sim_fg.weight" in state else "1" if "after_sim.0.weight" in state else None
    if bank is None or bank.dim() != 2 or way is None:
        raise UserError(
            "the checkpoint is not one of POPNet's released form with dynamic prototypes (no prototype bank or no NCM "
            "weights)"
        )
    return state, {"way": way, "n_ids": int(bank.shape[0]), "width": int(bank.shape[1])}


def load(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a released state into a network (also one on the meta device). Raises UserError when it does not fit."""
    official.load(net, state, our_names(net), "POPNet")


def export(net: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state under the released code's names, in its order."""
    return official.export(net, our_names(net))
