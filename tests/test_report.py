"""The report from the command line: one damaged run, record or file stops nothing and is listed with its reason."""

from __future__ import annotations

import html
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from oshp_lite.cli import main


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a finished, empty reproduction of the profile smoke; data, runs and reports lie inside."""
    root = tmp_path / "checkout"
    (root / "notebooks" / "results" / "costs").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    monkeypatch.chdir(root)
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(root / name.lower()))
    manifest = {"profile": "smoke", "made": "today", "seconds": 1.0, "entries": [], "trainings": [], "notes": []}
    (root / "reports" / "smoke").mkdir(parents=True)
    (root / "reports" / "smoke" / "manifest.json").write_text(json.dumps(manifest))
    return root


class Links(HTMLParser):
    """Addresses on a page, of links and of what it loads, and the names that a link may end in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        self.names |= {about["id"]} if "id" in about else set()
        if tag == "a" and "href" in about:
            self.links.append(about["href"])
        elif address := about.get("src") or about.get("href"):
            self.loads.append(address)


def dead(folder: Path) -> list[str]:
    """Links and pictures of the pages in a folder that lead nowhere, or out of it."""
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.html"))}
    found = []
    for path, page in pages.items():
        for address in [*page.links, *(one for one in page.loads if not one.startswith("data:"))]:
            file, _, name = address.partition("#")
            target = (path.parent / file).resolve() if file else path
            inside = folder.resolve() in target.parents and ":" not in address and not address.startswith("/")
            if not inside or not target.is_file() or (name and name not in pages[target].names):
                found.append(f"{path.name}: {address}")
    return found


@pytest.mark.slow
def test_what_cannot_be_read_is_listed_and_stops_nothing(checkout: Path) -> None:
    (checkout / "notebooks" / "results" / "costs" / "official.json").write_text("{")
    (checkout / "runs" / "half-a-run").mkdir(parents=True)
    (checkout / "runs" / "half-a-run" / "scores.json").write_text('{"human_miou"')
    assert main(["report", "--profile", "smoke"]) == 0
    folder = checkout / "reports" / "smoke"
    page = html.unescape((folder / "index.html").read_text(encoding="utf-8"))
    listed = page[page.index('id="problems"') : page.index('id="headlines"')]
    assert "official.json" in listed
    assert "half-a-run is damaged" in listed
    assert "All methods of POPNet's paper" in html.unescape((folder / "tables.html").read_text(encoding="utf-8"))

    # every page is reached from the first one, and no link is dead
    assert not dead(folder)
    reached, waiting = set(), {"index.html"}
    while waiting:
        reached |= waiting
        found = {link.partition("#")[0] for file in waiting for link in Links((folder / file).read_text("utf-8")).links}
        waiting = {file for file in found if file.endswith(".html") and "/" not in file} - reached
    assert reached == {path.name for path in folder.glob("*.html")}
    assert len(reached) > 25, "a page for each table and figure"


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<p id="a"><a href="#a">a</a><a href="b.html#c">b</a></p>')
    assert dead(tmp_path) == ["index.html: b.html#c"]
    (tmp_path / "b.html").write_text('<a href="index.html#b">b</a><img src="/x.png"><a href="https://x.org">x</a>')
    assert dead(tmp_path) == [
        "b.html: index.html#b",
        "b.html: https://x.org",
        "b.html: /x.png",
        "index.html: b.html#c",
    ]


def test_a_report_before_anything_was_executed_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--profile", "quick"]) != 0
    assert "oshp-lite reproduce --profile quick" in capsys.readouterr().err
