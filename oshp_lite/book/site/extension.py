"""What the site asks of Sphinx: formulas for KaTeX, alternative texts, and links from names to where they stand."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

_NOTEBOOKS = re.compile(r"\b[Nn]otebooks?\s+\d\d(?:(?:,|,?\s+(?:and|or|to))\s+\d\d)*\b")
_FILE = re.compile(r"(?:notebooks/)?(solutions/)?(\d\d)_\w+(?:\.ipynb)?")
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_COMMAND = re.compile(r"oshp-lite ([a-z][a-z-]*)")


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(f'<span class="math notranslate">{escape(node.astext())}</span>')
    raise nodes.SkipNode


def _display(self: Any, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math display notranslate"))
    self.body.append(f"{escape(node.astext())}</div>\n")
    raise nodes.SkipNode


def describe_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Give every picture of a notebook the text that was prepared for it."""
    for image in doctree.findall(nodes.image):
        text = app.config.book_alternatives.get(PurePosixPath(image["uri"]).stem)
        if text and not image.get("alt"):
            image["alt"] = text


def drop_foreign_types(app: Sphinx, doctree: nodes.document) -> None:
    """Leave the types of other packages as text: looking each of them up among our names takes a third of the time."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link.get("refdomain") == "py" and not link["reftarget"].startswith("oshp_lite."):
            parts = [
                part for part in link.children if not isinstance(part, nodes.Element) or part.get("condition") != "*"
            ]
            link.replace_self([child for part in parts for child in (part.children or [part])])


class Links(SphinxPostTransform):
    """Link what prose and code names: notebooks by number or file, commands, and public names of the package."""

    default_priority = 400

    def run(self, **kwargs: Any) -> None:
        """Go over the page's texts and literals that are in no link, heading or block of code."""
        self.names = _names(self.env)
        unfit = (nodes.reference, nodes.title, nodes.literal_block, nodes.raw, addnodes.desc_signature)
        for node in list(self.document.findall(nodes.literal)):
            if not _inside(node, (*unfit, addnodes.compact_paragraph)) and (link := self._literal(node)) is not None:
                node.replace_self(link)
        for text in list(self.document.findall(nodes.Text)):
            if not _inside(text, (*unfit, nodes.literal, nodes.math, nodes.math_block)):
                self._text(text)

    def _to(self, page: str, anchor: str, child: nodes.Node) -> nodes.reference | None:
        here = self.env.docname
        if page not in self.env.found_docs or (page == here and not anchor):
            return None
        return make_refnode(self.app.builder, here, page, anchor or None, [child])

    def _literal(self, node: nodes.literal) -> nodes.reference | None:
        text = node.astext()
        if file := _FILE.fullmatch(text):
            page = self.config.book_pages.get(f"{file[1] or 'notebooks/'}{file[2]}")
            return self._to(page, "", node.deepcopy()) if page else None
        if command := _COMMAND.match(text):
            anchor = f"oshp-lite-{command[1]}"
            known = anchor in self.config.book_commands
            return self._to("commands", anchor, node.deepcopy()) if known else None
        name = text.partition("(")[0].removesuffix(".py").replace("/", ".")
        if not _NAME.fullmatch(name) or not ("_" in name or "." in name or re.search("[a-z][A-Z]|[A-Z]{2}[a-z]", name)):
            return None
        place = self.names.get(name)
        return self._to(*place, node.deepcopy()) if place else None

    def _text(self, node: nodes.Text) -> None:
        text, pieces, end = node.astext(), list[nodes.Node](), 0
        for group in _NOTEBOOKS.finditer(text):
            numbers = list(re.finditer(r"\d\d", group[0]))
            for index, number in enumerate(numbers):
                start, stop = group.start() + number.start(), group.start() + number.end()
                start = group.start() if index == 0 and len(numbers) == 1 else start
                page = self.config.book_pages.get(f"notebooks/{number[0]}")
                link = self._to(page, "", nodes.Text(text[start:stop])) if page else None
                if link is not None:
                    pieces += [nodes.Text(text[end:start]), link]
                    end = stop
        if pieces and node.parent is not None:
            node.parent.replace(node, [*pieces, nodes.Text(text[end:])])


class Enlarge(SphinxPostTransform):
    """Let every picture lead to its file, where it can be seen at its own size: a phone shows it small."""

    default_priority = 900

    def run(self, **kwargs: Any) -> None:
        """Wrap the page's pictures that are in no link."""
        here = PurePosixPath(self.env.docname).parent
        for image in list(self.document.findall(nodes.image)):
            known = self.env.images.get(image["uri"])
            if known is not None and not _inside(image, (nodes.reference,)):
                address = "../" * len(here.parts) + f"_images/{known[1]}"
                link = nodes.reference("", "", image.deepcopy(), refuri=address, classes=["enlarge"], internal=True)
                image.replace_self(link)


def _inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


@lru_cache(maxsize=1)  # pages are written one after the other, when all names are known
def _names(env: Any) -> dict[str, tuple[str, str]]:
    """Public name -> page and anchor: whole, without `oshp_lite`, and by its last parts where only one has them."""
    domain = env.domains["py"]
    known: dict[str, set[tuple[str, str]]] = {}
    for name, entry in [*domain.objects.items(), *domain.modules.items()]:
        parts = name.split(".")
        for count in {len(parts), len(parts) - 1, 2, 1} - {0}:
            known.setdefault(".".join(parts[-count:]), set()).add((entry.docname, entry.node_id))
    return {name: next(iter(places)) for name, places in known.items() if len(places) == 1}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    for name, default in (("alternatives", {}), ("pages", {}), ("commands", ())):
        app.add_config_value(f"book_{name}", default, "")
    app.add_html_math_renderer("katex", inline_renderers=(_inline, None), block_renderers=(_display, None))
    app.connect("doctree-read", describe_pictures)
    app.connect("doctree-read", drop_foreign_types)
    app.add_post_transform(Links)
    app.add_post_transform(Enlarge)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
