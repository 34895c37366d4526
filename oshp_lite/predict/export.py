"""A parser for programs without this package: encoder and NPM as `torch.export` and ONNX, the supports as tensors.

The exported function maps a photo and prototypes to margins (`Deployed`). Prototypes are an input, so one file serves
any classes; those of the given supports stand in a file of numbers beside it, and new ones are means of `features`.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from oshp_lite import __version__
from oshp_lite.errors import UserError
from oshp_lite.files import read_bytes, write_together
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.modules.layers import resize
from oshp_lite.predict.heads import Head
from oshp_lite.predict.parser import Parser, frame_of

Form = Literal["onnx", "pt2"]
FORMS: tuple[Form, ...] = ("onnx", "pt2")
STEP, LEAST, MOST = 16, 32, 4096
"""Sides of a photo: multiples of the encoders' deepest stride, in pixels, from the least to the most."""
TOLERANCE = 1e-4
"""Most that an exported parser's margins and person logits may differ from the network's, absolute and relative."""
TRIED = ((96, 160), (160, 64))
"""Heights and widths of the noise that an exported parser is tried on; it was traced at another size."""
INPUTS = ("photo", "prototypes", "person_prototypes")
OUTPUTS = ("margins", "person", "features")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Deployed(nn.Module):
    """An EOP-Net's way from a photo and prototypes to margins, in k-way, without the AGM (journal, Eqs. 4, 8 and 9).

    photo              float32 [1,3,H,W] in [-1,1], H and W multiples of 16
    prototypes         float32 [K,D]; a row of zeros stands for no class
    person_prototypes  float32 [2,D] of scene and person

    Returns `margins` float32 [1,K,H,W], each class's logit over the background's; `person` float32 [1,2,H,W], logits of
    scene and person; `features` float32 [1,D,H/4,W/4], whose mean over a class's cells is its prototype (Eq. 1).
    """

    def __init__(self, network: EOPNet) -> None:
        super().__init__()
        self.way = _Way(network)

    def forward(self, photo: Tensor, prototypes: Tensor, person_prototypes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Parse one photo."""
        given = {"network.coarse_bank.rows": person_prototypes}
        return cast("tuple[Tensor, Tensor, Tensor]", functional_call(self.way, given, (photo, prototypes)))


class _Way(nn.Module):
    def __init__(self, network: EOPNet) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for encoder in self.network.encoders():  # what lies where in memory is for the program that runs it to choose
            encoder._forward_pre_hooks.clear()

    def forward(self, photo: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        network, size = self.network, photo.shape[-2:]
        encoded = network.encoder(photo)
        features, used = network.fine_projection(encoded), prototypes[None]
        counted = (used != 0).any(-1) if network.config.bg_mean == "present" else torch.ones_like(used[..., 0]) > 0
        fine, _ = network.dual(features, used, counted, counted, False)
        person = network._coarse(encoded, encoded, cast(Any, None), False, None, True)
        return resize(fine[:, 1:] - fine[:, :1], size), resize(person, size), features


def export(parser: Parser, out: Path, forms: Sequence[Form] = FORMS, say: Callable[[str], None] = print) -> list[Path]:
    """Write `parser.onnx`, `parser.pt2`, `prototypes.npz` and `parser.json` into a folder, all or none.

    Every form is run on photos of other sizes than the one it was traced at and compared with the parser's own network;
    `say` is called with the outcome. Raises UserError for a network that has no such form, where packages are missing,
    and where a form differs by more than `TOLERANCE`.
    """
    head, record = _head(parser), cast(CheckpointRecord, parser.network.record)
    network = cast(EOPNet, head.network)
    prototypes, person = head.prototypes()
    rows = [slot - 1 for slot in head.slots.values()]
    ids: list[int | None] = list(head.slots)
    every = network.config.bg_mean == "all_ids"  # whose background is a mean over all ids, absent ones too
    if every:
        ids = [next((i for i, slot in head.slots.items() if slot == row + 1), None) for row in range(len(prototypes))]
    else:
        prototypes = prototypes[rows]
    given = (prototypes.cpu().contiguous(), person.cpu().contiguous())
    module = Deployed(network).cpu().eval()
    traced = given[0] if every else torch.ones(3, given[0].shape[1])  # a single class would be taken for a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (_noise(64, 96), traced, given[1]), dynamic_shapes=_sizes(fixed=every))
        files = {f"parser.{form}": WRITERS[form](program) for form in forms}
    checks = {}
    for form in forms:
        most = _difference(READERS[form](files[f"parser.{form}"]), parser, given, ids)
        if not most <= 1:
            raise UserError(
                f"the {form} form differs from the network by {most:.1f} times the {TOLERANCE:g} allowed, so nothing "
                "was written; leave this form out"
            )
        checks[form] = most * TOLERANCE
        say(f"parser.{form}: differs from the network by at most {checks[form]:.1e}, {len(TRIED)} sizes tried")
    about = {
        "package": __version__,
        "method": record.method,
        "channels": record.channels,
        "frame": list(frame_of(record)),
        "sides": {"multiple_of": STEP, "least": LEAST, "most": MOST},
        "ids": [None if index is None else max(0, index) for index in ids],
        "names": {str(index): name for index, name in parser.called.items()},
        "inputs": list(INPUTS),
        "outputs": list(OUTPUTS),
        "checked_to": checks,
    }
    numbers = io.BytesIO()
    np.savez(numbers, prototypes=given[0].numpy(), person_prototypes=given[1].numpy())
    files |= {"prototypes.npz": numbers.getvalue(), "parser.json": (json.dumps(about, indent=1) + "\n").encode()}
    write_together({out / name: content for name, content in files.items()})
    return [out / name for name in files]


def lacking() -> list[str]:
    """The packages that write and check ONNX and are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def check_forms(forms: Sequence[Form]) -> None:
    """Raise UserError where the packages that write and check a form are missing."""
    if "onnx" in forms and (missing := lacking()):
        raise UserError(f"ONNX needs {', '.join(missing)}: pip install 'oshp-lite[export]', or say --form pt2")


def _head(parser: Parser) -> Head:
    network = parser.network
    if not isinstance(network, EOPNet) or network.config.way != "k":
        name = f"{network.way}-way {network.Config.name}"
        raise UserError(f"this is a checkpoint of {name}; only k-way EOP-Nets can be exported, name one with --weights")
    if next(network.parameters()).dtype != torch.float32 or next(network.encoder.parameters()).dtype != torch.float32:
        raise UserError("only networks in float32 can be exported; leave --precision out")
    return cast(Head, parser.head)


def _noise(height: int, width: int) -> Tensor:
    """A photo of noise, float [1,3,H,W] in [-1,1]."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


def _sizes(*, fixed: bool) -> tuple[Any, ...]:
    rows, columns = (torch.export.Dim(name, min=LEAST // STEP, max=MOST // STEP) for name in ("rows", "columns"))
    classes = {} if fixed else {0: torch.export.Dim("classes", min=1, max=255)}
    return {2: STEP * rows, 3: STEP * columns}, classes, {}


def _difference(
    run: Callable[..., Sequence[np.ndarray]], parser: Parser, given: Sequence[Tensor], ids: list[int | None]
) -> float:
    """The largest difference from the parser's own logits, as a multiple of what is allowed."""
    worst = 0.0
    for height, width in TRIED:
        photo = _noise(height, width)
        margins, person, _ = run(photo.numpy(), *(tensor.numpy() for tensor in given))
        maps = parser.head(photo[0].to(parser.device))
        order = [ids.index(index) for index in parser.head.slots]
        for made, own in ((margins[0, order], maps.margins), (person[0], cast(Tensor, maps.coarse))):
            expected = resize(own[None], (height, width))[0].cpu().numpy()
            worst = max(worst, float((np.abs(made - expected) / (TOLERANCE * (1 + np.abs(expected)))).max()))
    return worst


def _write_onnx(program: Any) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "parser.onnx"
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)  # it says of packages that this network does not use that they are missing
        try:
            torch.onnx.export(
                program, (), str(path), input_names=INPUTS, output_names=OUTPUTS, external_data=False, verbose=False
            )
        finally:
            logger.setLevel(level)
        return read_bytes(path)


def _write_pt2(program: Any) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _read_onnx(content: bytes) -> Callable[..., Sequence[np.ndarray]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda *given: session.run(None, dict(zip(INPUTS, given, strict=True)))


def _read_pt2(content: bytes) -> Callable[..., Sequence[np.ndarray]]:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda *given: [made.detach().numpy() for made in module(*map(torch.from_numpy, given))]


WRITERS: Mapping[Form, Callable[[Any], bytes]] = {"onnx": _write_onnx, "pt2": _write_pt2}
READERS: Mapping[Form, Callable[[bytes], Callable[..., Sequence[np.ndarray]]]] = {"onnx": _read_onnx, "pt2": _read_pt2}
