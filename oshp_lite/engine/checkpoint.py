"""Weights and half-way states on disk: whole or not at all, and never with code inside."""

from __future__ import annotations

import hashlib
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
from oshp_lite.files import cannot_read, sha256_json, write_atomic
from oshp_lite.models.base import CheckpointRecord, OneShotModel
from oshp_lite.models.registry import build

KEY = "oshp_lite"
"""The metadata entry of our safetensors files; it holds JSON."""


def save_weights(path: Path | str, state: Mapping[str, Tensor], record: CheckpointRecord) -> None:
    """Write tensors and what they came from as a safetensors file, atomically. UserError as `write_atomic`."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    content = safetensors.torch.save(plain, metadata={KEY: json.dumps(record.as_dict(), sort_keys=True)})
    write_atomic(path, content)


def read_record(path: Path | str) -> CheckpointRecord:
    """Return the record inside a weights file of ours. UserError when missing, damaged or not ours."""
    try:
        with safetensors.safe_open(str(path), framework="pt") as opened:
            found = (opened.metadata() or {}).get(KEY)
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from None
    if found is None:
        raise UserError(
            f"{path} is not a checkpoint of this project (its description is missing); official ones are read with "
            "EOPNet.from_official, DeepLab ones with init.kind=file"
        )
    try:
        return CheckpointRecord.from_dict(json.loads(found))
    except (ValueError, TypeError, UserError) as error:
        raise UserError(
            f"{path} has a description that cannot be read ({error}); train it again or get it anew"
        ) from None


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
    missing = sorted(set(own) - set(state))
    extra = sorted(set(state) - set(own))
    wrong = sorted(name for name in set(own) & set(state) if own[name].shape != state[name].shape)
    if missing or extra or wrong:
        parts = [
            f"{what} {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"
            for what, names in (("lacks", missing), ("has unknown", extra), ("has other shapes for", wrong))
            if names
        ]
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
    except (
        pickle.UnpicklingError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
    ) as error:
        if "GLOBAL" in str(error) or "Unsupported class" in str(error):
            raise UserError(
                f"checkpoint {path} holds more than tensors and plain values, so it is not opened; "
                "save its state_dict alone"
            ) from None
        raise UserError(f"checkpoint {path} is damaged or no torch file; train it again or get it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} holds no dictionary of tensors; save a state_dict")
    return content


def load_parser(path: Path | str, device: torch.device | str = "cpu") -> OneShotModel:
    """Rebuild a trained parser from `weights.safetensors`, in eval mode, with what the file says as `parser.record`.

    Raises UserError for a missing, damaged or foreign file.
    """
    record = read_record(path)
    try:
        parser = build(record.method, **record.options)
    except (UserError, TypeError, ValueError) as error:
        raise UserError(
            f"checkpoint {path} describes a model this version cannot build ({error}); train it again"
        ) from None
    put_weights(parser, read_weights(path), path)
    parser.record = record
    return parser.to(device).eval()


def file_digest(path: Path | str | None) -> str:
    """Return what identifies first weights: a hash over the tensors, not over the file's description."""
    if path is None:
        return ""
    if not str(path).endswith(".safetensors"):
        try:
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            raise UserError(f"checkpoint {path} cannot be read; check the path") from None
    state = read_weights(path)
    parts = {name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest() for name, value in state.items()}
    return sha256_json(parts)
