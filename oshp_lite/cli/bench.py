"""`oshp-lite bench`: how fast scenes are drawn and networks run, what each method costs; with a GPU the GPU check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import number, print_table, takes_only

OUT = "GPU check: reports/gpu-check; methods: notebooks/results/costs"
TAKES = {
    "synthetic": "seconds size",
    "model": "device seconds size batch variant",
    "both": "device seconds size batch variant",
    "methods": "device seconds size variant out",
    "instances": "size",
    "widgets": "size",
    "transfer": "size batch seconds device",
    "paths": "device variant rounds json",
    "gpu-check": "device minutes data out",
}


def bench(
    context: typer.Context,
    what: Annotated[
        Literal["synthetic", "model", "methods", "instances", "paths", "transfer", "widgets", "gpu-check"] | None,
        typer.Argument(help="default: by the device"),
    ] = None,
    *,
    device: options.Device = None,
    minutes: Annotated[float | None, number(0, "N", "GPU check: minutes with training (default: 9)", float)] = None,
    seconds: options.Seconds = 3.0,
    size: Annotated[int | None, number(16, "S", "side in pixels (default: 128 lite, 512 official)")] = None,
    batch: options.Count = 2,
    variant: Annotated[str, typer.Option(help="model, methods: lite, official or paper")] = "lite",
    data: options.Data = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help=OUT)] = None,
    rounds: Annotated[int, number(1, "N", "paths: times that everything compared is run, in turn")] = 5,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="paths: keep the figures")] = None,
) -> int:
    """Measure the speed of the generator or the networks, or check a GPU."""
    device = device or "cpu"
    measured = what or ("gpu-check" if device.startswith("cuda") or minutes is not None else "both")
    takes_only(context, f"what {TAKES[measured]}", f"this measures {measured}")
    side = size or (128 if variant == "lite" else 512)
    if measured == "methods":
        from oshp_lite.study.cost import measure_costs, write_costs

        costs = measure_costs(variant, size=side, device=device, seconds=seconds / 3, tell=print)
        print(f"wrote {write_costs(costs, out)}")
    elif measured == "instances":
        from oshp_lite.engine.instance_plain import measure_speed

        speed = measure_speed(size=size or 256)
        print_table([[f"{speed[name]:.3g}" for name in speed]], list(speed))
    elif measured == "paths":
        _paths(device, variant, rounds, json)
    elif measured == "transfer":
        from oshp_lite.engine.domain_speed import measure_modules

        forms = measure_modules(size or 128, batch, seconds, device)
        first = forms[0]
        rows = [
            [
                one.form,
                f"{one.steps_per_second:.2f} ({one.steps_per_second / first.steps_per_second:.0%})",
                f"{one.kept_mib:.0f} ({one.kept_mib / first.kept_mib:.0%})",
                f"{one.parameters / 1e6:.2f}",
                f"{1000 * one.test_seconds:.0f}",
                "yes" if one.same else "NO",
            ]
            for one in forms
        ]
        heads = ["SST, training", "steps/s", "MiB for backward", "M parameters", "ms a photo at test", "same at test"]
        print_table(rows, heads)
        return int(not all(one.same for one in forms))
    elif measured == "widgets":
        from statistics import median

        from oshp_lite.book.widgets.latency import measure_latency

        times = measure_latency(size or 512)
        middle = [median(kind) for kind in zip(*times.values(), strict=True)]
        rows = [
            [name, *(f"{1000 * value:.0f}" for value in pair)] for name, pair in {**times, "median": middle}.items()
        ]
        print_table(rows, ["explorer", "ms", "ms of processor time"])
    elif measured == "gpu-check":
        from oshp_lite.files import reports_root
        from oshp_lite.study.speed import gpu_check

        checked = gpu_check(device, 9.0 if minutes is None else minutes, out or reports_root() / "gpu-check", data=data)
        return 0 if checked["parity_ok"] else 1
    if measured in ("both", "synthetic"):
        from oshp_lite.data.synthetic.generate import bench

        print_table(list(bench(seconds, size or 256).items()), ["procedural people", "scenes/s"])
    if measured in ("both", "model"):
        _model(device, side, batch, variant, seconds)
    return 0


def _paths(device: str, variant: str, rounds: int, kept: Path | None) -> None:
    from dataclasses import asdict

    from oshp_lite.engine.checkpoint import pick_device
    from oshp_lite.engine.performance.paths import PLANS, measure_paths
    from oshp_lite.engine.provenance import provenance
    from oshp_lite.files import write_json_atomic

    place = str(pick_device(device, "--device"))
    figures = list(measure_paths(PLANS["lite" if variant == "lite" else "paper"], rounds=rounds, device=place))
    rows = [
        [
            one.path,
            one.name,
            f"{1000 * one.seconds:.0f} [{1000 * one.low:.0f}, {1000 * one.high:.0f}]",
            f"{one.speedup:.1f}x",
            "-" if one.above_floor is None else f"{one.above_floor:.2f}x",
            f"{one.gmac:.1f}",
            f"{one.gmac / one.seconds:.0f}",
            "-" if one.memory is None else f"{one.memory:.0f}",
        ]
        for one in figures
    ]
    heads = ["path", "form", "ms [quartiles]", "over reference", "of floor", "GMAC", "GMAC/s", "MiB added"]
    print_table(rows, heads)
    if kept is not None:
        record = {"provenance": provenance(device=place), "variant": variant, "rounds": rounds}
        write_json_atomic(kept, {**record, "figures": [asdict(one) for one in figures]})
        print(f"wrote {kept}")


def _model(device: str, size: int, batch: int, variant: str, seconds: float) -> None:
    from oshp_lite.engine.checkpoint import pick_device
    from oshp_lite.models.eopnet_config import EOPNetConfig
    from oshp_lite.study.speed import measure

    place = pick_device(device, "--device")
    config = EOPNetConfig.preset(variant)
    rows = []
    for precision in ("float32",) if place.type == "cpu" else ("float32", "bf16"):  # most CPUs emulate bf16
        speed = measure(config, size=size, batch=batch, device=place, precision=precision, seconds=seconds)
        memory = "-" if speed.memory is None else f"{speed.memory:.0f}"
        rows.append([f"{variant} at {size} px, {precision}", 1 / speed.train, 1 / speed.parse, memory])
    print_table(rows, ["EOP-Net", "training, episodes/s", "parsing, episodes/s", "peak MiB"])
