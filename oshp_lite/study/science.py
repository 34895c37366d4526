"""The report's part on the two papers: the ledger of claims, every table and figure, with links to their files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from oshp_lite.study import claims
from oshp_lite.study.exhibits import Exhibits, make_exhibits
from oshp_lite.study.plan import Finder
from oshp_lite.study.render import style, to_html


def science_section(profile: str, folder: Path, finder: Finder | None = None) -> dict[str, Any]:
    """Make all exhibits of a profile under `folder` and return what the page shows of them, as HTML and addresses."""
    made = make_exhibits(profile, folder, finder)
    return {
        "style": style(),
        "claims": claims.to_html(made.verdicts, styled=False),
        "origins": _origins(made),
        "tables": [
            {
                "id": table.id,
                "title": table.title,
                "html": to_html(table, styled=False),
                "files": [(ending, f"tables/{table.id}.{ending}") for ending in ("html", "csv", "json", "tex", "md")],
            }
            for table in made.tables.values()
        ],
        "figures": [
            {
                "id": name,
                "title": title,
                "png": _address(next(path for path in paths if path.suffix == ".png")),
                "files": [(path.suffix[1:], f"figures/{path.name}") for path in paths],
            }
            for name, (title, paths) in made.figures.items()
        ],
    }


def _origins(made: Exhibits) -> str:
    """Say in one sentence how many results were made here, by which code, and how many are committed ones."""
    runs = [made.results.get(key) for key in made.results.keys()]  # noqa: SIM118 - not a mapping
    here = [run for run in runs if getattr(run, "origin", "") == "run here"]
    older = sum(bool(run.provenance.get("older_code")) for run in here)  # type: ignore[union-attr]
    told = f"{len(runs)} results: {len(here)} made on this machine"
    told += f" ({older} of them by earlier code, with the commit in their provenance)" if older else ""
    rest = len(runs) - len(here)
    return told + (f", {rest} committed with the project, each with the commit that made it." if rest else ".")


def _address(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
