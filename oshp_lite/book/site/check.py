"""What a built site must not have: dead links, pictures without a text, anything that is fetched from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {"src", "srcset", "data", "poster"}
_BARE = re.compile(r'<span(?: class="[^"]*")?>|</span>')  # colours of code: most tags of a page


class _Page(HTMLParser):
    """Anchors, links, pictures and loaded addresses of one page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors, self.links, self.loads, self.nameless = {""}, list[str](), list[str](), list[str]()
        self.feed(_BARE.sub("", text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort one tag's attributes."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "img" and not given.get("alt", "").strip():
            self.nameless.append(given.get("src", "")[:60])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given and given.get("rel") not in {"canonical", "license"}:
            self.loads.append(given["href"])
        self.loads += [given[name] for name in _LOADS & set(given) if tag != "a"]


def faults(site: Path) -> list[str]:
    """What is wrong with the site in `site`, one sentence each; empty for a sound one."""
    pages = {path.resolve(): _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        wrong += [f"{name}: the picture {picture} has no alternative text" for picture in page.nameless]
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme in {"data", "blob", "mailto", "javascript"}:
                continue
            if parts.scheme or parts.netloc:
                wrong += [f"{name}: {link[:90]} is loaded from elsewhere"] if link in page.loads else []
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                wrong.append(f"{name}: {link} leads nowhere")
            elif target in pages and parts.fragment and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{name}: {link} has no such anchor")
    for path in sorted(site.rglob("*.css")):
        outside = re.findall(r"(?:url\(|@import\s+)['\"]?((?:https?:)?//[^'\")\s]+)", path.read_text("utf-8"))
        wrong += [f"{path.relative_to(site)}: {address} is loaded from elsewhere" for address in outside]
    return list(dict.fromkeys(wrong))
