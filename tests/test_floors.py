"""The house stands: each room imports only from rooms above, nothing in circles, and the library needs only its core.

Imports inside functions count like the others. What `make lint` says, sizes of files and rooms included, is said once.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "oshp_lite"

ROOMS = (
    *(
        ("errors",),
        ("files",),
        ("fields",),
        ("lock",),
        ("script",),
        ("assets",),
        ("labels",),
        ("data",),
        ("viz",),
        ("models",),
        ("engine",),
    ),
    *(("predict",), ("study", "book"), ("cli",), ("__main__",)),
    ("__init__",),  # names only, loaded when asked for
)
"""From the ground up; rooms of one floor do not know each other."""
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
CORE = {"torch", "numpy", "PIL", "matplotlib", "tqdm", "safetensors", "yaml", "filelock"}
"""What the library needs; whatever else it uses, it imports inside a function."""
LAZY = {"scipy", "transformers", "huggingface_hub", "IPython", "onnxruntime"}
REGISTRIES = {"oshp_lite.models.registry"}
"""Lists that import by name what they list, all of it in their own room."""


class Import(NamedTuple):
    """An import: the module it names, whether it happens at import time, and where it stands."""

    module: str
    top: bool
    where: str


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if "__pycache__" not in path.parts}


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


@cache
def imports_of(name: str) -> tuple[Import, ...]:
    """Every import of a module, also by `import_module("...")`; those for type checkers alone are left out."""
    path, found = modules()[name], []

    def add(module: str, top: bool, node: ast.AST) -> None:
        found.append(Import(module, top, f"{path.relative_to(ROOT)}:{node.lineno}"))  # type: ignore[attr-defined]

    def visit(node: ast.AST, top: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name, top, node)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative import; write the whole name"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                add(inner if inner in modules() else str(node.module), top, node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and name not in REGISTRIES:
            add(node.args[0].value if isinstance(node.args[0], ast.Constant) else "?", False, node)
        below = top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, below)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return tuple(found)


def test_imports_go_downward() -> None:
    assert {room_of(name) for name in modules()} <= set(FLOOR), "a room has no floor; give it one in ROOMS"
    upward = [
        f"{entry.where} ({room_of(name)}) imports {entry.module}"
        for name in modules()
        for entry in imports_of(name)
        if entry.module.startswith("oshp_lite.")
        and room_of(entry.module) in FLOOR  # else a name of oshp_lite itself
        and room_of(entry.module) != room_of(name)
        and FLOOR[room_of(entry.module)] >= FLOOR[room_of(name)]
    ]
    assert not upward, "\n".join(upward)


def test_no_circles() -> None:
    """No module needs, over any number of others, itself; imports inside functions count."""
    graph = {
        name: {entry.module for entry in imports_of(name) if entry.module in modules()} - {name} for name in modules()
    }
    circles, left = [], dict(graph)
    while left:
        free = [name for name, targets in left.items() if not targets & set(left)]
        if not free:  # what is left runs in circles, or leads to one: walk until a module comes twice
            trail = [next(iter(left))]
            while trail[-1] not in trail[:-1]:
                trail.append(sorted(left[trail[-1]] & set(left))[0])
            circles.append(" -> ".join(trail[trail.index(trail[-1]) :]))
            free = [trail[-1]]
        for name in free:
            del left[name]
    assert not circles, "\n".join(circles)


def test_the_library_needs_only_its_core() -> None:
    library = [name for name in modules() if FLOOR[room_of(name)] <= FLOOR["predict"]]
    foreign = [
        f"{entry.where} imports {entry.module}"
        for name in library
        for entry in imports_of(name)
        if (package := entry.module.split(".")[0]) not in {"?", *sys.stdlib_module_names, *CORE, "oshp_lite"}
        and (entry.top or package not in LAZY)
    ]
    assert not foreign, "\n".join(foreign)


def test_the_command_line_starts_without_torch() -> None:
    code = (
        "import sys, oshp_lite, oshp_lite.cli; "
        "heavy = {'torch', 'matplotlib', 'papermill', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_list_of_datasets_is_read_without_numpy() -> None:
    """Help texts name the datasets, and must not wait for it."""
    code = "import sys; from oshp_lite.data.registry import DATASETS; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["-m", "ruff", "check", "."], ["-m", "ruff", "format", "--check", "."], ["-m", "mypy"], [".ci/house.py"]],
    ids=" ".join,
)
def test_lint(command: list[str]) -> None:
    if command[0] == "-m":
        pytest.importorskip(command[1])
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
