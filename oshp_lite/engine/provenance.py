"""Where a result comes from: code, data, machine, versions, date."""

from __future__ import annotations

import ast
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import oshp_lite
from oshp_lite.engine.distributed import processes
from oshp_lite.models import registry

PACKAGE = Path(oshp_lite.__file__).resolve().parent

ROOMS = ("errors.py", "fields.py", "files.py", "labels", "data", "models", "engine")
"""The code that every run depends on."""

ELSEWHERE = ("data/synthetic", "data/prepare", "viz", "engine/provenance.py", "engine/runs.py", "engine/trivial.py")
"""What cannot change a run: what it makes is fingerprinted as data, or is only recorded or looked at."""

LIBRARIES = ("torch", "numpy", "pillow", "safetensors", "matplotlib", "tqdm")


def code_fingerprint(rooms: Iterable[str] = ROOMS, *, package: Path = PACKAGE) -> str:
    """Return 16 hex digits over the code of some files and folders of the package, comments and docstrings apart.

    Formatting does not count either; the same code gives the same digits on Python 3.11 to 3.13. `ELSEWHERE` is left
    out where it lies inside a room, and counted where it is named itself ("data/synthetic").
    """
    rooms = set(rooms)
    places = [package / room for room in rooms]
    files = {file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))}
    apart = tuple(room for room in ELSEWHERE if room not in rooms)
    inside = (file.relative_to(package).as_posix() for file in sorted(files))
    return _fingerprint(tuple(name for name in inside if not name.startswith(apart)), package)


@cache
def code_of(method: str) -> str:
    """Return 16 hex digits over the code that a run of a registered method can reach: its own file and all it imports.

    Another method's file is not among it, so a new contender leaves the old runs as they are.
    """
    spec = registry.method(method)
    starts = ("engine/train.py", "engine/evaluate.py", *_files_of(spec.path), *_files_of(spec.trainer))
    return _fingerprint(tuple(name for name in reached(starts) if not name.startswith(ELSEWHERE)), PACKAGE)


def reached(starts: Iterable[str], *, package: Path = PACKAGE) -> tuple[str, ...]:
    """Return the package's files that these import, at any depth (imports inside functions too), with themselves."""
    files: set[str] = set()
    waiting = list(starts)
    while waiting:
        inside = waiting.pop()
        if inside not in files:
            files.add(inside)
            for name in _read((package / inside).read_text(encoding="utf-8"))[0]:
                waiting += _files_of(name, package)
    return tuple(sorted(files))


@cache
def _read(text: str) -> tuple[tuple[str, ...], str]:
    """Return every name that a module's text may import, inside functions and by `import_module("...")` too.

    With it the digest of `source_digest`: to parse the text takes longer than all else, so it is done once for both.
    """
    names: list[str] = []
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and _called(node).endswith("import_module"):
            names += [str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)]
    return tuple(names), hashlib.sha256(_as_text(tree).encode()).hexdigest()


def _called(node: ast.Call) -> str:
    """Return the last name of what is called; nothing where it has none."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


@cache
def _files_of(module: str, package: Path = PACKAGE) -> tuple[str, ...]:
    """Return the file of a module of ours, relative to the package; nothing for other modules and bare packages."""
    parts = module.split(".")
    if parts[0] != package.name or len(parts) < 2:
        return ()
    places = (Path(*parts[1:]).with_suffix(".py"), Path(*parts[1:], "__init__.py"))
    return tuple(place.as_posix() for place in places if (package / place).is_file())


@cache
def _fingerprint(files: tuple[str, ...], package: Path) -> str:
    total = hashlib.sha256()
    for name in files:
        total.update(name.encode())
        total.update(source_digest((package / name).read_text(encoding="utf-8")).encode())
    return total.hexdigest()[:16]


def source_digest(text: str) -> str:
    """Return the SHA-256 of a module's syntax tree without comments, docstrings, positions and empty fields."""
    return _read(text)[1]


def _as_text(node: Any) -> str:
    """Write a syntax tree as text; empty fields are left out because their number grows with Python's versions."""
    if isinstance(node, list):
        return f"[{','.join(_as_text(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(value, list):
            value = [item for item in value if not _is_text(item)]
        if value is not None and value != [] and name != "kind":
            parts.append(f"{name}={_as_text(value)}")
    return f"{type(node).__name__}({','.join(parts)})"


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a bare text: a docstring, or one below a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def provenance(
    data_fingerprint: str = "", *, device: str = "cpu", seed: int | None = None, method: str | None = None
) -> dict[str, Any]:
    """Return what a reader must know to trust a number: code, data, device, versions, threads, date (UTC), seed.

    `code` is that of `method` when one is named, else that of all rooms a run can depend on. `processes` is there
    where several shared the work.
    """
    return {
        **({"processes": processes()} if processes() > 1 else {}),
        "package": oshp_lite.__version__,
        "code": code_fingerprint() if method is None else code_of(method),
        "commit": _commit(),
        "data": data_fingerprint,
        "device": device_name(device),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: _version(name) for name in LIBRARIES},
        "threads": torch.get_num_threads(),
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def device_name(device: str) -> str:
    """Return what a torch device is in words."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(torch.device(device)))
    if device != "cpu":
        return device
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"CPU ({line.partition(':')[2].strip()})"
    return f"CPU ({platform.processor() or platform.machine()})"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the checkout's commit, with "+" when files differ from it; empty outside a checkout."""
    words = ("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+")
    with suppress(OSError, subprocess.SubprocessError):
        if (PACKAGE.parent / ".git").exists():
            command = ["git", "-C", str(PACKAGE.parent), *words]
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""
