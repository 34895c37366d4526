"""Scripts that hand the rows of the run matrix to a cluster: a Slurm array, an indexed Job of Kubernetes.

Hours and GiB are the plan's own estimates: measured on runs like these, else counted operations at a device's pace.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from oshp_lite.engine.config import RunConfig
from oshp_lite.errors import UserError
from oshp_lite.study import forecast
from oshp_lite.study.plan import SIGNS, Estimates, Finder, Known, Row, config_of
from oshp_lite.study.records import RunKey

Scheduler = Literal["slurm", "kubernetes"]
SPARE = 1.5
"""Limits of a row on a cluster, in times of its estimate."""
UNKNOWN_HOURS = 72
"""The limit where nothing is known of the longest row."""
PROCESS = 0.5
"""GiB of a Python process that has loaded torch."""
GPU_PROFILES = ("paper", "gpu")


@dataclass(frozen=True)
class Need:
    """What one run takes: hours (None: unknown) and how they are known, GiB of the host and of its GPU (None: none).

    The host holds a process for every loader worker, each with a cache of photos; on a CPU the training as well.
    """

    name: str
    index: int
    hours: float | None
    known: Known
    host: float
    gpu: float | None


def need_of(row: Row, estimates: Estimates, device: Literal["cuda", "cpu"]) -> Need:
    """Return what a row takes on a kind of device."""
    seconds, known = estimates.of(row.config, device)
    work, data = forecast.work_of(row.config), row.config.data
    trained = (work.memory if work else None) or 0.0
    host = (1 + data.workers) * (PROCESS + data.cache_mb / 1024) + (trained if device == "cpu" else 0)
    gpu = gpu_memory(work) if device == "cuda" else None
    return Need(row.name, row.index, None if seconds is None else seconds / 3600, known, host, gpu)


def gpu_memory(work: forecast.Work | None) -> float | None:
    """Return a training's GiB on a GPU: counted, and in proportion to the benchmark's peak where there is one."""
    pace = forecast.pace("cuda")
    if work is None or not work.memory or pace is None or not pace.memory:
        return work.memory if work else None
    timed = forecast.work_of(config_of(RunKey("eopnet", "atr-os", 1, "k"), "paper"))  # what the benchmark trains
    return work.memory * pace.memory / timed.memory if timed and timed.memory else work.memory


def limit(needs: Sequence[Need]) -> int:
    """Whole hours that the longest of some rows may take."""
    longest = max((need.hours for need in needs if need.hours is not None), default=None)
    return UNKNOWN_HOURS if longest is None else max(1, math.ceil(SPARE * longest))


def script(scheduler: Scheduler, command: str, profile: str, rows: Sequence[Row], finder: Finder) -> str:
    """Return a shell script that submits `rows` of the matrix, each as one task of an array.

    command: the call that lists these rows, without --index. Initialisations that rows share are made by a first job;
    the array waits for it. UserError where no row can be run here.
    """
    device: Literal["cuda", "cpu"] = "cuda" if profile in GPU_PROFILES else "cpu"
    if not any(row.key and not row.reason for row in rows):
        reason = next((row.reason for row in rows if row.reason), "the choice is empty")
        raise UserError(f"no row of this choice can be run, so there is nothing to submit: {reason}")
    estimates = Estimates(finder.store)
    able = [row for row in rows if not row.reason]
    first, array = (
        [need_of(row, estimates, device) for row in able if (row.key is None) is init] for init in (True, False)
    )
    last = max(row.index for row in rows)
    lines = ["#!/bin/sh", f"# {len(array)} of the rows 0 to {last} of: {command}", *_table(array, device), "set -e"]
    write = _slurm if scheduler == "slurm" else _kubernetes
    return "\n".join([*lines, *write(command, rows, first, array, device), ""])


def _table(needs: Sequence[Need], device: str) -> list[str]:
    """Comments: the hours and GiB of every row."""
    lines = []
    for need in needs:
        took = "unknown" if need.hours is None else forecast.words(3600 * need.hours)
        gpu = "" if need.gpu is None else f", {need.gpu:.1f} GiB of a GPU"
        sign = SIGNS.get(need.known, " ")[0].strip()
        lines.append(f"# {need.index:4d}  {took}{sign}, {need.host:.1f} GiB{gpu}  {need.name}")
    lines += [f"# {sign} {words}" for name, (sign, words) in SIGNS.items() if any(one.known == name for one in needs)]
    pace = forecast.pace(device)
    if pace and any(one.known == "computed" for one in needs):
        lines.append(f"# pace: {pace.source}")
    return [*lines, f"# limits: {SPARE:g} times the longest row's hours and the largest row's GiB"]


def _indices(needs: Sequence[Need]) -> str:
    """Row numbers as Slurm takes them: "0-3,5"."""
    spans: list[list[int]] = []
    for at in sorted(need.index for need in needs):
        if spans and at == spans[-1][1] + 1:
            spans[-1][1] = at
        else:
            spans.append([at, at])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _cores(rows: Sequence[Row]) -> int:
    """Cores of a task: its own and one for every loader worker."""
    configs: list[RunConfig] = [row.config for row in rows]
    return 1 + max(config.data.workers for config in configs)


def _slurm(command: str, rows: Sequence[Row], first: Sequence[Need], array: Sequence[Need], device: str) -> list[str]:
    memory = math.ceil(SPARE * max(need.host for need in (*first, *array)))
    common = f"--parsable --cpus-per-task={_cores(rows)} --mem={memory}G" + (
        " --gres=gpu:1" if device == "cuda" else ""
    )
    lines, waits = [], ""
    if first:
        hours = math.ceil(SPARE * sum(need.hours or UNKNOWN_HOURS for need in first))
        words = shlex.quote(f"{command} --inits")
        lines = [f"first=$(sbatch {common} --job-name=oshp-first --time={hours}:00:00 --wrap {words})"]
        waits = ' --dependency="afterok:$first"'
    row = shlex.quote(f'{command} --index "$SLURM_ARRAY_TASK_ID"')
    time = f"--time={limit(array)}:00:00"
    return [*lines, f"sbatch {common} --job-name=oshp-rows {time} --array={_indices(array)}{waits} --wrap {row}"]


def _kubernetes(
    command: str, rows: Sequence[Row], first: Sequence[Need], array: Sequence[Need], device: str
) -> list[str]:
    memory = math.ceil(SPARE * max(need.host for need in (*first, *array)))
    resources = f"cpu: {_cores(rows)}, memory: {memory}Gi" + (", nvidia.com/gpu: 1" if device == "cuda" else "")
    lines = [': "${OSHP_IMAGE:?name a container image that has oshp-lite}"']
    lines += [': "${OSHP_CLAIM:?name a volume claim that holds data, runs and reports}"']
    if first:
        hours = math.ceil(SPARE * sum(need.hours or UNKNOWN_HOURS for need in first))
        lines += _job("oshp-first", f"{command} --inits", hours, resources, "parallelism: 1")
        lines += [f"kubectl wait --for=condition=complete --timeout={hours}h job/oshp-first"]
    indexed = f"completionMode: Indexed\n  completions: {1 + max(need.index for need in array)}"
    indexed += "\n  parallelism: ${OSHP_AT_ONCE:-4}"
    row = f'{command} --index "\\$JOB_COMPLETION_INDEX"'
    return [*lines, *_job("oshp-rows", row, limit(array), resources, indexed)]


def _job(name: str, command: str, hours: int, resources: str, how: str) -> list[str]:
    """A Job whose pods run one shell command in the folder of the volume."""
    return f"""\
kubectl apply -f - <<JOB
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  {how}
  backoffLimit: 2
  template:
    spec:
      restartPolicy: Never
      activeDeadlineSeconds: {3600 * hours}
      containers:
      - name: row
        image: $OSHP_IMAGE
        workingDir: /oshp
        command:
        - sh
        - -c
        - |
          {command}
        resources:
          limits: {{{resources}}}
        volumeMounts: [{{name: place, mountPath: /oshp}}]
      volumes: [{{name: place, persistentVolumeClaim: {{claimName: $OSHP_CLAIM}}}}]
JOB""".splitlines()
