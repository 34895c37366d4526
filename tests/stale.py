"""Which cells of a notebook changed after their outputs were made."""

from __future__ import annotations

from typing import Any

from oshp_lite.study.notebooks import source_of, source_sha


def stale_cells(notebook: dict[str, Any]) -> list[int]:
    """Positions of code cells whose outputs were not made by their present source (empty cells do not count)."""
    return [
        position
        for position, cell in enumerate(notebook["cells"])
        if cell["cell_type"] == "code"
        and source_of(cell).strip()
        and cell.get("metadata", {}).get("oshp", {}).get("source_sha") != source_sha(cell)
    ]
