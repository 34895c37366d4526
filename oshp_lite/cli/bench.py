"""`oshp-lite bench`: how fast scenes are drawn and networks run, what each method costs; with a GPU the GPU check."""

from __future__ import annotations

import argparse
from pathlib import Path

from oshp_lite.cli.common import at_least, table


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "what", nargs="?", choices=["synthetic", "model", "methods", "gpu-check"], help="default: by the device"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--minutes", type=at_least(0, float), help="GPU check: minutes in all, training included (default: 9)"
    )
    parser.add_argument("--seconds", type=at_least(0, float), default=3.0, help="seconds per measurement")
    parser.add_argument(
        "--size", type=at_least(16), help="model, methods: side in pixels (default: 128 lite, 512 official)"
    )
    parser.add_argument("--batch", type=at_least(1), default=2)
    parser.add_argument("--variant", default="lite", help="model, methods: lite, official or paper")
    parser.add_argument("--data", metavar="ROOT", help="folder of datasets (default: OSHP_DATA or data/)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where results go (GPU check: reports/gpu-check; methods: notebooks/results/costs)",
    )


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.what == "methods":
        from oshp_lite.study.cost import measure_costs, write_costs

        size = options.size or (128 if options.variant == "lite" else 512)
        found = measure_costs(
            options.variant, size=size, device=options.device, seconds=options.seconds / 3, tell=print
        )
        print(f"wrote {write_costs(found, options.out)}")
        return 0
    check = options.what == "gpu-check" or (
        options.what is None and (options.device.startswith("cuda") or options.minutes is not None)
    )
    if check:
        return _gpu_check(options)
    if options.what in (None, "synthetic"):
        from oshp_lite.data.synthetic.generate import bench

        rates = bench(options.seconds, options.size or 256)
        print(table([[name, rate] for name, rate in rates.items()], ["procedural people", "scenes/s"]))
    if options.what in (None, "model"):
        _model(options)
    return 0


def _gpu_check(options: argparse.Namespace) -> int:
    from oshp_lite.files import reports_root
    from oshp_lite.study.speed import gpu_check

    out = options.out or reports_root() / "gpu-check"
    minutes = 9.0 if options.minutes is None else options.minutes
    found = gpu_check(options.device, minutes, out, data=options.data)
    return 0 if found["parity_ok"] else 1


def _model(options: argparse.Namespace) -> None:
    from oshp_lite.models.eopnet_config import EOPNetConfig
    from oshp_lite.study.speed import device_or_error, measure

    device = device_or_error(options.device)
    size = options.size or (128 if options.variant == "lite" else 512)
    rows = []
    for precision in ("float32", "bf16"):
        speed = measure(
            EOPNetConfig.preset(options.variant),
            size=size,
            batch=options.batch,
            device=device,
            precision=precision,
            seconds=options.seconds,
        )
        memory = "-" if speed.memory is None else f"{speed.memory:.0f}"
        rows.append([f"{options.variant} at {size} px, {precision}", 1 / speed.train, 1 / speed.parse, memory])
        if device.type == "cpu":
            break  # bf16 is emulated on most CPUs and says nothing
    print(table(rows, ["EOP-Net", "training, episodes/s", "parsing, episodes/s", "peak MiB"]))
