"""Executed notebooks as chapters: what their first cell promises, and copies that read well without a kernel.

A copy differs from its notebook in what a static page needs: anchors where symbols and terms are introduced, pictures
with alternative text, no widget views (which need a kernel), no progress bars. Texts, code and results stay.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import read_json

WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
_TITLE = re.compile(r"#\s+(?:(\d\d)\s*[·.:–-]\s*)?(.+)")
_TIME = re.compile(r"\*\*Time:?\*\*:?\s*(.+?)(?=\*\*Needs|\n\n|\Z)", re.S)
_BAR = re.compile(r"\d+%\|.*\|.*\[.*\]")
_NO_NAME = re.compile(r"<?(Figure size|IPython\.|[\w.]+ object|Image\b)|^<Figure\b.*Axes>$")


@dataclass
class Chapter:
    """One notebook: `cells` as read, `anchors` label -> (cell, block of its text) that the page gets."""

    path: Path
    folder: str
    cells: list[dict[str, Any]]
    anchors: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """The two digits its file name begins with."""
        return self.path.name[:2]

    @property
    def page(self) -> str:
        """The page's name in the site, without a suffix."""
        return f"{self.folder}/{self.path.stem}"

    @property
    def title(self) -> str:
        """The heading without the number; the file's name where there is no heading."""
        head = _TITLE.match(self._opening)
        return head[2].strip() if head else self.path.stem[3:].replace("_", " ")

    @property
    def short(self) -> str:
        """Number and title up to its colon or second part, for lists."""
        return f"{self.number} · {re.split(':|, and ', self.title)[0]}"

    @property
    def promise(self) -> str:
        """The first paragraph below the title, cut after the sentence that passes 160 characters."""
        paragraphs = [text for text in self._opening.split("\n\n")[1:] if text.strip()]
        shown = ""
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraphs[0].split()) if paragraphs else ""):
            if len(shown) > 160:
                break
            shown += f" {sentence}"
        return shown.strip()

    @property
    def time(self) -> str:
        """What the first cell says about the reading time, up to its first full stop."""
        said = _TIME.search(self._opening)
        text = " ".join(said[1].split()).partition(". ")[0].rstrip(".") if said else ""
        return text[:1].upper() + text[1:]

    @property
    def _opening(self) -> str:
        return next((text_of(cell) for cell in self.cells if cell["cell_type"] == "markdown"), "")

    def find(self, mark: str) -> tuple[int, int] | None:
        """Where `mark` first stands in the prose: cell and block; None when it does not (blanks and case aside).

        The opening comes last: it promises what a later cell introduces.
        """
        wanted = " ".join(mark.split()).lower()
        for index, cell in [*enumerate(self.cells)][1:] + [*enumerate(self.cells)][:1]:
            if cell["cell_type"] == "markdown":
                for place, block in enumerate(blocks(text_of(cell))):
                    if wanted in " ".join(block.split()).lower():
                        return index, place
        return None

    def anchor(self, label: str, *marks: str) -> str | None:
        """Give the place of the first mark that stands here an anchor; returns its address, None without a place."""
        place = next(filter(None, map(self.find, marks)), None)
        if place is None:
            return None
        self.anchors.setdefault(label, place)
        return f"#{label}"


def text_of(cell: dict[str, Any]) -> str:
    """The source of a cell, which notebooks store as a text or as lines."""
    return "".join(cell["source"])


def blocks(text: str) -> list[str]:
    """Cut Markdown at blank lines where a new block begins in the first column, outside fences and formulas."""
    cut: list[str] = []
    fenced = False
    for part in re.split(r"\n[ \t]*\n", text):
        if cut and (fenced or part[:1] in {"", " ", "\t"}):
            cut[-1] += f"\n\n{part}"
        else:
            cut.append(part)
        fenced ^= (len(re.findall(r"^(?:```|~~~)", part, re.M)) + part.count("$$")) % 2 == 1
    return cut


def read_chapters(folder: Path) -> list[Chapter]:
    """Read the numbered notebooks of a folder and of its `solutions`, in reading order.

    Raises UserError when there are none, one is not a notebook, or one was never executed.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name the one with the executed notebooks")
    chapters = [
        _read(path, part)
        for part, place in (("notebooks", folder), ("solutions", folder / "solutions"))
        for path in sorted(place.glob("[0-9][0-9]_*.ipynb"))
    ]
    if not any(chapter.folder == "notebooks" for chapter in chapters):
        raise UserError(f"{folder} holds no numbered notebooks; name the folder with the executed notebooks")
    return chapters


def _read(path: Path, part: str) -> Chapter:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise UserError(f"{path} is not a notebook; restore it")
    code = [cell for cell in content["cells"] if cell.get("cell_type") == "code" and text_of(cell).strip()]
    if code and not any(cell.get("outputs") for cell in code):
        raise UserError(f"{path} has no outputs; execute it first (make notebooks, or oshp-lite reproduce)")
    return Chapter(path, part, content["cells"])


def prepare(chapter: Chapter, alternatives: dict[str, str]) -> dict[str, Any]:
    """Return the notebook that the site shows; adds its pictures' texts to `alternatives` (SHA-256 -> text)."""
    heading, shown = chapter.title, list[dict[str, Any]]()
    for index, cell in enumerate(chapter.cells):
        if cell["cell_type"] == "markdown":
            text = _with_anchors(
                text_of(cell), [(at[1], label) for label, at in chapter.anchors.items() if at[0] == index]
            )
            heads = re.findall(r"^#{2,}\s+(.+)$", text, re.M)
            heading = heads[-1] if heads else heading
            shown.append({"cell_type": "markdown", "metadata": {}, "source": text})
        elif cell["cell_type"] == "code" and text_of(cell).strip():
            outputs = [kept for output in cell.get("outputs", []) if (kept := _still(output))]
            for output in outputs:
                _describe(output, heading, alternatives)
            tags = [tag for tag in cell.get("metadata", {}).get("tags", []) if tag.startswith(("hide-", "remove-"))]
            metadata = {"tags": tags} if tags else {}
            code = {"cell_type": "code", "execution_count": cell.get("execution_count"), "metadata": metadata}
            shown.append(code | {"source": text_of(cell), "outputs": outputs})
    for number, cell in enumerate(shown):
        cell["id"] = f"c{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return {
        "cells": shown,
        "metadata": {"kernelspec": kernel, "language_info": language},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _with_anchors(text: str, wanted: Sequence[tuple[int, str]]) -> str:
    parts = blocks(text)
    for place, label in sorted(wanted, reverse=True):
        parts[place] = (
            f"({label})=\n\n{parts[place]}" if parts[place].startswith("(") else f"({label})=\n{parts[place]}"
        )
    return "\n\n".join(parts)


def _still(output: dict[str, Any]) -> dict[str, Any] | None:
    """The output without what needs a kernel; None where nothing is left to see."""
    if output["output_type"] == "stream":
        text = "".join(output["text"])
        bar = output["name"] == "stderr" and all(
            _BAR.search(line) for line in re.split(r"[\r\n]+", text) if line.strip()
        )
        return None if bar or not text.strip() else output
    if WIDGET not in output.get("data", {}):
        return output
    data = {kind: value for kind, value in output["data"].items() if kind != WIDGET}
    return {**output, "data": data} if set(data) - {"text/plain"} else None


def _describe(output: dict[str, Any], heading: str, alternatives: dict[str, str]) -> None:
    for kind in PICTURES:
        if kind in output.get("data", {}):
            content = "".join(output["data"][kind])
            picture = content.encode() if kind == "image/svg+xml" else b64decode(content)
            alternatives[hashlib.sha256(picture).hexdigest()] = _alternative(output, kind, heading)


def _alternative(output: dict[str, Any], kind: str, heading: str) -> str:
    """The text for those who do not see a picture: its metadata's, its description, else the section it stands in."""
    metadata = output.get("metadata", {})
    given = metadata.get(kind, {}).get("alt") or metadata.get("alt")
    plain = "".join(output["data"].get("text/plain", "")).strip()
    if given or (plain and not _NO_NAME.search(plain)):
        return " ".join((given or plain.removeprefix("<").removesuffix(">")).split())
    return f"figure of the section “{re.sub(r'[*`$]', '', heading)}”"
