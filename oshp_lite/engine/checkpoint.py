"""Weights and half-way states on disk: whole or not at all, and never with code inside."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from oshp_lite.errors import UserError
from oshp_lite.files import cannot_read, write_atomic
from oshp_lite.labels import label_space
from oshp_lite.models.base import CheckpointRecord, OneShotModel
from oshp_lite.models.registry import build

KEY = "oshp_lite"
"""The metadata entry of our safetensors files; it holds JSON."""
_NO_STATE = (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, RuntimeError, TypeError, ValueError)


def save_weights(path: Path | str, state: Mapping[str, Tensor], record: CheckpointRecord) -> None:
    """Write tensors and what they came from as a safetensors file, atomically. UserError as `write_atomic`."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    content = safetensors.torch.save(plain, metadata={KEY: json.dumps(record.as_dict(), sort_keys=True)})
    write_atomic(path, content)


def read_record(path: Path | str) -> CheckpointRecord:
    """Return the record inside a weights file of ours. UserError when missing, damaged or not ours."""
    try:
        with safetensors.safe_open(str(path), framework="pt") as opened:
            text = (opened.metadata() or {}).get(KEY)
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from None
    if text is None:
        others = "official ones are read with EOPNet.from_official, DeepLab ones with init.kind=file"
        raise UserError(f"{path} is not a checkpoint of this project (its description is missing); {others}")
    try:
        record = CheckpointRecord.from_dict(json.loads(text))
        label_space(record.space)
        return record
    except (RecursionError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} has a description that cannot be read ({error}); train it again") from None


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file on the CPU. UserError when missing or damaged."""
    try:
        return safetensors.torch.load_file(str(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path | str, error: Exception) -> UserError:
    if isinstance(error, OSError):
        return cannot_read(path, error, "checkpoint")
    return UserError(f"checkpoint {path} is damaged or not a safetensors file; train it again or get it anew")


def put_weights(module: nn.Module, state: Mapping[str, Tensor], path: Path | str) -> None:
    """Copy a full state into a module. UserError naming the first tensors that do not fit."""
    own = module.state_dict()
    faults = {
        "lacks": sorted(set(own) - set(state)),
        "has unknown": sorted(set(state) - set(own)),
        "has other shapes for": sorted(name for name in set(own) & set(state) if own[name].shape != state[name].shape),
    }
    parts = [f"{what} {', '.join(some[:3])}{' and more' if some[3:] else ''}" for what, some in faults.items() if some]
    if parts:
        raise UserError(f"checkpoint {path} does not fit the model it describes: it {'; '.join(parts)}; train it again")
    module.load_state_dict(dict(state))


def save_state(path: Path | str, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors, numbers, texts, lists, dicts) atomically. UserError as `write_atomic`."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path | str) -> dict[str, Any]:
    """Read a training state or a foreign .pth file without running any code in it. UserError when it cannot be."""
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise cannot_read(path, error, "checkpoint") from None
    except _NO_STATE as error:
        if "GLOBAL" in str(error) or "Unsupported class" in str(error):
            more = "holds more than tensors and plain values, so it is not opened; save its state_dict alone"
            raise UserError(f"checkpoint {path} {more}") from None
        raise UserError(f"checkpoint {path} is damaged or no torch file; train it again or get it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} holds no dictionary of tensors; save a state_dict")
    return content


def load_parser(path: Path | str, device: torch.device | str = "cpu") -> OneShotModel:
    """Rebuild a trained parser from `weights.safetensors`, in eval mode, with what the file says as `parser.record`.

    `device` as in `pick_device`. Raises UserError for a missing, damaged or foreign file.
    """
    chosen = device if isinstance(device, torch.device) else pick_device(device)
    record = read_record(path)
    try:
        parser = build(record.method, **record.options)
    except (UserError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"checkpoint {path} describes a model that cannot be built ({error}); train it again") from None
    put_weights(parser, read_weights(path), path)
    parser.record = record
    return parser.to(chosen).eval()


def pick_device(name: str, option: str = "the device") -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or "cuda:N" stands for. UserError when it is not there.

    `option` is what the user has set, for the sentence: "train.device", "--device".
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"{option} is {name!r}; it must be auto, cpu or cuda (cuda:N for one of several)")
    if device.type == "cuda" and (device.index or 0) >= count:
        there = f"only {count} CUDA device(s)" if count else "no CUDA device"
        raise UserError(f"{option} is {name}, but torch finds {there} here; use auto or cpu")
    return device
