"""The book as static pages: what is in it, that every link leads somewhere, and what bad input gets."""

from __future__ import annotations

import base64
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from book_pages import ROOT, Reader, Site, build_once
from hypothesis import given
from hypothesis import strategies as st

from oshp_lite.book.equations import EQUATIONS
from oshp_lite.book.site import build
from oshp_lite.book.site.build import MARK, build_book, check_place
from oshp_lite.book.site.chapters import WIDGET, Chapter, blocks, prepare, read_chapters
from oshp_lite.book.site.check import faults
from oshp_lite.book.site.pages import glossary, read_glossary
from oshp_lite.book.site.reference import markdown, reference_pages
from oshp_lite.cli import main
from oshp_lite.errors import UserError

PIXEL, OTHER, THIRD = (base64.b64encode(f"picture {number}".encode()).decode() for number in range(3))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return build_once(tmp_path_factory)


def notebook(folder: Path, *cells: dict[str, Any], name: str = "00_first.ipynb") -> Path:
    """A folder with one notebook of these cells."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def prose(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": [f"{line}\n" for line in lines]}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": source, "outputs": list(outputs)}


def shown(**data: Any) -> dict[str, Any]:
    kinds = {"png": "image/png", "plain": "text/plain", "html": "text/html", "widget": WIDGET}
    return {"output_type": "display_data", "metadata": {}, "data": {kinds[key]: value for key, value in data.items()}}


def printed(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": [text]}


@pytest.fixture(scope="module")
def chapters() -> list[Chapter]:
    return read_chapters(ROOT / "notebooks")


# what is read from the notebooks


def test_a_chapter_says_what_its_first_cell_says(tmp_path: Path) -> None:
    opening = (
        "# 03 · Prototypes: one vector\n\nA first sentence. A second.\n\n**Time** five minutes\nto read. **Needs** x."
    )
    (chapter,) = read_chapters(
        notebook(tmp_path, prose(*opening.split("\n")), code("1", printed("1")), name="03_a.ipynb")
    )
    assert (chapter.number, chapter.title, chapter.short) == ("03", "Prototypes: one vector", "03 · Prototypes")
    assert chapter.promise == "A first sentence. A second."
    assert chapter.time == "Five minutes to read"


def test_every_notebook_of_the_repository_has_a_promise_and_a_time(chapters: list[Chapter]) -> None:
    for chapter in chapters:
        if chapter.folder == "notebooks":
            assert len(chapter.promise) > 60, chapter.path.name
            assert re.search(r"minute|second|hour", chapter.time), chapter.path.name


LINES = st.sampled_from(["text", "", "    indented", "- item", "```", "$$", "# head", "  "])


@given(st.lists(LINES, max_size=14))
def test_blocks_lose_nothing_and_keep_fences_whole(lines: list[str]) -> None:
    text = "\n".join(lines)
    parts = blocks(text)
    assert re.sub(r"\s+", "", "".join(parts)) == re.sub(r"\s+", "", text)
    for part in parts[:-1]:  # only the last may hold a fence that nobody closed
        assert len(re.findall(r"^```", part, re.M)) % 2 == 0 or "$$" in part


def test_a_place_gets_an_anchor_before_its_paragraph(tmp_path: Path) -> None:
    opening = prose("# T", "", "Learn what a **term** is this time.")
    text = prose("## 1", "", "First.", "", "A **term** is", "this.", "", "$$x \\tag{4}$$")
    (chapter,) = read_chapters(notebook(tmp_path, opening, text, code("1", printed("1"))))
    assert chapter.anchor("one", "absent", "**Term** is this") == "#one"
    assert chapter.anchor("two", r"\tag{4}") == "#two"
    assert chapter.anchor("three", "absent") is None
    source = prepare(chapter, {})["cells"][1]["source"]
    assert "First.\n\n(one)=\nA **term** is" in source
    assert "(two)=\n$$x" in source


def test_pictures_get_their_description_as_text(tmp_path: Path) -> None:
    named, nameless = (
        shown(png=PIXEL, plain="<two people>"),
        shown(png=OTHER, plain="<Figure size 6x4 with 1 Axes>"),
    )
    own = shown(png=THIRD, plain="<two people>")
    own["metadata"] = {"image/png": {"alt": "its own"}}
    cells = (prose("# T", "", "## A *section*"), code("draw()", named, nameless, own))
    texts: dict[str, str] = {}
    prepare(read_chapters(notebook(tmp_path, *cells))[0], texts)
    assert list(texts.values()) == ["two people", "figure of the section “A section”", "its own"]


def test_only_what_needs_no_kernel_stays(tmp_path: Path) -> None:
    still, dead = shown(widget={"model_id": "1"}, html="<b>still</b>", plain="W()"), shown(widget={}, plain="W()")
    bar, warning = printed("a: 100%|███| 3/3 [00:01<00:00]\n", "stderr"), printed("UserWarning: x", "stderr")
    (chapter,) = read_chapters(notebook(tmp_path, prose("# T"), code("w", still, dead, bar, warning, printed("kept"))))
    outputs = prepare(chapter, {})["cells"][1]["outputs"]
    assert [output["output_type"] for output in outputs] == ["display_data", "stream", "stream"]
    assert set(outputs[0]["data"]) == {"text/html", "text/plain"}
    assert "UserWarning" in outputs[1]["text"][0]


# glossary, reference, recipes


def test_every_symbol_and_term_is_introduced_where_the_glossary_says(chapters: list[Chapter]) -> None:
    entries = glossary({chapter.number: chapter for chapter in chapters if chapter.folder == "notebooks"})
    lost = [f"{entry.name} (notebook {entry.notebook})" for entry in entries if not entry.place]
    assert not lost, f"their words are no longer in the prose; mend `at` in glossary.yaml: {lost}"
    assert len({entry.place for entry in entries}) == len(entries), "two entries with one name"


def test_the_glossary_has_the_symbols_of_the_equations() -> None:
    symbols = " ".join(row["tex"] for row in read_glossary()["symbols"])
    for one in EQUATIONS:
        for name in re.findall(r"\\(alpha|beta|tau|omega|varphi|Lambda|lambda|tilde|hat)\b", one.latex):
            assert f"\\{name}" in symbols, f"equation {one.paper} {one.number} uses \\{name}"


def test_the_reference_has_every_public_function_and_class() -> None:
    pages = reference_pages(ROOT / "oshp_lite")
    for room, module, name in (
        ("oshp_lite.models.modules", "prototypes", "masked_average"),
        ("oshp_lite.data", "episode", "Episode"),
        ("oshp_lite.engine", "metrics", "score_kway"),
    ):
        loaded = getattr(import_module(f"{room}.{module}"), name)
        assert f"}} {name}(" in pages[room]
        assert loaded.__doc__.splitlines()[0].split("`")[0].split("_")[0].split("[")[0][:40] in pages[room]
    assert "oshp_lite.cli" not in pages


def test_the_reference_writes_each_kind_of_name_once(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/__init__.py").write_text('"""A room."""', encoding="utf-8")
    (tmp_path / "p/m.py").write_text(
        '"""Things."""\nfrom oshp_lite.fields import Kind\nN: int = 3\n"""How many."""\nM = 4\n_H = 1\n"""Hidden."""\n'
        '@dataclass\nclass A:\n    """One."""\n    x: int = 2\n    y: ClassVar[int] = 1\n'
        '    @property\n    def z(self) -> Kind:\n        """Z."""\n'
        '    @z.setter\n    def z(self, value: Kind) -> None:\n        """Z."""\n'
        '    @classmethod\n    def of(cls, *, n: int) -> A:\n        """Of."""\n'
        '    @staticmethod\n    def still(a: int) -> int:\n        """Still."""\n',
        encoding="utf-8",
    )
    page = reference_pages(tmp_path / "p")["p"]
    directives = re.findall(r"^:+\{py:(\w+)\} (.+)$(?:\n(:\w+:.*)$)?", page, re.M)
    assert directives == [
        ("module", "p", ""),
        ("module", "p.m", ""),
        ("data", "N", ""),
        ("class", "A(x: int = 2)", ""),
        ("property", "z", ":type: oshp_lite.fields.Kind"),
        ("method", "of(*, n: int) -> p.m.A", ":classmethod:"),
        ("method", "still(a: int) -> int", ":staticmethod:"),
    ]


def test_a_docstring_becomes_markdown_that_means_the_same() -> None:
    text = "Mean of `x_c` over a_b [B,C].\n\nname   what *it* is\n       and more\nother  this\n\n    a = b\n\nEnd."
    assert markdown(text) == (
        "Mean of `x_c` over a\\_b \\[B,C\\].\n\n- **name** — what \\*it\\* is and more\n- **other** — this\n\n"
        "```text\na = b\n```\n\nEnd."
    )


def test_the_recipes_use_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    pages = ROOT / "oshp_lite/book/site/pages"
    recipes = "".join((pages / name).read_text(encoding="utf-8") for name in ("howto.md", "cluster.md"))
    lines = re.findall(r"^    oshp-lite (.+)$", recipes, re.M)
    assert len(lines) > 8
    for line in lines:
        command, *words = line.split()
        assert main([command, "--help"]) == 0
        told = re.sub("[^ -~]", " ", capsys.readouterr().out)
        missing = [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", told)]
        assert not missing, f"oshp-lite {command} has no {missing}"


# bad input


def refused(tmp_path: Path, notebooks: Path, out: Path | None = None) -> str:
    with pytest.raises(UserError) as error:
        build_book(out or tmp_path / "out", notebooks)
    assert not (tmp_path / "out").exists()
    return str(error.value)


def test_bad_notebooks_get_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb")
    assert "no folder" in refused(tmp_path, tmp_path / "absent")
    assert "no numbered notebooks" in refused(tmp_path, notebook(tmp_path / "other", prose("# T"), name="other.ipynb"))
    unexecuted = notebook(tmp_path / "never", prose("# T"), code("print(1)"))
    assert re.search(r"00_first.ipynb has no outputs; execute it first \(make notebooks", refused(tmp_path, unexecuted))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/00_x.ipynb").write_text("{", encoding="utf-8")
    assert "00_x.ipynb" in refused(tmp_path, tmp_path / "broken")
    (tmp_path / "broken/00_x.ipynb").write_text("[]", encoding="utf-8")
    assert "is not a notebook" in refused(tmp_path, tmp_path / "broken")


def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(name: str) -> Any:
        if name == "myst_nb":
            raise ModuleNotFoundError(name)

    monkeypatch.setattr(build, "import_module", without)
    assert main(["book", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: the book needs myst-nb; install pip install -e '.[book]'\n"


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    check_place(foreign)  # an empty one is free
    check_place(tmp_path / "absent")
    (foreign / "index.html").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="holds something else than a book and is left alone"):
        check_place(foreign)
    assert (foreign / "index.html").read_text(encoding="utf-8") == "mine"
    (foreign / MARK).touch()
    check_place(foreign)
    with pytest.raises(UserError, match="there is a file of that name"):
        check_place(foreign / "index.html")


def test_the_check_finds_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<p id="here">x</p>', encoding="utf-8")
    (tmp_path / "s.css").write_text("a { background: url(//cdn.example/x.png) }", encoding="utf-8")
    body = (
        '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a><a href="#nowhere">4</a>'
        '<a href="https://example.org">5</a><img src="b.html"><img src="b.html" alt="x">'
        '<script src="https://cdn.example/x.js"></script><img src="data:image/png;base64,AA" alt=" ">'
    )
    (tmp_path / "a.html").write_text(body, encoding="utf-8")
    assert sorted(fault.partition(": ")[2][:44] for fault in faults(tmp_path)) == sorted(
        [
            "b.html#gone has no such anchor",
            "c.html leads nowhere",
            "#nowhere has no such anchor",
            "https://cdn.example/x.js is loaded from else",
            "the picture b.html has no alternative text",
            "the picture data:image/png;base64,AA has no ",
            "//cdn.example/x.png is loaded from elsewhere",
        ]
    )


# the built book


@pytest.mark.slow
def test_the_book_is_built_without_a_fault(site: Site) -> None:
    """No warning of Sphinx, no dead link, no picture without text, nothing from elsewhere; within the budget."""
    assert site.code == 0, site.said[-3000:]
    assert "fault" not in site.said
    assert (site.folder / MARK).is_file()
    assert site.seconds < 120, "processor seconds of a build; 90 s on two idle cores is the limit"


@pytest.mark.slow
def test_a_page_for_each_notebook_in_reading_order(site: Site, chapters: list[Chapter]) -> None:
    walk, name = [], "index.html"
    while name and len(walk) < 200:
        walk.append(name)
        page = (site.folder / name).read_text(encoding="utf-8")
        onward = re.search(r'<a class="next-page" href="([^"#]+)', page)
        name = (Path(name).parent / onward[1]).as_posix() if onward else ""
        name = re.sub(r"[^/]+/\.\./", "", name)
    wanted = [f"{chapter.page}.html" for chapter in chapters]
    assert [name for name in walk if name in wanted] == wanted
    assert {"howto.html", "cluster.html", "commands.html", "glossary.html", "equations.html", "cite.html"} <= set(walk)


@pytest.mark.slow
def test_notebooks_keep_their_pictures_code_and_formulas(site: Site, chapters: list[Chapter]) -> None:
    for chapter in chapters:
        page = Reader(site.folder / f"{chapter.page}.html")
        texts: dict[str, str] = {}
        prepare(chapter, texts)
        pictures = [image for image in page.images if "_images/" in image["src"]]
        assert {image["alt"] for image in pictures} == set(texts.values()), chapter.page
        assert not [text for text in texts.values() if re.search(r"object at 0x|Figure size|^<", text)]
        html = (site.folder / f"{chapter.page}.html").read_text(encoding="utf-8")
        formulas = sum(
            "".join(cell["source"]).count("$$") // 2 for cell in chapter.cells if cell["cell_type"] == "markdown"
        )
        assert html.count('class="math display') >= formulas, chapter.page


@pytest.mark.slow
def test_the_table_of_equations_leads_to_function_and_notebook(site: Site) -> None:
    page = Reader(site.folder / "equations.html")
    links = {(text, address) for address, text in page.links}
    for one in EQUATIONS:
        assert one.test.partition("::")[2] in page.text
        room = one.module.rpartition(".")[0]
        assert (one.name, f"reference/{room}.html#{one.module}.{one.name}") in links
        place = re.compile(rf"notebooks/{one.notebook:02d}_\w+\.html#equation-{one.paper}-{one.number}$")
        assert any(place.match(address) for _, address in links), f"{one.paper} {one.number} has no place"


@pytest.mark.slow
def test_prose_links_to_notebooks_functions_commands_and_solutions(site: Site) -> None:
    links = Reader(site.folder / "notebooks/03_prototype_math.html").links
    assert ("04_agm_npm_dml.html", "Notebook 04") in links or ("04_agm_npm_dml.html", "notebook 04") in links
    assert any(address == "../solutions/03_prototype_math.html" for address, _ in links)
    assert any(address.endswith("#oshp_lite.models.modules.metric.cosine_maps") for address, _ in links)
    assert any(
        address == "../commands.html#oshp-lite-parse"
        for address, _ in Reader(site.folder / "notebooks/00_tour.html").links
    )


@pytest.mark.slow
def test_the_citations_name_all_authors(site: Site) -> None:
    text = Reader(site.folder / "cite.html").text
    for word in ("@article{he2023", "@inproceedings{he2021", "He, Haoyu and Zhang, Jing", "2105.01241", "2012.11810"):
        assert word in text
