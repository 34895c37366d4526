"""What ruff cannot say about the house: the length of files and the size of rooms. Run by `make lint`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "oshp_lite"
LONGEST = 400
LIBRARY = ("errors.py", "files.py", "lock.py", "assets", "labels", "data", "viz", "models", "engine", "predict.py")
BUDGETS = {"library": 10_000, "study": 5_000, "package": 23_000}
COUNTED = {".py", ".html", ".css", ".j2", ".yaml", ".tex", ".md"}


def lines(path: Path) -> int:
    """Number of lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def size(*places: Path, without: tuple[Path, ...] = ()) -> int:
    """Lines of the files beneath some places: docstrings, templates and styles count, printed numbers do not."""
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    skipped = (*without, PACKAGE / "study" / "printed")
    return sum(
        lines(path)
        for path in files
        if path.suffix in COUNTED
        and "__pycache__" not in path.parts
        and not (path.suffix == ".yaml" and skipped[-1] in path.parents)
        and not any(place in path.parents for place in without)
    )


def main() -> int:
    """Print what is too long or too large; returns 1 if anything is."""
    faults = [
        f"{path.relative_to(ROOT)} has {count} lines, more than {LONGEST}; split it"
        for folder in (PACKAGE, ROOT / "tests", ROOT / "data_scripts")
        for path in sorted(folder.rglob("*.py"))
        if (count := lines(path)) > LONGEST
    ]
    sizes = {
        "library": size(*(PACKAGE / name for name in LIBRARY), without=(PACKAGE / "data" / "synthetic",)),
        "study": size(PACKAGE / "study"),
        "package": size(PACKAGE),
    }
    faults += [f"the {n} has {sizes[n]} lines, more than {most}" for n, most in BUDGETS.items() if sizes[n] > most]
    print("; ".join(f"{name} {count} lines" for name, count in sizes.items()))
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
