"""The pages without a kernel in a real browser: pointer, keys and controls do what Python computes, offline."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oshp_lite.book.crowd import crowd
from oshp_lite.book.lessons import dual_metric, relations
from oshp_lite.book.lessons.people import kept_network
from oshp_lite.book.lessons.record import read_lesson
from oshp_lite.book.widgets.comparison import Contender, method_comparison
from oshp_lite.book.widgets.dual_metric import dual_metric_explorer
from oshp_lite.book.widgets.feature_space import feature_space
from oshp_lite.book.widgets.lens import prototype_lens
from oshp_lite.book.widgets.people import METRICS, crowd_people
from oshp_lite.book.widgets.relations import MEASURES, class_relations, drawn_photos
from oshp_lite.book.widgets.source import Source, open_source
from oshp_lite.data.registry import SyntheticConfig
from oshp_lite.labels import fold
from oshp_lite.models.base import PredictOptions

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (a package of the distribution)"),
]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Source:
    scenes = SyntheticConfig(n_train=8, n_test=8, size=64, seed=1)
    return open_source(data=tmp_path_factory.mktemp("data"), people=scenes)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as tools:
        started = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(params=[1280, 390])
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": request.param, "height": 900})
    opened.set_default_timeout(60_000)
    opened.faults = []
    opened.on("console", lambda message: message.type == "error" and opened.faults.append(message.text))
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("request", lambda one: one.url.startswith(("file:", "data:")) or opened.faults.append(one.url))
    yield opened
    wide = opened.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "nothing sticks out of the page"
    controls = "input, select, button, canvas:not([aria-hidden])"
    unnamed = opened.evaluate(
        "controls => [...document.querySelector('.oshp').querySelectorAll(controls)].filter(one => "
        "!(one.labels?.length || one.getAttribute('aria-label') || one.innerText)).map(one => one.outerHTML)",
        controls,
    )
    assert unnamed == []
    assert not opened.faults
    opened.close()


def bars(page: Any) -> dict[str, float]:
    pairs = page.eval_on_selector_all(
        ".oshp .bar", "all => all.map(one => [one.querySelector('b').innerText, one.querySelector('.num').innerText])"
    )
    return {name: float(number) for name, number in pairs}


def control(page: Any, words: str) -> Any:
    return page.get_by_label(words, exact=False).first


def test_the_lens_shows_what_python_computes(people: Source, page: Any, tmp_path: Path) -> None:
    explorer = prototype_lens(people, 0, 4)
    state, names = explorer.state, people.names
    explorer.save(tmp_path / "lens.html")
    page.goto((tmp_path / "lens.html").as_uri())
    canvas = page.locator(".oshp canvas").first
    canvas.wait_for()

    def same() -> None:
        assert bars(page) == pytest.approx({names[c]: value for c, value in state.bars().items()}, abs=0.012)

    same()
    box, (rows, columns) = canvas.bounding_box(), state.truth.shape
    at_pin = bars(page)
    page.mouse.move(box["x"] + 2.5 * box["width"] / columns, box["y"] + 3.5 * box["height"] / rows)
    pinned = {"row": state.row, "column": state.column}
    state.take({"row": 3, "column": 2})
    same()
    assert bars(page) != at_pin
    page.mouse.move(1, 1)
    assert bars(page) == at_pin, "the pin stays while the pointer only hovers"
    state.take(pinned)
    canvas.focus()
    canvas.press("ArrowDown")
    canvas.press("Shift+ArrowLeft")
    state.take({"row": state.row + 1, "column": state.column - 5})
    same()
    control(page, "momentum α").fill("0.3")
    state.take({"momentum": 0.3})
    same()
    control(page, "prototypes").select_option("false")
    state.take({"memory": False})
    same()
    assert control(page, "momentum α").is_disabled()
    assert control(page, "NPM scale").is_disabled(), "a cosine has no scale"
    control(page, "map").select_option("probability")
    assert not control(page, "NPM scale").is_disabled()
    assert control(page, "temperature").is_disabled()
    control(page, "scores").select_option("false")
    assert control(page, "NPM scale").is_disabled()
    assert not control(page, "temperature").is_disabled()


def test_the_comparison_sorts_and_points(people: Source, page: Any, tmp_path: Path) -> None:
    rivals = {"npm": Contender(people), "agm": Contender(people, PredictOptions(source="agm", screening=False))}
    explorer = method_comparison(rivals, 0, 4)
    state = explorer.state
    explorer.save(tmp_path / "comparison.html")
    page.goto((tmp_path / "comparison.html").as_uri())
    page.locator(".oshp canvas").first.wait_for()

    def captions() -> list[str]:
        return page.locator(".oshp figcaption").all_inner_texts()[3:]

    for class_id in (0, *state.ids):
        for order in ("worst", "best", "given"):
            control(page, "class").select_option(str(class_id))
            control(page, "order").select_option(order)
            state.take({"class_id": class_id, "order": order})
            scores = {name: state.iou(name) for name in state.ordered()}
            assert captions() == [
                f"{name}: IoU {'none' if value != value else format(value, '.2f')}" for name, value in scores.items()
            ]
    box, (rows, columns) = page.locator(".oshp canvas").nth(1).bounding_box(), state.truth.shape
    place = (state.truth == state.ids[1]).nonzero()
    row, column = int(place[0][0]), int(place[1][0])
    x, y = box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + (row + 0.5) * box["height"] / rows
    page.mouse.move(x, y)
    said = page.locator(".oshp .say").inner_text()
    assert f"in truth {people.names[state.ids[1]]}" in said
    for name, parse in state.parses.items():
        assert f"{name}: {({0: 'background'} | people.names)[int(parse[row, column])]}" in said


def test_the_feature_space_links_photos_and_scatter(people: Source, page: Any, tmp_path: Path) -> None:
    explorer = feature_space(people, 0, 4)
    explorer.save(tmp_path / "space.html")
    page.goto((tmp_path / "space.html").as_uri())
    canvas = page.locator(".oshp canvas").first
    canvas.wait_for()
    scatter = page.locator(".oshp canvas").nth(4)
    drawn = "one => one.toDataURL()"
    before = scatter.evaluate(drawn)
    canvas.focus()
    canvas.press("ArrowDown")
    assert "of the query" in page.locator(".oshp .say").inner_text()
    marked = scatter.evaluate(drawn)
    assert marked != before
    control(page, "support").select_option(str(explorer.state.supports[1]))
    assert scatter.evaluate(drawn) != marked
    box = scatter.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "nearest prototype" in page.locator(".oshp .say").inner_text()


def test_the_modules_show_what_python_computes(page: Any, tmp_path: Path) -> None:
    lesson = read_lesson("dual-metric")
    explorer = dual_metric_explorer(dual_metric.state_of(lesson, "works", fold("synth-atr", 1)))
    state = explorer.state
    explorer.save(tmp_path / "modules.html")
    page.goto((tmp_path / "modules.html").as_uri())
    page.locator(".oshp canvas").first.wait_for()
    for step, class_id in ((0, state.class_id), (5, state.class_id), (5, next(iter(state.names)))):
        control(page, "β").fill(str(step))
        control(page, "class").select_option(str(class_id))
        state.take({"step": step, "class_id": class_id})
        captions = page.locator(".oshp figcaption").all_inner_texts()[1:]
        for caption, scores in zip(captions, (state.moments[step].agm, state.moments[step].npm), strict=True):
            shown = float(caption.rpartition("IoU ")[2])
            assert shown == pytest.approx(state.iou(scores), abs=0.03), "probabilities are bytes in the page"


def test_the_relations_show_what_python_computes(page: Any, tmp_path: Path) -> None:
    explorer = class_relations(
        relations.kept_network(), drawn_photos(("synth-pascal", "synth-atr", "synth-cihp"), 3), 2
    )
    state = explorer.state
    explorer.save(tmp_path / "relations.html")
    page.goto((tmp_path / "relations.html").as_uri())
    page.locator(".oshp canvas").first.wait_for()

    def same() -> None:
        names = state.space(state.into).names
        for place, (measure, title) in enumerate(MEASURES.items()):
            group = page.locator(".oshp .bars").nth(place)
            weights = state.relation(measure)[state.class_id]
            ids = [names.index(one.removesuffix(" ◀")) for one in group.locator("b").all_inner_texts()]
            numbers = [float(one) for one in group.locator(".num").all_inner_texts()]
            assert group.inner_text().startswith(title)
            rough = 0.02 if measure != "dynamic" else 0.02 + float(state.relation(measure).abs().max()) / 120
            assert numbers == pytest.approx([float(weights[c]) for c in ids], abs=rough)
            assert numbers == pytest.approx(list(state.strongest(measure).values()), abs=rough)

    same()
    control(page, "class of").select_option("synth-cihp")
    state.take({"of": "synth-cihp"})
    same()
    control(page, "relatives in").select_option("synth-pascal")
    control(page, "scale of the image").select_option("0")
    state.take({"into": "synth-pascal", "level": 0, "relative": 0})
    same()
    photo, (rows, columns) = page.locator(".oshp canvas").nth(0), state.maps[-1].shape[-2:]
    wanted = next(c for c in state.present("synth-cihp") if c != state.class_id)
    row, column = (int(one[0]) for one in (state.cells["synth-cihp"] == wanted).nonzero())
    box = photo.bounding_box()
    photo.click(position={"x": (column + 0.5) * box["width"] / columns, "y": (row + 0.5) * box["height"] / rows})
    state.take({"class_id": wanted, "relative": 0})
    same()
    assert state.space("synth-cihp").names[wanted] in page.locator(".oshp figcaption").nth(1).inner_text()
    page.locator(".oshp .bars").nth(0).locator("button").nth(1).press("Enter")
    assert page.evaluate("() => document.activeElement.matches('.bars button')"), "the focus stays where it was"


def test_the_people_show_what_python_computes(page: Any, tmp_path: Path) -> None:
    explorer = crowd_people(kept_network(), [crowd(index) for index in range(3)], 1, least=0.1)
    state = explorer.state
    explorer.save(tmp_path / "people.html")
    page.goto((tmp_path / "people.html").as_uri())
    page.locator(".oshp canvas").first.wait_for()

    def same() -> None:
        n, groups = state.count, page.locator(".oshp .bars")
        gain = state.added[n][state.person] if state.person < n else (0.0,) * len(METRICS)
        for place, values in enumerate((state.totals[n], gain)):
            numbers = [float(one) for one in groups.nth(place).locator(".num").all_inner_texts()]
            assert numbers == pytest.approx(list(values), abs=0.006)
        assert f"{n} of {len(state.regions)} count" in page.locator(".oshp figcaption").first.inner_text()

    same()
    for least in ("0.5", "0.02"):
        control(page, "score from").fill(least)
        state.take({"least": float(least)})
        same()
    own = state.labels_of(1)[1::2, 1::2] * (state.labels_of(0)[1::2, 1::2] == 0)
    row, column = (int(one[len(one) // 2]) for one in own.nonzero())
    photo = page.locator(".oshp canvas").nth(0)
    box = photo.bounding_box()
    photo.click(position={"x": (column + 0.5) * box["width"] / 128, "y": (row + 0.5) * box["height"] / 128})
    state.take({"person": 1})
    same()
    assert "person 2" in page.locator(".oshp figcaption").nth(1).inner_text()
    assert page.locator(".oshp .key button").nth(1).inner_text().endswith(state.matched[1].verdict)
    photo.press("ArrowRight")
    state.take({"person": 2 % len(state.regions)})
    same()
    page.locator(".oshp .key button").nth(0).press("Enter")
    assert page.evaluate("() => document.activeElement.matches('.key button')"), "the focus stays where it was"
