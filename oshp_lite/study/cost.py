"""What every method's answer costs, in one run: multiply-accumulates, parameters, frames per second (journal, Table 8).

`python -m oshp_lite.study.cost --variant lite --size 128` writes one JSON that the maker of Table 8 reads.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from oshp_lite.engine.models import known_methods
from oshp_lite.engine.provenance import provenance
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, write_json_atomic
from oshp_lite.models.base import build
from oshp_lite.models.complexity import count_parameters, total_macs
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.speed import device_or_error, reference_episode

CLASSES = 5
"""Support classes of an episode in the journal's Table 8 (section 6.7)."""


@dataclass(frozen=True)
class CostRow:
    """One method. macs_g, convs_g: 10^9 multiply-accumulates of one answer, and the share of convolutions.

    params_m  10^6 parameters held; used_m those of layers that one answer runs through (all where nothing tells)
    fps       answers a second with batch size 1 (the median answer's)
    relative  fps against EOP-Net's in the same run (None without it)
    reason    why the numbers are missing ("" where they are not)
    """

    method: str
    label: str
    macs_g: float | None = None
    convs_g: float | None = None
    params_m: float | None = None
    used_m: float | None = None
    fps: float | None = None
    relative: float | None = None
    reason: str = ""


def measure_costs(
    variant: str = "lite",
    *,
    size: int = 128,
    classes: int = CLASSES,
    device: str = "cpu",
    seconds: float = 1.0,
    methods: Sequence[str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure all methods (or those named) on one made-up k-way pair; returns what `write_costs` keeps.

    variant  "official", "paper" (Xception encoders) or "lite"; size: side of both photos in pixels
    seconds  least time of timing a method after one answer that is not timed; 0 times that first answer, the only one

    Raises UserError for an unknown method, variant or device. A method that cannot be built has a reason instead.
    """
    unknown = sorted(set(methods or ()) - set(METHODS))
    if unknown:
        raise UserError(f"unknown method {unknown[0]!r}; there are {', '.join(METHODS)}")
    if size < 32 or classes < 1:
        raise UserError(f"size {size} and classes {classes} make no pair; take at least 32 pixels and one class")
    EOPNetConfig.preset(variant)  # says what variants there are before the first method is built
    place = device_or_error(device)
    rows = []
    for name in METHODS if methods is None else methods:
        row = _measure(name, variant, size, classes, place, seconds)
        rows.append(row)
        if tell is not None:
            tell(f"{row.label}: {row.reason}" if row.reason else _words(row))
    own = next((row.fps for row in rows if row.method == "eopnet"), None)
    told = [
        asdict(row) | {"relative": row.fps / own if row.fps is not None and own is not None else None} for row in rows
    ]
    about = provenance(device=str(place))
    return {
        "kind": "cost",
        "variant": variant,
        "size": size,
        "classes": classes,
        "device": place.type,
        "machine": about["device"],
        "date": about["date"],
        "seconds": seconds,
        "clock": "one thread's own seconds" if _clock(place) is time.process_time else "seconds on the wall",
        "rows": told,
        "notes": _notes(variant, size, classes),
        "provenance": about,
    }


def _measure(name: str, variant: str, size: int, classes: int, place: torch.device, seconds: float) -> CostRow:
    label = METHODS[name].label
    if name not in known_methods():
        return CostRow(name, label, reason=f"{label} is not part of this installation")
    try:
        net = build(name, variant=variant, seed=0, n_ids=classes + 1, way="k").to(place).eval()
    except UserError as error:
        return CostRow(name, label, reason=str(error))
    held = count_parameters(net)

    tick = _clock(place)
    spent: list[float] = []

    def answer() -> None:
        # a pair of its own each time: POPNet keeps the features of photos that it has seen
        episode = reference_episode(size, 1, classes + 1, seed=len(spent)).to(place)
        started = tick()
        net.predict(episode)  # type: ignore[operator]
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        spent.append(max(tick() - started, 1e-9))

    idle, release = _idle_layers(net)
    with FlopCounterMode(display=False) as counter:
        answer()
    release()
    used = held - sum(p.numel() for layer in idle.values() for p in layer.parameters(recurse=False))
    while sum(spent[1:]) < seconds:
        answer()
    by_kind = counter.get_flop_counts()["Global"]
    convs = sum(count for kind, count in by_kind.items() if "convolution" in str(kind))
    return CostRow(
        name,
        label,
        macs_g=counter.get_total_flops() / 2e9,
        convs_g=convs / 2e9,
        params_m=held / 1e6,
        used_m=used / 1e6,
        fps=1 / statistics.median(spent[1:] or spent),
    )


def _clock(place: torch.device) -> Callable[[], float]:
    """Seconds of this process on one thread, which other work on the machine hardly moves; else those of the wall."""
    return time.process_time if place.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def _idle_layers(net: nn.Module) -> tuple[dict[int, nn.Module], Callable[[], None]]:
    """Convolutions and normalisations that have not run yet, kept up to date until the second value is called."""
    kinds = (nn.Conv2d, nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
    idle: dict[int, nn.Module] = {id(layer): layer for layer in net.modules() if isinstance(layer, kinds)}

    def ran(layer: nn.Module, _: Any, __: Any) -> None:
        idle.pop(id(layer), None)

    handles = [layer.register_forward_hook(ran) for layer in list(idle.values())]

    def release() -> None:
        for handle in handles:
            handle.remove()

    return idle, release


def _notes(variant: str, size: int, classes: int) -> list[str]:
    """EOP-Net's three counts: as the released code runs, without what it throws away, as it runs here."""
    macs = {name: count / 1e9 for name, count in eopnet_macs(variant, size, classes).items()}
    return [
        f"EOP-Net, {variant}, {size} px, {classes} classes, convolutions alone: {macs['full']:.4g} G with both modules "
        f"and both coarse passes, {macs['no_agm']:.4g} G without the fine AGM, {macs['inference']:.4g} G as run here."
    ]


def eopnet_macs(variant: str, size: int, classes: int = CLASSES) -> dict[str, int]:
    """EOP-Net's multiply-accumulates of convolutions: `full`, `no_agm`, `inference` (see `nn.complexity`)."""
    config = EOPNetConfig.preset(variant, n_ids=classes + 1)
    return total_macs(config, (size, size), classes)


def _words(row: CostRow) -> str:
    return f"{row.label}: {row.macs_g:.4g} G MACs, {row.params_m:.4g} M parameters, {row.fps:.3g} frames/s"


# ---------------------------------------------------------------------------------------------- files


def costs_folder() -> Path:
    """Where measured costs are kept with the project: `notebooks/results/costs`."""
    return project_root() / "notebooks" / "results" / "costs"


def write_costs(found: dict[str, Any], folder: Path | str | None = None) -> Path:
    """Write what `measure_costs` found as `<variant>-<size>px-<device>.json` in one step; returns the path."""
    path = Path(folder or costs_folder()) / f"{found['variant']}-{found['size']}px-{found['device']}.json"
    write_json_atomic(path, found)
    return path


def load_costs(folder: Path | str | None = None) -> list[dict[str, Any]]:
    """Read every kept cost, the Xception variants first. UserError for a file that is something else."""
    found = []
    for path in sorted(Path(folder or costs_folder()).glob("*.json")):
        content = read_json(path)
        if not isinstance(content, dict) or content.get("kind") != "cost" or not isinstance(content.get("rows"), list):
            raise UserError(f"{path} is no result of `oshp-lite bench methods`; remove it or measure anew")
        found.append(content)
    return sorted(found, key=lambda cost: (cost["variant"] == "lite", cost["variant"], cost["size"], cost["device"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.cost", description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="lite", help="official, paper or lite (default)")
    parser.add_argument("--size", type=int, help="side in pixels (default: 128 for lite, else 512)")
    parser.add_argument("--classes", type=int, default=CLASSES, help="classes of the support (default: 5)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--seconds", type=float, default=1.0, help="least seconds of timing a method (default: 1)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="these methods only")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the JSON goes (default: with the results)")
    given = parser.parse_args(arguments)
    size = given.size or (128 if given.variant == "lite" else 512)
    try:
        found = measure_costs(
            given.variant,
            size=size,
            classes=given.classes,
            device=given.device,
            seconds=given.seconds,
            methods=given.methods,
            tell=print,
        )
        print(f"wrote {write_costs(found, given.out)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
