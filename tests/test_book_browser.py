"""The built book in a real browser: page after page, the search, narrow and wide, light and dark, offline."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from book_pages import Site, build_once

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (a package of the distribution)"),
]

STATE = """() => ({
    formulas: document.querySelectorAll(".math").length,
    set: document.querySelectorAll(".math > .katex, .math > .katex-display").length,
    wrong: [...document.querySelectorAll(".katex-error")].map(place => place.textContent),
    sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    broken: [...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src),
    title: document.querySelector("article h1, [role=main] h1")?.textContent ?? "",
})"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return build_once(tmp_path_factory)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright_api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def opened(chromium: Any, width: int, scheme: str) -> Any:
    """A page that collects what a reader must not meet: errors in the console, requests that leave the machine."""
    page = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
    page.set_default_timeout(120_000)
    page.faults = []
    page.on("console", lambda message: message.type == "error" and page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    local = ("file:", "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(local) or page.faults.append(request.url))
    return page


def test_every_page_reads_well_on_a_phone(chromium: Any, site: Site) -> None:
    """From the first page on by its "next" links, 390 px wide and dark."""
    page = opened(chromium, 390, "dark")
    page.goto((site.folder / "index.html").as_uri())
    seen: list[str] = []
    formulas = 0
    while True:
        name = page.url.partition(site.folder.as_uri())[2].partition("#")[0]
        state = page.evaluate(STATE)
        assert name not in seen, "the pages run in a circle"
        seen.append(name)
        assert state["formulas"] == state["set"], name
        assert not state["wrong"], f"{name}: {state['wrong']}"
        assert state["sideways"] <= 0, f"{name} is {state['sideways']} px too wide"
        assert not state["broken"], name
        assert state["title"].strip(), name
        formulas += state["formulas"]
        onward = page.locator("a.next-page")
        if not onward.count():
            break
        with page.expect_navigation(wait_until="load"):
            onward.first.evaluate("link => link.click()")
    assert len(seen) == len(
        [path for path in site.folder.rglob("*.html") if path.name not in {"search.html", "genindex.html"}]
    )
    assert formulas > 150
    assert not page.faults, page.faults


def test_a_search_finds_a_term_and_leads_to_it(chromium: Any, site: Site) -> None:
    page = opened(chromium, 1280, "light")
    page.goto((site.folder / "index.html").as_uri())
    field = page.locator("input.sidebar-search")
    field.fill("masked average pooling")
    field.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("() => !document.querySelector('#search-progress')?.textContent.includes('...')")
    hits = page.locator("#search-results li a")
    names = [hits.nth(index).inner_text() for index in range(hits.count())]
    assert any("Prototypes" in name for name in names[:6]), names
    with page.expect_navigation(wait_until="load"):  # excerpts that arrive late move the links, so none is aimed at
        hits.nth(next(index for index, name in enumerate(names) if "Prototypes" in name)).evaluate(
            "link => link.click()"
        )
    page.wait_for_selector("article h1")
    assert "03_prototype_math" in page.url
    assert not page.faults, page.faults


def test_code_is_cut_shown_and_hidden(chromium: Any, site: Site) -> None:
    page = opened(chromium, 1280, "light")
    page.goto((site.folder / "notebooks/03_prototype_math.html").as_uri())
    cut = page.locator(".cell_input.cut").first
    before = cut.bounding_box()["height"]
    more = cut.locator("button.more")
    cell = page.locator(".cell_input:has(button.more)").first
    assert more.get_attribute("aria-expanded") == "false"
    more.press("Enter")
    assert cell.bounding_box()["height"] > before
    assert cell.locator("button.more").get_attribute("aria-expanded") == "true"
    page.get_by_role("button", name="Hide code").click()
    assert page.locator(".cell_input:visible").count() == 0
    assert page.locator(".cell_output:visible").count() > 5
    page.reload()
    assert page.get_by_role("button", name="Show code").is_visible(), "the choice is kept"
    assert not page.faults, page.faults


def test_dark_and_light_differ_and_figures_stay_on_paper(chromium: Any, site: Site) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        page = opened(chromium, 1280, scheme)
        page.goto((site.folder / "notebooks/00_tour.html").as_uri())
        ground = "place => getComputedStyle(document.querySelector(place)).backgroundColor"
        grounds[scheme] = page.evaluate(ground, "body")
        assert page.evaluate(ground, ".cell_output img") == "rgb(255, 255, 255)"
        assert page.locator(".cell_output img").first.bounding_box()["width"] <= 760
    assert grounds["light"] != grounds["dark"]


EXPLORERS = {
    "03_prototype_math": ["feature space", "prototype lens"],
    "04_agm_npm_dml": ["AGM and NPM"],
    "08_contenders": ["recorded predictions", "recorded predictions"],
    "11_inspect": ["prototype lens", "prototype lens", "feature space", "method comparison"],
    "13_semantic_transfer": ["relatives of a class"],
    "14_instance_level_parsing": ["people of a crowd"],
}
"""The explorers of each notebook in order, by the beginning of their titles."""


@pytest.mark.parametrize("name", EXPLORERS)
def test_explorers_follow_pointer_keys_and_controls_without_a_kernel(chromium: Any, site: Site, name: str) -> None:
    """Hover, drag along a photo, arrow keys, and the first control that can move: each changes what is shown."""
    page = opened(chromium, 1280, "dark")
    page.goto((site.folder / f"notebooks/{name}.html").as_uri())
    places = page.locator("[data-live].oshp")
    places.first.wait_for()
    assert places.count() == len(EXPLORERS[name])
    for index in range(places.count()):
        explorer = places.nth(index)
        photo, say = explorer.locator("canvas[tabindex]").first, explorer.locator(".say").last
        ground = explorer.evaluate("one => getComputedStyle(one).backgroundColor")
        assert ground == "rgba(0, 0, 0, 0)", "light words on the page's dark ground, not on a table's paper"
        photo.scroll_into_view_if_needed()
        box = photo.bounding_box()
        said = [say.inner_text()]

        def point(down: float, box: dict[str, float] = box) -> None:
            page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + down * box["height"])

        point(0.2)
        page.mouse.down()
        for step in (0.4, 0.6, 0.9):
            point(step)
            said.append(say.inner_text())
        page.mouse.up()
        assert len(set(said)) == 4, f"{name}, explorer {index}: the words follow the pointer, {said}"
        page.mouse.move(2, 2)
        before = explorer.evaluate(DRAWN)
        photo.focus()
        photo.press("ArrowUp")
        photo.press("ArrowUp")
        assert explorer.evaluate(DRAWN) != before, f"{name}, explorer {index}: keys"
        before = explorer.evaluate(DRAWN)
        control = explorer.locator("select:enabled, input[type=range]:enabled").first
        if control.evaluate("one => one.tagName") == "SELECT":
            control.select_option(index=control.evaluate("one => (one.selectedIndex + 1) % one.length"))
        else:
            control.press("ArrowRight")
        assert explorer.evaluate(DRAWN) != before, f"{name}, explorer {index}: its first control"
    assert not page.faults, page.faults


DRAWN = """root => [...root.querySelectorAll("canvas")].map(one => one.toDataURL()).join() + root.innerText"""
"""What an explorer shows, pictures and words."""


def test_without_scripts_a_reader_sees_a_picture(chromium: Any, site: Site) -> None:
    """As on GitHub, where scripts are taken out of a notebook."""
    page = chromium.new_context(java_script_enabled=False).new_page()
    for name, titles in EXPLORERS.items():
        page.goto((site.folder / f"notebooks/{name}.html").as_uri())
        pictures = page.locator(".oshp-explorer img")
        shown = [pictures.nth(index) for index in range(pictures.count())]
        for picture, title in zip(shown, titles, strict=True):
            assert picture.get_attribute("alt").startswith(title)
            box = picture.bounding_box()
            assert box["width"] > 300
            assert box["height"] > 150
