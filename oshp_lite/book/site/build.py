"""Building the book: pages are gathered in one folder, Sphinx makes the site of them, and it replaces the old one."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import oshp_lite
from oshp_lite import files
from oshp_lite.book.site import pages
from oshp_lite.book.site.chapters import Chapter, prepare, read_chapters, text_of
from oshp_lite.book.site.check import faults
from oshp_lite.book.site.reference import reference_pages
from oshp_lite.errors import UserError

MARK = ".oshp-book"
"""A file in every site of ours: a folder without it is never replaced."""
NEEDS = ("sphinx", "myst_nb", "furo")
THEME = {
    "light_css_variables": {"color-brand-primary": "#1b4f72", "color-brand-content": "#1f618d"},
    "dark_css_variables": {"color-brand-primary": "#8ec9f0", "color-brand-content": "#8ec9f0"},
    "navigation_with_keys": True,
    "top_of_page_buttons": [],
}


@dataclass(frozen=True)
class Book:
    """A built site: its folder, its number of pages, and what is wrong with it (Sphinx's warnings, dead links)."""

    folder: Path
    pages: int
    faults: tuple[str, ...]


def build_book(out: Path, notebooks: Path, commands: Mapping[str, str] | None = None) -> Book:
    """Build the site in `out` from executed notebooks; `commands`: name of a command -> its options, as Markdown.

    The old site stays until the new one is complete. Raises UserError when something that is needed is not installed,
    a notebook was never executed, or `out` holds something else.
    """
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # see `study.notebooks.papermill_here`
    for name in NEEDS:
        try:
            import_module(name)
        except ImportError:
            raise UserError(f"the book needs {name.replace('_', '-')}; install pip install -e '.[book]'") from None
    check_place(out)
    chapters = read_chapters(notebooks)
    files.make_folder(out.parent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name[:20]}.", dir=out.parent) as work:
        source, site = Path(work, "source"), Path(work, "site")
        alternatives = gather(source, chapters, notebooks, commands or {})
        said = _sphinx(source, site, chapters, alternatives, tuple(commands or ()))
        for spare in ("objects.inv", ".buildinfo", "reports", "_sources"):
            shutil.rmtree(site / spare) if (site / spare).is_dir() else (site / spare).unlink(missing_ok=True)
        (site / MARK).write_text("made by oshp-lite book; replaced as a whole when it is made again\n", "utf-8")
        count, wrong = len(list(site.rglob("*.html"))), (*said, *faults(site))
        files.publish_folder(site, out)
    return Book(out, count, wrong)


def check_place(out: Path) -> None:
    """Raise UserError unless `out` is free, empty, or a site of ours."""
    if out.is_file():
        raise UserError(f"cannot write {out}: there is a file of that name; choose another place with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UserError(f"{out} holds something else than a book and is left alone; choose another place with --out")


def gather(source: Path, chapters: Sequence[Chapter], notebooks: Path, commands: Mapping[str, str]) -> dict[str, str]:
    """Write every page's source below `source`; returns the pictures' texts (SHA-256 -> text)."""
    package = Path(oshp_lite.__file__).parent
    by_number = {chapter.number: chapter for chapter in chapters if chapter.folder == "notebooks"}
    rooms = _from_the_ground(reference_pages(package))
    written = {f"reference/{room}": text for room, text in rooms.items()}
    written["reference/index"] = pages.reference_index(rooms, {room: _first_line(package, room) for room in rooms})
    written["glossary"] = pages.glossary_page(pages.glossary(by_number))
    written["equations"] = pages.equations_page(by_number)
    written["cite"] = pages.cite_page(pages.read_citation(files.project_root()))
    written["commands"] = _commands_page(commands)
    if any(chapter.folder == "solutions" for chapter in chapters):
        written["solutions/index"] = pages.solutions_page(chapters)
    here = resources.files("oshp_lite.book.site")
    written |= {name: here.joinpath("pages", f"{name}.md").read_text("utf-8") for name in ("howto", "cluster")}
    alternatives: dict[str, str] = {}
    for chapter in chapters:
        written[f"{chapter.page}.ipynb"] = json.dumps(prepare(chapter, alternatives))
        _beside(chapter, source / chapter.folder)
    written["index"] = pages.front_page(chapters)
    files.make_folder(source)
    shutil.copyfile(package / "assets" / pages.COVER, source / pages.COVER)
    for name, text in written.items():
        suffix = "" if name.endswith(".ipynb") else ".md"
        files.write_atomic(source / f"{name}{suffix}", text.encode("utf-8"), durable=False)
    with resources.as_file(here.joinpath("static")) as static:
        shutil.copytree(static, source / "_static")
    return alternatives


def _from_the_ground(rooms: Mapping[str, str]) -> dict[str, str]:
    order = ("oshp_lite", "assets", "labels", "data", "viz", "models", "engine", "study", "book", "cli")
    place = {name: index for index, name in enumerate(order)}
    return dict(sorted(rooms.items(), key=lambda item: (place.get([*item[0].split("."), "oshp_lite"][1], 99), item[0])))


def _first_line(package: Path, room: str) -> str:
    path = package.parent.joinpath(*room.split("."), "__init__.py")
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) if path.is_file() else None
    return (text or "").partition("\n")[0]


def _commands_page(commands: Mapping[str, str]) -> str:
    parts = ["# Commands\n", "Every command of the package. Bad input gets one sentence and the exit code 2.\n"]
    for name, text in commands.items():
        parts += [f"(oshp-lite-{name})=\n## oshp-lite {name}\n", text, ""]
    return "\n".join(parts)


def _beside(chapter: Chapter, folder: Path) -> None:
    """Copy the files beside a notebook that its texts and outputs show (explorers, pictures)."""
    shown = "\n".join(
        text
        for cell in chapter.cells
        for text in [
            text_of(cell) if cell["cell_type"] == "markdown" else "",
            *("".join(output.get("data", {}).get("text/html", "")) for output in cell.get("outputs", [])),
        ]
    )
    for name in set(re.findall(r"(?:src=[\"']|\]\()([\w./-]+\.(?:html|png|jpe?g|svg|gif))\b", shown)):
        origin, target = (chapter.path.parent / name).resolve(), (folder / name).resolve()
        if origin.is_file() and origin.is_relative_to(chapter.path.parent.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, target)


def _sphinx(
    source: Path, site: Path, chapters: Sequence[Chapter], alternatives: Mapping[str, str], commands: tuple[str, ...]
) -> list[str]:
    """Run Sphinx; returns its warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = io.StringIO()
    settings: dict[str, Any] = {
        "project": "One-shot human parsing",
        "author": "the oshp_lite contributors",
        "copyright": "the oshp_lite contributors, Apache-2.0",
        "release": oshp_lite.__version__,
        "extensions": ["myst_nb", "oshp_lite.book.site.extension"],
        "html_theme": "furo",
        "html_theme_options": THEME,
        "html_title": "One-shot human parsing",
        "html_favicon": "_static/book.svg",
        "html_static_path": ["_static"],
        "html_css_files": ["katex/katex.min.css", "book.css"],
        "html_js_files": [("katex/katex.min.js", {"defer": "defer"}), ("book.js", {"defer": "defer"})],
        "html_math_renderer": "katex",
        "html_copy_source": False,
        "html_show_sourcelink": False,
        "html_domain_indices": False,
        "smartquotes_action": "qe",
        "nb_execution_mode": "off",
        "nb_ipywidgets_js": {},
        "nb_render_markdown_format": "myst",
        "nb_merge_streams": True,
        "myst_enable_extensions": ["dollarmath", "amsmath", "colon_fence", "deflist"],
        "myst_heading_anchors": 3,
        "toc_object_entries": False,  # they would all stand in every page's list of pages
        "maximum_signature_line_length": 80,
        "add_module_names": False,
        "python_use_unqualified_type_names": True,
        "suppress_warnings": ["config.cache"],
        "book_alternatives": dict(alternatives),
        "book_pages": {f"{chapter.folder}/{chapter.number}": chapter.page for chapter in chapters},
        "book_commands": tuple(f"oshp-lite-{name}" for name in commands),
    }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            source, None, site, source.parent / "doctrees", "html", settings, None, warnings, parallel=min(cores, 4)
        )
        app.build(force_all=True)
    said = re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()).replace(f"{source}{os.sep}", "")
    return [line for line in said.splitlines() if line.strip()]
