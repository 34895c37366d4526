"""The house stands: each room imports only from floors below, nothing in circles, and no file grows without reason."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "oshp_lite"

FLOORS = {
    "errors": 0.0,
    "files": 0.1,
    "lock": 0.15,
    "assets": 0.2,
    "labels": 1,
    "data": 2,
    "viz": 3,
    "models": 4,
    "engine": 5,
    "predict": 6,
    "study": 7,
    "book": 7,
    "cli": 8,
    "__main__": 9,
    "__init__": 10,  # names only, loaded when asked for
}
CORE = {"torch", "numpy", "PIL", "matplotlib", "tqdm", "safetensors", "yaml"}
LAZY_ONLY = {"scipy": "oshp_lite/data/prepare"}
"""Modules that the library may import inside a function, and where."""

LONG_FILES: dict[str, str] = {}
"""Files above 400 lines, each with its reason."""


def python_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(module, at import time?) of every import; imports under TYPE_CHECKING are left out."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, top: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_of(path).split(".")
                if path.name != "__init__.py":
                    package = package[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            found.append((base, top))
            found.extend((f"{base}.{alias.name}", top) for alias in node.names if base.startswith("oshp_lite"))
        inner = top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward(path: Path) -> None:
    room = room_of(path)
    assert room in FLOORS, f"{room} has no floor; give it one in tests/test_floors.py"
    for module, _ in imports_of(path):
        parts = module.split(".")
        if parts[0] != "oshp_lite" or len(parts) == 1:
            continue
        other = parts[1]
        if other not in FLOORS:  # a name taken from oshp_lite itself
            continue
        below = FLOORS[other] < FLOORS[room]
        assert below or other == room, f"{path.name} (floor {FLOORS[room]}) imports {module} (floor {FLOORS[other]})"


@pytest.mark.parametrize("path", [p for p in python_files() if FLOORS.get(room_of(p), 9) <= 6], ids=str)
def test_lower_floors_need_only_the_core(path: Path) -> None:
    for module, top in imports_of(path):
        name = module.split(".")[0]
        if name in sys.stdlib_module_names or name in CORE | {"oshp_lite"}:
            continue
        where = LAZY_ONLY.get(name)
        inside = where is not None and str(path.relative_to(ROOT)).startswith(where)
        allowed = inside and not top
        assert allowed, f"{path.relative_to(ROOT)} imports {name}, which the library do without"


def test_no_circles() -> None:
    known = {module_of(path): path for path in python_files()}
    graph = {
        name: sorted({target for target, top in imports_of(path) if top and target in known and target != name})
        for name, path in known.items()
    }
    state: dict[str, int] = {}

    def walk(name: str, trail: list[str]) -> None:
        state[name] = 1
        for target in graph[name]:
            # a package's __init__ is imported before its modules, which is no circle unless it needs them back
            if name.startswith(target + "."):
                continue
            assert state.get(target) != 1, "circle: " + " -> ".join([*trail, name, target])
            if target not in state:
                walk(target, [*trail, name])
        state[name] = 2

    for name in graph:
        if name not in state:
            walk(name, [])


def test_no_file_above_400_lines_without_a_reason() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in (PACKAGE, ROOT / "tests", ROOT / "data_scripts")
        for path in sorted(folder.rglob("*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    unexplained = {name: lines for name, lines in long.items() if name not in LONG_FILES}
    assert not unexplained, f"above 400 lines: {unexplained}; split them or give the reason in LONG_FILES"
    assert set(LONG_FILES) <= set(long), "LONG_FILES names files that are short enough by now"


def test_the_command_line_starts_without_torch() -> None:
    code = (
        "import sys, oshp_lite, oshp_lite.cli; "
        "heavy = {'torch', 'matplotlib', 'papermill', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", "oshp_lite"]], ids=" ".join
)
def test_style_and_types_are_clean(command: list[str]) -> None:
    pytest.importorskip(command[0])
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
