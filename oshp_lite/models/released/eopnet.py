"""The released checkpoints' names and ours, and how to read such a file without trusting it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oshp_lite.errors import UserError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")

# (official prefix, our prefix) in the order of the released state dict
ENCODER_NAMES = (
    ("aspp1.atrous_convolution.", "encoder.aspp1."),
    ("aspp1.bn.", "encoder.aspp1_bn."),
    ("aspp2.atrous_convolution.", "encoder.aspp2."),
    ("aspp3.atrous_convolution.", "encoder.aspp3."),
    ("aspp4.atrous_convolution.", "encoder.aspp4."),
    ("xception_features.", "encoder.backbone."),
    ("global_avg_pool.1.", "encoder.pooled."),
    ("global_avg_pool.2.", "encoder.pooled_bn."),
    ("concat_projection_conv1.", "encoder.concat."),
    ("concat_projection_bn1.", "encoder.concat_bn."),
    ("feature_projection_conv1.", "encoder.low."),
    ("feature_projection_bn1.", "encoder.low_bn."),
)
_HEADS = {
    "k": (
        ("npm_class_fg.", "npm.foreground."),
        ("npm_class_bg.", "npm.background."),
        ("npm_bg_fusion.", "npm.fusion."),
        ("agm_bg_fusion.", "agm_fusion."),
    ),
    "1": (("npm_class.", "npm."),),
}


def table(way: str) -> tuple[tuple[str, str], ...]:
    """(official prefix, our prefix) of every part of an `official` network, in the released order."""
    return (
        ("scaler", "scale"),
        ("prototype", "fine_bank.rows"),
        ("s1_prototype", "coarse_bank.rows"),
        *ENCODER_NAMES,
        ("decoder1.0.atrous_convolution.", "encoder.high_decoder."),
        ("decoder2.0.", "fine_guidance.trunk.0."),
        ("decoder2.1.", "fine_guidance.trunk.1."),
        ("decoder3.atrous_convolution.", "fine_guidance.trunk.2."),
        ("midfea_adapt_conv.", "encoder.mid_adapt."),
        ("midfea_adapt_bn.", "encoder.mid_adapt_bn."),
        ("midfea_conv.0.atrous_convolution.", "encoder.mid_decoder."),
        ("agm_class.", "fine_guidance.classify."),
        *_HEADS[way],
        ("s1_conv1.0.", "coarse_guidance.trunk.0."),
        ("s1_conv1.1.", "coarse_guidance.trunk.1."),
        ("s1_conv2.atrous_convolution.", "coarse_guidance.trunk.2."),
        ("s1_semantic.", "coarse_guidance.classify."),
        ("s1_trans.", "coarse_projection."),
        ("s2_trans.", "fine_projection."),
    )


def official_block_name(name: str) -> str:
    """Name inside an official Xception backbone for ours: units 0 to 2 stand at numbered positions between ReLUs."""
    name = name.replace(".skip_bn.", ".skipbn.").replace("block2.units.2.", "block2.block2_lastconv.1.")

    def position(match: re.Match[str]) -> str:
        # block 1 has no opening ReLU, so its units stand at even positions
        return f"{match[1]}.rep.{2 * int(match[2]) + (match[1] != 'block1')}."

    return re.sub(r"(block\d+)\.units\.(\d)\.", position, name)


def official_names(net: nn.Module, prefixes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Official name -> our name for every entry of a network's state that the prefixes cover, in their order."""
    ours = list(net.state_dict(keep_vars=True))
    # the released block 2 lists its last unit first
    last = [name for name in ours if ".block2.units.2." in name]
    others = [name for name in ours if ".block2.units.2." not in name]
    at = next((place for place, name in enumerate(others) if ".block2.units.0." in name), 0)
    ours = others[:at] + last + others[at:]
    names: dict[str, str] = {}
    for theirs, prefix in prefixes:
        for name in ours:
            if name == prefix or (prefix.endswith(".") and name.startswith(prefix)):
                rest = name[len(prefix) :]
                names[theirs + (official_block_name(rest) if theirs == "xception_features." else rest)] = name
    return names


def our_names(net: nn.Module) -> dict[str, str]:
    """Official name -> our name for the whole state of an `official` network. Raises ValueError for any other."""
    config: Any = net.config
    names = official_names(net, table(config.way))
    missing = sorted(set(net.state_dict(keep_vars=True)) - set(names.values()))
    plain = config.encoder == "xception" and config.all_branches and config.agm_trunk == "plain2+sep1"
    if missing or not plain or (config.way == "1" and config.oneway_head != "code"):
        raise ValueError("this configuration has no counterpart in the released code; use EOPNetConfig.official()")
    return names


def export(net: nn.Module, names: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """A copy of the network's state under the released code's names (default: EOP-Net's), in its order."""
    state = net.state_dict()
    return {theirs: state[ours].clone() for theirs, ours in (our_names(net) if names is None else names).items()}


def read_state(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """Read a state dict from a file (or take it as given): unwrapped, without a `module.` prefix.

    Of nested dicts the one with the most tensors counts, so an optimiser's state or a score beside the weights does no
    harm. Files are loaded with `weights_only=True`, so nothing in them can run. Raises UserError.
    """
    what = "the given state dict"
    content: Any = source
    if not isinstance(source, Mapping):
        what = str(source)
        content = _load_file(Path(source))
    content = max(_mappings(content), key=_tensors, default={})
    if not _tensors(content):
        raise UserError(f"{what} holds no network weights; give a checkpoint that is a state dict")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _tensors(content: Mapping[Any, Any]) -> int:
    return sum(isinstance(value, Tensor) for value in content.values())


def _mappings(content: Any, depth: int = 3) -> Iterator[Mapping[Any, Any]]:
    """Yield a checkpoint's dict and those inside it, usual names of a wrapped state first."""
    if isinstance(content, Mapping):
        yield content
        for name in sorted(content, key=lambda name: name not in _WRAPPERS) if depth else ():
            yield from _mappings(content[name], depth - 1)


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist or is not a file; check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise UserError(
                f"checkpoint {path} holds Python objects that are not plain weights, so it was not loaded; "
                "give a file with a state dict only"
            ) from error
        raise UserError(f"checkpoint {path} is damaged or no PyTorch file; get it again") from error
    except Exception as error:  # every reader fails in its own way on damaged input
        raise UserError(f"checkpoint {path} is damaged or no PyTorch file; get it again") from error


def infer_size(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read way, number of ids and width off an official state dict. Raises UserError when it is something else."""
    bank = state.get("prototype")
    way = "k" if "npm_class_fg.weight" in state else "1" if "npm_class.weight" in state else None
    if bank is None or bank.dim() != 2 or way is None:
        raise UserError("the checkpoint is not one of EOP-Net's released form (no prototype bank or no NPM weights)")
    return {"way": way, "n_ids": int(bank.shape[0]), "width": int(bank.shape[1])}


def load(
    net: nn.Module, state: Mapping[str, Tensor], names: Mapping[str, str] | None = None, method: str = "EOP-Net"
) -> None:
    """Copy an official state into a network (also one on the meta device).

    names: official name -> our name, by default EOP-Net's. Raises UserError when names, shapes or kinds of tensor
    differ. BatchNorm counters, which very old files lack, are taken as 0.
    """
    names = our_names(net) if names is None else names
    shapes = {name: value.shape for name, value in net.state_dict(keep_vars=True).items()}
    filled = dict(state)
    for name in names:
        if name.endswith("num_batches_tracked"):
            filled.setdefault(name, torch.zeros((), dtype=torch.int64))
    absent = [name for name in names if name not in filled]
    extra = [name for name in filled if name not in names]
    if absent:
        raise UserError(
            f"the checkpoint lacks {len(absent)} entries of {method}, first {absent[0]}; give a complete one"
        )
    if extra:
        raise UserError(f"the checkpoint holds {len(extra)} entries {method} does not have, first {extra[0]}")
    for theirs, ours in names.items():
        if filled[theirs].shape != shapes[ours]:
            got, want = tuple(filled[theirs].shape), tuple(shapes[ours])
            raise UserError(f"the checkpoint's {theirs} has shape {got}, {method} needs {want}")
        value = filled[theirs]
        whole = theirs.endswith("num_batches_tracked")
        if value.layout != torch.strided or value.is_meta or not (value.is_floating_point() or whole):
            kind = "without data" if value.is_meta else f"{value.layout} {value.dtype}".replace("torch.", "")
            raise UserError(f"the checkpoint's {theirs} is a tensor {kind}; plain floating-point weights are needed")
    # cloned, so that training the network never writes into the caller's tensors
    ours_state = {ours: filled[theirs].detach().clone() for theirs, ours in names.items()}
    net.load_state_dict(ours_state, assign=True)
