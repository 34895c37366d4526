"""`oshp-lite book`: the notebooks as static pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def book(
    context: typer.Context,
    *,
    notebooks: Annotated[
        str | None, typer.Option(metavar="DIR", help="executed notebooks (default: notebooks/)")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="DIR", help="folder of the site (default: reports/book)")] = None,
) -> int:
    """Build the book: static HTML pages from executed notebooks, readable offline."""
    from oshp_lite.book.site.build import build_book
    from oshp_lite.files import project_root, reports_root

    place = Path(out).expanduser().resolve() if out else reports_root() / "book"
    source = Path(notebooks).expanduser() if notebooks else project_root() / "notebooks"
    made = build_book(place, source, _commands(context))
    print(f"{made.pages} pages: open {made.folder / 'index.html'}")
    for fault in made.faults:
        print(f"fault: {fault}", file=sys.stderr)
    return int(bool(made.faults))


def _commands(context: typer.Context) -> dict[str, str]:
    """Name -> purpose and options of every command, as Markdown; a group's commands stand under their whole name."""
    pages: dict[str, str] = {}

    def add(name: str, command: Any) -> None:
        members = getattr(command, "commands", {})
        for inner in members.values():
            add(f"{name} {inner.name}".strip(), inner)
        if not members:
            pages[name.replace(" ", "-")] = _described(context, name, command)

    add("", context.find_root().command)
    return pages


def _described(context: typer.Context, name: str, command: Any) -> str:
    from oshp_lite.book.site.reference import spans

    lines = [spans(command.help or ""), "", f"    oshp-lite {name}", ""]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        lines += [f"- `{record[0]}`: {spans(record[1])}" if record[1] else f"- `{record[0]}`"] if record else []
    return "\n".join(lines)
