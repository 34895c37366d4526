"""The pages that are made, not written: the front page, equations, glossary, citation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from oshp_lite.book.equations import EQUATIONS, Equation
from oshp_lite.book.site.chapters import Chapter
from oshp_lite.files import parse_yaml

PARTS = (
    ("The task", range(3)),
    ("Two networks", range(3, 7)),
    ("What was measured", range(7, 11)),
    ("With the mouse", range(11, 13)),
    ("Further", range(13, 100)),
)
"""Parts of the book, and the numbers of their notebooks."""
COVER = "cover.jpg"
"""The picture of the front page, in the package's assets."""
PAPERS = {"journal": "EOP-Net (journal)", "aaai": "POPNet (AAAI 2021)"}


@dataclass(frozen=True)
class Entry:
    """One row of the glossary: a term, or a symbol with its formula; `place` is "page#label", or empty."""

    name: str
    says: str
    notebook: str
    place: str
    symbol: bool


def read_glossary() -> dict[str, list[dict[str, Any]]]:
    """The entries of `glossary.yaml`: symbols and terms."""
    text = resources.files("oshp_lite.book.site").joinpath("glossary.yaml").read_text("utf-8")
    return dict(parse_yaml(text))


def glossary(chapters: Mapping[str, Chapter]) -> list[Entry]:
    """Every entry with the place that introduces it, which is given an anchor; chapters by number ("03")."""
    entries = []
    for kind, rows in read_glossary().items():
        for row in rows:
            name, number = row.get("term") or row["tex"], f"{row['in']:02d}"
            marks = [row["at"]] if isinstance(row["at"], str) else row["at"]
            label = f"{kind[:-1]}-{_slug(name)}"
            chapter = chapters.get(number)
            place = chapter.anchor(label, *marks) if chapter else None
            entries.append(Entry(name, row["says"], number, place or "", kind == "symbols"))
    return entries


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\\mathrm|\\mathbf", "", text).replace("C_", "cap-c-").lower()).strip("-")


def _link(text: str, place: str) -> str:
    return f"[{text}]({place})" if place else text


def _rows(header: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """A list-table: cells may hold formulas, and each row folds into a block on a narrow screen."""
    lines = ["```{list-table}", ":header-rows: 1", ":class: fold", ""]
    for row in (header.split(" | "), *rows):
        lines += [f"{'* - ' if index == 0 else '  - '}{cell}" for index, cell in enumerate(row)]
    return [*lines, "```", ""]


def glossary_page(entries: Sequence[Entry]) -> str:
    """Symbols as a table, terms in the order of the alphabet, each with a link to where it is introduced."""
    symbols = [entry for entry in entries if entry.symbol]
    terms = sorted((entry for entry in entries if not entry.symbol), key=lambda entry: entry.name.lower())
    table = _rows(
        "symbol | meaning | introduced in",
        ((f"${one.name}$", one.says, _link(f"notebook {one.notebook}", one.place)) for one in symbols),
    )
    listed = []
    for one in terms:
        where = _link(f"Notebook {one.notebook}", one.place)
        listed += [f"{one.name}", f"  {one.says[0].upper()}{one.says[1:]}. {where}", ""]
    return "\n".join(
        [
            "# Glossary\n",
            "Every link leads to the paragraph that introduces the symbol or the term.\n",
            "## Symbols\n",
            *table,
            "## Terms\n",
            "```{glossary}",
            *listed,
            "```\n",
        ]
    )


def equations_page(chapters: Mapping[str, Chapter]) -> str:
    """The table "equation, function, test" of both papers, with formulas and links to notebooks and reference."""
    lines = [
        "# Equations, functions, tests\n",
        "Every numbered equation of both papers: the function of the package that holds it, the test that checks this",
        "function against an independent computation in double precision, and the place where a notebook builds it.\n",
    ]
    listed = chapters["06"].anchor("paper-against-code", "Paper against code") if "06" in chapters else None
    lines.append(
        "A note in italics says where the papers' text and the released code differ; its row is that of the "
        f"{_link('list of differences in notebook 06', listed or '')}.\n"
    )
    for paper, name in PAPERS.items():
        lines += [f"## {name}\n", *_rows("no. | equation | function | test", ())[:-2]]
        for one in (entry for entry in EQUATIONS if entry.paper == paper):
            note = f"*{one.note}*" if one.note else ""
            place = _built(one, chapters)
            lines += [
                f"* - ({one.number})",
                f"  - {one.says}",
                "",
                f"    $${' '.join(one.latex.split())}$$",
                "",
                f"    {note} {_link(f'Built in notebook {one.notebook:02d}', place)}.",
                f"  - {{py:obj}}`{one.name} <{one.module}.{one.name}>`",
                f"  - `{one.test.partition('::')[2]}`",
            ]
        lines += ["```", ""]
    tests = EQUATIONS[0].test.partition("::")[0]
    return "\n".join([*lines, f"The tests stand in `{tests}`; `python -m pytest {tests}` runs them.\n"])


def _built(one: Equation, chapters: Mapping[str, Chapter]) -> str:
    """Where the notebook states the equation: its tag, else its number in words, else the top of the page."""
    chapter = chapters.get(f"{one.notebook:02d}")
    if chapter is None:
        return ""
    number = one.number
    marks = (f"\\tag{{{number}}}", f"Eq. ({number})", f"Eqs. ({number})", f"Eq. {number})", f"Eqs. {number}")
    return chapter.anchor(f"equation-{one.paper}-{number}", *marks) or f"{chapter.page}.ipynb"


def front_page(chapters: Sequence[Chapter]) -> str:
    """Title, what the book is, a real result (`COVER`), and the chapters by parts."""
    book = [chapter for chapter in chapters if chapter.folder == "notebooks"]
    lines = ["# One-shot human parsing", "", _read("opening.md"), ""]
    for name, numbers in PARTS:
        part = [chapter for chapter in book if int(chapter.number) in numbers]
        if part:
            lines += [f"## {name}", ""]
        for chapter in part:
            time = f"\n:::{{container}} time\n{chapter.time}\n:::\n" if chapter.time else ""
            head = f"[{chapter.number} · {chapter.title}]({chapter.page}.ipynb)"
            lines += [f"::::{{container}} chapter\n{head}\n\n{chapter.promise}\n{time}\n::::\n"]
    trees = [
        (name, [f"{one.short} <{one.page}>" for one in book if int(one.number) in numbers]) for name, numbers in PARTS
    ]
    trees += [
        ("Use it", ["howto", "cluster", "commands"]),
        ("Look it up", ["glossary", "equations", "reference/index", "cite"]),
    ]
    if len(book) < len(chapters):
        trees += [("Exercises", ["solutions/index"])]
    for name, pages in trees:
        if pages:
            lines += ["```{toctree}", ":hidden:", f":caption: {name}", "", *pages, "```", ""]
    return "\n".join(lines)


def solutions_page(chapters: Sequence[Chapter]) -> str:
    """The list of the solutions' notebooks."""
    pages = [chapter for chapter in chapters if chapter.folder == "solutions"]
    titles = [re.sub(r"(?i)^solutions?:?\s*|:?\s*solutions?$", "", one.title) for one in pages]
    names = [f"{one.number} · {title} </{one.page}>" for one, title in zip(pages, titles, strict=True)]
    return "\n".join(["# Solutions\n", _read("solutions.md"), "```{toctree}", ":maxdepth: 1", "", *names, "```", ""])


def reference_index(rooms: Iterable[str], package: Mapping[str, str]) -> str:
    """The list of the reference's pages; `package`: page -> first line of its module's docstring."""
    lines = ["# Reference\n", _read("reference.md"), ""]
    lines += _rows("room | what it holds", ((f"[{room}]({room}.md)", package[room]) for room in rooms))
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *rooms, "```", ""])


def cite_page(citation: Mapping[str, Any] | None) -> str:
    """How to cite the collection and the papers, as BibTeX made from CITATION.cff, and the licences."""
    lines = ["# Cite\n", _read("cite.md"), ""]
    if citation is not None:
        lines += ["```bibtex", _bibtex("oshp_lite", "software", citation), "```", ""]
        for entry in citation.get("references", []):
            key = f"{entry['authors'][0]['family-names'].lower()}{entry['year']}"
            lines += [f"## {entry['title']}\n", "```bibtex", _bibtex(key, entry["type"], entry), "```", ""]
    return "\n".join([*lines, _read("licences.md")])


def _bibtex(key: str, kind: str, entry: Mapping[str, Any]) -> str:
    names = [
        f"{{{one['name']}}}" if "name" in one else f"{one['family-names']}, {one['given-names']}"
        for one in entry["authors"]
    ]
    fields = {
        "title": f"{{{entry['title']}}}",
        "author": " and ".join(names),
        "journal": entry.get("journal"),
        "booktitle": entry.get("collection-title"),
        "year": entry.get("year"),
        "version": entry.get("version"),
        "url": entry.get("url"),
    }
    kinds = {"article": "article", "conference-paper": "inproceedings"}
    rows = [f"  {name:<9} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kinds.get(kind, 'misc')}{{{key},", *rows, "}"])


def _read(name: str) -> str:
    return resources.files("oshp_lite.book.site").joinpath("pages", name).read_text("utf-8")


def read_citation(root: Path) -> dict[str, Any] | None:
    """The checkout's CITATION.cff; None where there is none."""
    path = root / "CITATION.cff"
    return dict(parse_yaml(path.read_text("utf-8"))) if path.is_file() else None
