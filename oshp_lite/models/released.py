"""Weights from elsewhere: the authors' checkpoints and DeepLab's, their names and ours, read without trusting them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oshp_lite.errors import UserError

Names = tuple[tuple[str, str], ...]  # (official prefix, our prefix) in the order of the released state dict

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")

ENCODER_NAMES: Names = (
    ("aspp1.atrous_convolution.", "encoder.aspp1."),
    ("aspp1.bn.", "encoder.aspp1_bn."),
    *((f"aspp{number}.atrous_convolution.", f"encoder.aspp{number}.") for number in (2, 3, 4)),
    ("xception_features.", "encoder.backbone."),
    ("global_avg_pool.1.", "encoder.pooled."),
    ("global_avg_pool.2.", "encoder.pooled_bn."),
    ("concat_projection_conv1.", "encoder.concat."),
    ("concat_projection_bn1.", "encoder.concat_bn."),
    ("feature_projection_conv1.", "encoder.low."),
    ("feature_projection_bn1.", "encoder.low_bn."),
)
_DECODER_NAMES: Names = (
    ("midfea_adapt_conv.", "encoder.mid_adapt."),
    ("midfea_adapt_bn.", "encoder.mid_adapt_bn."),
    ("midfea_conv.0.atrous_convolution.", "encoder.mid_decoder."),
)


@dataclass(frozen=True)
class Released:
    """The released form of a method."""

    method: str  # its name in messages
    fixed: dict[str, Any]  # the options of all its checkpoints, over the preset `official`
    first: Names  # of its parts before the heads
    heads: dict[str, Names]  # by way
    last: Names  # of its parts behind the heads
    inside: str = ""  # what all our names begin with

    def names(self, net: nn.Module, *, whole: bool = True) -> dict[str, str]:
        """Official name -> our name for a network's state, in the released order.

        Raises ValueError for a network that has no released form, unless `whole` is False.
        """
        config: Any = net.config
        parts = (*self.first, *self.heads[config.way], *self.last)
        names = official_names(net, [(theirs, self.inside + ours) for theirs, ours in parts])
        same = all(getattr(config, name) == value for name, value in self.fixed.items())
        same = same and (config.way == "k" or config.oneway_head == "code")
        if whole and not (same and set(net.state_dict(keep_vars=True)) == set(names.values())):
            fixed = ", ".join(f"{name}={value}" for name, value in self.fixed.items())
            raise ValueError(f"this configuration has no counterpart in the released code; it has {fixed}")
        return names

    def export(self, net: nn.Module) -> dict[str, Tensor]:
        """A copy of the network's state under the released code's names, in its order."""
        state = net.state_dict()
        return {theirs: state[ours].clone() for theirs, ours in self.names(net).items()}

    def size_of(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read way, number of ids and width off an official state. Raises UserError when it is something else."""
        bank = state.get("prototype")
        ways = [way for way, heads in self.heads.items() if any(f"{theirs}weight" in state for theirs, _ in heads)]
        if bank is None or bank.dim() != 2 or not ways:
            raise UserError(
                f"the checkpoint is not one of {self.method}'s released form (no prototype bank or no metric weights)"
            )
        return {"way": ways[0], "n_ids": int(bank.shape[0]), "width": int(bank.shape[1])}

    def load(self, net: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Copy an official state into a network (also one on the meta device); tensors are cloned.

        Raises UserError when names, shapes or kinds of tensor differ. BatchNorm counters, which very old files lack,
        are taken as 0.
        """
        names, method = self.names(net), self.method
        counters = {name for name in names if name.endswith("num_batches_tracked")}
        filled = {**dict.fromkeys(counters, torch.zeros((), dtype=torch.int64)), **state}
        absent = [name for name in names if name not in filled]
        extra = [name for name in filled if name not in names]
        if absent:
            raise UserError(
                f"the checkpoint lacks {len(absent)} entries of {method}, first {absent[0]}; give a complete one"
            )
        if extra:
            raise UserError(f"the checkpoint holds {len(extra)} entries {method} does not have, first {extra[0]}")
        shapes = {name: tuple(value.shape) for name, value in net.state_dict(keep_vars=True).items()}
        for theirs, ours in names.items():
            value = filled[theirs]
            if tuple(value.shape) != shapes[ours]:
                got, want = tuple(value.shape), shapes[ours]
                raise UserError(f"the checkpoint's {theirs} has shape {got}, {method} needs {want}")
            number = value.is_floating_point() or theirs in counters
            if value.layout != torch.strided or value.is_meta or not number:
                kind = "without data" if value.is_meta else f"{value.layout} {value.dtype}".replace("torch.", "")
                raise UserError(
                    f"the checkpoint's {theirs} is a tensor {kind}; plain floating-point weights are needed"
                )
        net.load_state_dict({ours: filled[theirs].detach().clone() for theirs, ours in names.items()}, assign=True)


EOPNET = Released(
    "EOP-Net",
    {"encoder": "xception", "all_branches": True, "agm_trunk": "plain2+sep1"},
    first=(
        ("scaler", "scale"),
        ("prototype", "fine_bank.rows"),
        ("s1_prototype", "coarse_bank.rows"),
        *ENCODER_NAMES,
        ("decoder1.0.atrous_convolution.", "encoder.high_decoder."),
        ("decoder2.0.", "fine_guidance.trunk.0."),
        ("decoder2.1.", "fine_guidance.trunk.1."),
        ("decoder3.atrous_convolution.", "fine_guidance.trunk.2."),
        *_DECODER_NAMES,
        ("agm_class.", "fine_guidance.classify."),
    ),
    heads={
        "k": (
            ("npm_class_fg.", "npm.foreground."),
            ("npm_class_bg.", "npm.background."),
            ("npm_bg_fusion.", "npm.fusion."),
            ("agm_bg_fusion.", "agm_fusion."),
        ),
        "1": (("npm_class.", "npm."),),
    },
    last=(
        ("s1_conv1.0.", "coarse_guidance.trunk.0."),
        ("s1_conv1.1.", "coarse_guidance.trunk.1."),
        ("s1_conv2.atrous_convolution.", "coarse_guidance.trunk.2."),
        ("s1_semantic.", "coarse_guidance.classify."),
        ("s1_trans.", "coarse_projection."),
        ("s2_trans.", "fine_projection."),
    ),
)
POPNET = Released(
    "POPNet",  # its one-shot stage with dynamic prototypes
    {**EOPNET.fixed, "stages": 1, "kim": "separable"},
    first=(
        ("scaler", "scale"),
        ("prototype", "bank.rows"),
        *ENCODER_NAMES,
        ("decoder1.0.atrous_convolution.", "encoder.high_decoder."),
        ("decoder2.0.", "guidance.trunk.0."),
        ("decoder2.1.", "guidance.trunk.1."),
        ("decoder3.0.atrous_convolution.", "guidance.trunk.2."),
        *_DECODER_NAMES,
    ),
    heads={
        "k": (
            ("classifier_6.", "guidance.classify."),
            ("bg_att_fusion.", "agm_fusion."),
            ("after_sim_fg.", "ncm.foreground."),
            ("after_sim_bg.", "ncm.background."),
            ("bg_sim_fusion.", "ncm.fusion."),
        ),
        "1": (("classifier_6.0.", "guidance.classify."), ("after_sim.0.", "ncm.")),
    },
    last=(
        ("feature_fusion.0.atrous_convolution.", "infusion.units.0."),
        ("feature_fusion.1.atrous_convolution.", "infusion.units.1."),
    ),
    inside="stages.0.",
)


def official_names(net: nn.Module, prefixes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Official name -> our name for every entry of a network's state that the prefixes cover, in their order."""
    ours = list(net.state_dict(keep_vars=True))
    # the released block 2 lists its last unit first
    last = [name for name in ours if ".block2.units.2." in name]
    others = [name for name in ours if ".block2.units.2." not in name]
    at = next((place for place, name in enumerate(others) if ".block2.units.0." in name), 0)
    ours, names = others[:at] + last + others[at:], {}
    for theirs, prefix in prefixes:
        for name in ours:
            if name == prefix or (prefix.endswith(".") and name.startswith(prefix)):
                rest = name[len(prefix) :]
                names[theirs + (_block_name(rest) if theirs == "xception_features." else rest)] = name
    return names


def _block_name(name: str) -> str:
    """Name inside an official Xception backbone for ours: units 0 to 2 stand at numbered positions between ReLUs."""
    name = name.replace(".skip_bn.", ".skipbn.").replace("block2.units.2.", "block2.block2_lastconv.1.")

    def position(match: re.Match[str]) -> str:
        # block 1 has no opening ReLU, so its units stand at even positions
        return f"{match[1]}.rep.{2 * int(match[2]) + (match[1] != 'block1')}."

    return re.sub(r"(block\d+)\.units\.(\d)\.", position, name)


@torch.no_grad()
def load_deeplab(encoders: Sequence[nn.Module], source: str | Path) -> str:
    """Copy what matches by name and shape of a COCO checkpoint into XceptionEncoders (journal, section 6.1).

    The names are those of the public Graphonomy network. The decoder keeps its initialisation. Returns what came of it
    in a line. Raises UserError for an unreadable file, or when nothing matches.
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


def read_state(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """Read a state dict from a file (or take it as given): unwrapped, without a `module.` prefix.

    Of nested dicts the one with the most tensors counts, so an optimiser's state or a score beside the weights does no
    harm. Files are loaded with `weights_only=True`, so nothing in them can run. Raises UserError.
    """
    raw = source if isinstance(source, Mapping) else _load_file(Path(source))
    content = max(_mappings(raw), key=_tensors, default={})
    if not _tensors(content):
        what = "the given state dict" if raw is source else str(source)
        raise UserError(f"{what} holds no network weights; give a checkpoint that is a state dict")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module."): value for name, value in state.items()} if wrapped else state


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
    except Exception as error:  # every reader fails in its own way on damaged input
        code = isinstance(error, pickle.UnpicklingError) and re.search("weights_only|Unsupported", str(error))
        raise UserError(
            f"checkpoint {path} holds Python objects that are not plain weights, so it was not loaded; "
            "give a file with a state dict only"
            if code
            else f"checkpoint {path} is damaged or no PyTorch file; get it again"
        ) from error
