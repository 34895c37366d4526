"""The book, built once for all tests of a run, and its pages as a reader's program sees them."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]


class Site(NamedTuple):
    """The built book: its folder, what the command printed, its exit code, and the processor seconds it took."""

    folder: Path
    said: str
    code: int
    seconds: float


def build_once(factory: pytest.TempPathFactory) -> Site:
    """Build the repository's book, or take the one that another worker of this run has built."""
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name)
    shared = factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    place, record = shared / "book", shared / "book.json"
    with FileLock(shared / "book.lock"):
        if not record.is_file():
            command = [sys.executable, "-m", "oshp_lite", "book", "--out", str(place)]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            record.write_text(json.dumps([done.stdout + done.stderr, done.returncode, seconds]))
        return Site(place, *json.loads(record.read_text()))


class Reader(HTMLParser):
    """Links (address, text), pictures and the text of a page's article, without lists at its sides and scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.images: list[dict[str, Any]] = []
        self.words: list[str] = []
        self._open: list[list[str]] = []
        self._silent = False
        article = re.search(r"<article.*?</article>", path.read_text(encoding="utf-8"), re.S)
        assert article is not None, f"{path.name} has no article"
        self.feed(article[0])
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent = tag in {"script", "style"}
        if tag == "a":
            self._open.append([dict(attrs).get("href") or ""])
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        if tag == "a" and self._open:
            address, *words = self._open.pop()
            self.links.append((address, re.sub(r"\s+", " ", "".join(words)).strip()))

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)
            for link in self._open:
                link.append(data)
