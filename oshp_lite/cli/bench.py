"""`oshp-lite bench`: each path against its reference and its floor, what each method costs; the GPU check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import number, print_table, takes_only
from oshp_lite.errors import UserError

OUT = "GPU check: reports/gpu-check; methods: notebooks/results/costs"
KEEP = "keep the figures, and write their page beside them: performance.json gives performance.md"
SIZE = "--what: paper or lite (the default); else the side in pixels"
TAKES = {
    "methods": "device seconds size variant out",
    "instances": "size",
    "transfer": "size batch seconds device",
    "gpu-check": "device minutes data out",
}
"""What is measured apart from the paths that --what names, and its options."""


def _size(text: str) -> str | int:
    if text in ("paper", "lite"):
        return text
    if not text.isdecimal() or int(text) < 16:
        raise typer.BadParameter(f"takes paper, lite or a whole number, at least 16, not {text!r}")
    return int(text)


def bench(
    context: typer.Context,
    study: Annotated[
        Literal["methods", "instances", "transfer", "gpu-check"] | None,
        typer.Argument(help="a measurement of its own; default: the paths of --what, or the GPU check"),
    ] = None,
    *,
    what: Annotated[
        Literal["train", "infer", "data", "metrics", "scores", "generator", "scaling", "widgets", "all"],
        typer.Option(help="which paths are compared with reference and floor in one run; scaling: cost against size"),
    ] = "all",
    device: options.Device = None,
    minutes: Annotated[float | None, number(0, "N", "GPU check: minutes with training (default: 9)", float)] = None,
    seconds: options.Seconds = 3.0,
    size: Annotated[Any, typer.Option(parser=_size, metavar="paper|lite|S", help=SIZE)] = None,
    batch: options.Count = 2,
    variant: Annotated[str, typer.Option(help="methods: lite, official or paper")] = "lite",
    data: options.Data = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help=OUT)] = None,
    rounds: Annotated[int, number(1, "N", "--what: times that everything compared is run, in turn")] = 5,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help=KEEP)] = None,
) -> int:
    """Measure how far each path is from its reference and its floor, or check a GPU."""
    device = device or "cpu"
    given = context.get_parameter_source("what")
    plain = given is None or given.name != "COMMANDLINE"
    measured = study or ("gpu-check" if plain and (device.startswith("cuda") or minutes is not None) else "")
    takes_only(
        context, f"study {TAKES.get(measured, 'what device size rounds json')}", f"this measures {measured or what}"
    )
    if not measured:
        if isinstance(size, int):
            raise UserError(f"--size {size}: the paths are compared at the sizes paper and lite")
        return _paths(device, what, size or "lite", rounds, json)
    if isinstance(size, str):
        raise UserError(f"--size {size}: {measured} takes the side in pixels")
    side = size or (128 if variant == "lite" else 512)
    if measured == "methods":
        from oshp_lite.study.cost import measure_costs, write_costs

        costs = measure_costs(variant, size=side, device=device, seconds=seconds / 3, tell=print)
        print(f"wrote {write_costs(costs, out)}")
    elif measured == "instances":
        from oshp_lite.engine.instance_plain import measure_speed

        speed = measure_speed(size=size or 256)
        print_table([[f"{speed[name]:.3g}" for name in speed]], list(speed))
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
    elif measured == "gpu-check":
        from oshp_lite.files import reports_root
        from oshp_lite.study.speed import gpu_check

        checked = gpu_check(device, 9.0 if minutes is None else minutes, out or reports_root() / "gpu-check", data=data)
        return 0 if checked["parity_ok"] else 1
    return 0


def _paths(device: str, what: str, size: str, rounds: int, kept: Path | None) -> int:
    from dataclasses import asdict

    from oshp_lite.engine.checkpoint import pick_device
    from oshp_lite.engine.performance.clock import Figure
    from oshp_lite.engine.performance.page import HEADS, as_rows, write_page
    from oshp_lite.engine.performance.paths import KINDS, PLANS, measure_paths
    from oshp_lite.engine.provenance import provenance
    from oshp_lite.files import write_json_atomic

    place = str(pick_device(device, "--device"))
    kinds = [kind for kind in KINDS if what == kind or (what == "all" and kind != "scaling")]
    figures = list(measure_paths(PLANS[size], kinds, rounds=rounds, device=place))
    if what in ("widgets", "all"):
        from oshp_lite.book.widgets.latency import measure_latency

        for name, (wall, own) in measure_latency(PLANS[size].parsed).items():
            figures += [
                Figure("explorer", name, wall, wall, wall),
                Figure("explorer, processor time", name, own, own, own),
            ]
    made = [asdict(one) for one in figures]
    print_table(as_rows(made), HEADS)
    if kept is not None:
        record = {"provenance": provenance(device=place), "place": place, "size": size, "rounds": rounds}
        write_json_atomic(kept, {**record, "figures": made})
        print(f"wrote {kept} and {write_page(kept)}")
    return 0
