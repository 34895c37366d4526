"""A profile from end to end on a small book: executed, skipped when fresh, failures isolated, report written."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from oshp_lite import files as places
from oshp_lite.cli import main
from oshp_lite.data.registry import dataset_folder
from oshp_lite.engine.runs import RunStore
from oshp_lite.errors import UserError
from oshp_lite.study import exhibits, notebooks, plan, references, report, reproduce
from oshp_lite.study.execute import Executor, Outcome, Task, run_tasks
from oshp_lite.study.experiments import matrix
from oshp_lite.study.notebooks import load_notebook, save_notebook
from oshp_lite.study.pages import math_svg, write_page
from oshp_lite.study.processes import Ended
from oshp_lite.study.records import RunKey
from oshp_lite.study.results import load_results, record

pytest.importorskip("papermill")
pytest.importorskip("nbconvert")

TOUR = ["# 00 A tour with $\\alpha$", 'profile = "smoke"', "print(profile)"]
BROKEN = ["# 03 Broken", "seed = 0", "raise RuntimeError('no luck')"]
TRAIN = [
    "# 07 Train",
    'profile = "smoke"\ndataset = "synth-atr"\nfold = 1\nway = "k"\nseed = 0',
    "from oshp_lite.engine.presets import load_profile\n"
    "from oshp_lite.engine.runs import RunStore\n"
    "config = load_profile(profile, {'data.fold': fold}, dataset=dataset, way=way)\n"
    "run = RunStore().ensure(config, progress=False)\n"
    "print(run.scores['human_miou'])",
]


def small_book(folder: Path, **books: list[str]) -> Path:
    """A checkout with these notebooks: title, parameters, code cells."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("")
    for name, (title, parameters, *code) in books.items():
        cells: list[dict] = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": title}]
        for number, source in enumerate([parameters, *code]):
            tags = {"tags": ["parameters"]} if number == 0 else {}
            cells.append(
                {
                    "cell_type": "code",
                    "id": f"c{number}",
                    "metadata": tags,
                    "source": source,
                    "outputs": [],
                    "execution_count": None,
                }
            )
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        save_notebook(
            folder / "notebooks" / f"{name[1:]}.ipynb",
            {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5},
        )
    return folder


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout that is the working folder; data, runs and reports lie inside it."""
    root = small_book(tmp_path / "book", _00_tour=TOUR, _03_broken=BROKEN, _07_train=TRAIN)
    monkeypatch.chdir(root)
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(root / name.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return root


def remote(text: str) -> list[str]:
    """Addresses that a browser would fetch when the page is opened."""
    return re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*[\"']https?:[^\"']*", text)


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.timeout(1800)
def test_a_profile_from_end_to_end(
    book: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [
        key
        for key in matrix("smoke")
        if key == RunKey(key.method, "synth-atr", 1, "k") and key.method in ("eopnet", "label_transfer", "persam")
    ]
    monkeypatch.setattr(reproduce, "matrix", lambda profile, steps: few)
    monkeypatch.setenv("OSHP_SAM_WEIGHTS", str(book / "none"))
    monkeypatch.setattr(exhibits, "PICTURES", exhibits.PICTURES[:1])  # `test_matrix_smoke` draws them all
    monkeypatch.setattr(exhibits, "CHARTS", {"eopnet8f": exhibits.CHARTS["eopnet8f"]})
    make_exhibits, made = report.make_exhibits, []
    monkeypatch.setattr(report, "make_exhibits", lambda *given: made.append(make_exhibits(*given)) or made[-1])
    assert main(["reproduce", "--profile", "smoke", "--jobs", "2"]) == 1, "one notebook fails"
    told = capsys.readouterr().out
    assert "RuntimeError: no luck" in told
    folder = book / "reports" / "smoke"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {entry["notebook"]: entry["status"] for entry in manifest["entries"]} == {
        "00_tour.ipynb": "done",
        "03_broken.ipynb": "failed",
        "07_train.ipynb": "done",
    }
    texts = {path.name: html.unescape(path.read_text()) for path in folder.glob("*.html")}
    assert not any(remote(text) for text in texts.values())
    for words in ("EOP-Net", "trivial: copy", "ceiling", "data:image/png", "1-way", "Provenance", "needs SAM weights"):
        assert words in texts["runs.html"]
    assert "no luck" in texts["notebooks.html"]
    # EOP-Net in both ways, label transfer, and the ceiling, which is a declared row too
    assert "4 made on this machine" in texts["index.html"]
    assert "EOP-Net's Fig. 8" in texts["figures.html"]
    pattern = r'href="((?:notebooks|tables|figures)/[^"]+|claims\.[a-z]+)"'
    links = {link for text in texts.values() for link in re.findall(pattern, text)}
    assert len(links) > 60, "tables in five forms, figures in three, and the claims"
    for link in links:
        assert (folder / link).is_file()
        assert not link.endswith(".html") or not remote((folder / link).read_text())
    ended = {row["name"].split("-")[0]: row["status"] for row in manifest["matrix"]}
    assert ended["label_transfer"] == "made"
    assert ended["persam"] == "not run"
    assert {ended["init"], ended["eopnet"]} <= {"made", "found"}, "notebook 07 may have come first"
    results = json.loads((folder / "results.json").read_text())
    assert [group["training"]["way"] for group in results["groups"]] == ["k", "1"]
    assert set(results["groups"][0]["baselines"]) == {"background", "copy", "mean map", "colour"}
    runs = [path.parent for path in (book / "runs").glob("eopnet*/scores.json")]
    assert len(runs) == 2, "the table's EOP-Net row is the run of notebook 07"
    assert all((run / "notebook.ipynb").is_file() for run in runs)

    # tables, figures and claims stay the same from here on
    monkeypatch.setattr(report, "make_exhibits", lambda *_: made[0])
    # a second call skips what is finished and runs the failed one again; a mended notebook is not stale for long
    save_notebook(book / "notebooks/03_broken.ipynb", load_notebook(book / "notebooks/00_tour.ipynb"))
    assert main(["reproduce", "--profile", "smoke"]) == 0
    told = capsys.readouterr().out
    assert told.count("skipped") == 3
    assert main(["reproduce", "--profile", "smoke", "--only", "3"]) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["entries"]) == 4, "entries of the other notebooks stay"
    assert "trivial: copy" in (folder / "runs.html").read_text(), "and so do the scores"
    assert main(["report", "--profile", "smoke"]) == 0
    capsys.readouterr()
    rows_are_found_recorded_read_and_healed(book, capsys)


def rows_are_found_recorded_read_and_healed(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows that `reproduce` has made are `matrix`'s too; a damaged one fails alone."""
    words = ["--profile", "smoke", "--only", "eopnet", "label_transfer", "persam", "--no-notebooks"]
    assert main(["matrix", *words, "--list", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    full = [row for row in rows if row.get("way") == "k" and not row.get("ablation")]
    own, other, lacking = [row["index"] for row in full if row["condition"] == "papers"]
    assert main(["matrix", *words, "--index", str(own)]) == main(["matrix", *words, "--index", str(lacking)]) == 0
    told = capsys.readouterr().out
    assert "found    eopnet" in told
    assert re.search("not run  persam.*needs SAM weights", told)

    results = load_results("smoke")
    eopnet, transfer = (results.get(RunKey(name, "synth-atr", 1, "k")) for name in ("eopnet", "label_transfer"))
    assert eopnet.origin == "run here"
    assert eopnet.score("human") == pytest.approx(eopnet.scores["human_miou"])
    assert (eopnet.screened == eopnet.counts).all(), "EOP-Net screens its own answers already"
    assert (transfer.screened[:, :, :2].sum((1, 2)) <= transfer.counts.sum((1, 2))).all()
    assert "needs SAM weights" in results.get(RunKey("persam", "synth-atr", 1, "k")).reason
    assert len(record("smoke", folder=book / "kept")) == 4
    assert record("smoke", folder=book / "kept") == [], "nothing has changed"
    assert load_results("lite", committed=book / "kept").keys() == [], "a smoke result stands in for nothing"

    (run,) = (book / "runs").glob("label_transfer-*-kway-*")
    (run / "scores.json").write_text("{")
    damaged = ["matrix", *words, "--index", str(other)]
    assert main(damaged) == 1
    assert re.search(r"failed   label_transfer-synth-atr-fold1-kway.*--fresh", capsys.readouterr().out)
    assert main(["matrix", *words, "--index", str(own)]) == 0, "a damaged run fails its row alone"
    assert main([*damaged, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"due .* label_transfer-synth-atr-fold1-kway", out)
    assert re.search(rf"damaged: .*{run.name}.*--fresh", out)
    assert main([*damaged, "--fresh"]) == 0
    assert "made     label_transfer-synth-atr-fold1-kway" in capsys.readouterr().out
    assert main(damaged) == 0
    assert "found    label_transfer-synth-atr-fold1-kway" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.notebook
def test_a_notebook_is_executed_again_when_code_that_it_can_reach_changes(book: Path) -> None:
    package = book / "oshp_lite"
    shutil.copytree(places.PACKAGE_PARENT / "oshp_lite", package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """if True:
        from oshp_lite.cli import main
        from oshp_lite.study import reproduce
        reproduce.write_report = lambda *_: "left out"
        raise SystemExit(main(["reproduce", "--profile", "smoke", "--only", "00"]))
    """
    environment = {**os.environ, "PYTHONPATH": str(book)}

    def status() -> str:
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return next(line.split()[0] for line in done.stdout.splitlines() if "00_tour" in line)

    def change(file: str) -> None:
        with (package / file).open("a", encoding="utf-8") as stream:
            stream.write("\nANOTHER: int\n")

    assert status() == "done"
    change("data/synthetic/textures.py")
    assert status() == "done"
    change("cli/doctor.py")
    assert status() == "skipped", "a notebook does not reach the command line"


@pytest.mark.parametrize(
    "file",
    ["data/synthetic/textures.py", "data/prepare/ccp.py", "models/baselines/panet.py", "engine/profiles/lite.yaml"],
)
def test_all_that_a_notebook_can_reach_is_in_the_digest(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("a: 1")
    before = reproduce.book_digest(tmp_path)
    (tmp_path / file).write_text("a: 2")
    assert reproduce.book_digest(tmp_path) != before


def executor(book: Path, profile: str, overrides: Sequence[str] = ()) -> Executor:
    finder = plan.Finder(RunStore(book / "runs"), book / "data")
    return Executor(book / "out" / "matrix", profile, finder, overrides=overrides)


def test_plan_of_a_profile(book: Path) -> None:
    jobs = reproduce.notebook_jobs(executor(book, "quick"))
    names = [job.target.stem for job, _ in jobs]
    assert names[0] == "07_train-synth-atr-fold1-kway", "the longest first"
    listed = plan.trainings("quick", data=book / "data")
    assert [training.config.data.dataset for training in listed if training.reason] == ["ccp-os"]
    assert jobs[0][0].parameters == {"profile": "quick", "dataset": "synth-atr", "fold": 1, "way": "k"}
    (tour,) = [job for job, _ in jobs if job.source.stem == "00_tour"]
    assert tour.parameters == {"profile": "quick"}


def test_given_folders_reach_the_processes_and_leave_the_environment_alone(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OSHP_DATA")
    monkeypatch.delenv("OSHP_RUNS")
    orders: list[dict] = []

    def run_child(order: dict, environment: dict[str, str], **_: object) -> Ended:
        orders.append({**order, "data": environment.get("OSHP_DATA"), "runs": environment.get("OSHP_RUNS")})
        return Ended(1, "no luck")

    monkeypatch.setattr(notebooks, "run_child", run_child)
    monkeypatch.setattr(reproduce, "run_child", run_child)
    monkeypatch.setattr(reproduce, "write_report", lambda *_: "left out")
    monkeypatch.setattr(reproduce, "_draw_first", lambda *_: None)
    before = dict(os.environ)
    words = ["--only", "00", "07", "--data", str(book / "here"), "--runs", str(book / "there")]
    assert main(["reproduce", "--profile", "smoke", *words]) == 1
    works = {order["work"] for order in orders}
    assert works == {"oshp_lite.study.notebooks:papermill_here", "oshp_lite.study.references:ensure"}
    assert {(order["data"], order["runs"]) for order in orders} == {(str(book / "here"), str(book / "there"))}
    assert dict(os.environ) == before


def test_settings_reach_the_trainings_and_their_references(book: Path) -> None:
    settings = ["train.minutes=0.5", "data.size=48"]
    jobs = reproduce.notebook_jobs(executor(book, "smoke", settings), ["07"])
    (kway, oneway) = plan.trainings("smoke", settings)
    assert kway.config.train.minutes == 0.5
    assert kway.name != plan.trainings("smoke")[0].name, "kept apart from the profile's own"
    assert {job.target.stem for job, _ in jobs} == {f"07_train-{kway.name}", f"07_train-{oneway.name}"}
    top = references.ceiling_config("smoke", "synth-atr", 1, settings)
    assert (top.data.size, top.train.minutes, top.train.visible) == (48, 0.0, "all")
    with pytest.raises(UserError, match="unknown name 'minuets'"):
        reproduce.notebook_jobs(executor(book, "smoke", ["train.minuets=1"]))
    with pytest.raises(UserError, match="nothing"):
        reproduce.notebook_jobs(executor(book, "smoke", ["model.options.nothing=1"]))


@pytest.mark.parametrize("word", ["03", "3", "03_broken", "03_broken.ipynb"])
def test_notebooks_are_named_by_number_or_name(book: Path, word: str) -> None:
    assert [path.stem for path in reproduce.find_notebooks([word])] == ["03_broken"]


def test_unknown_notebook_and_no_checkout(book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"'09'.*00_tour"):
        reproduce.find_notebooks(["09"])
    shutil.rmtree(book / "notebooks")
    (book / "notebooks").mkdir()
    with pytest.raises(UserError, match="no numbered notebooks"):
        reproduce.find_notebooks()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "PACKAGE_PARENT", tmp_path)
    with pytest.raises(UserError, match="clone"):
        reproduce.find_notebooks()


def test_a_dataset_folder_may_be_named_itself(tmp_path: Path) -> None:
    from oshp_lite.engine.config import DataConfig

    wanted = DataConfig(dataset="ccp-os")
    assert dataset_folder(wanted, tmp_path) == tmp_path / "ccp-os"
    (tmp_path / "ccp").mkdir()
    (tmp_path / "ccp" / "dataset.json").write_text("{}")
    assert dataset_folder(wanted, tmp_path) == tmp_path / "ccp"
    (tmp_path / "dataset.json").write_text("{}")
    assert dataset_folder(wanted, tmp_path) == tmp_path


def test_equations_are_drawn_and_code_is_left_alone(tmp_path: Path) -> None:
    source = small_book(
        tmp_path / "b",
        _00_math=["# T\n\nInline $p_c$, `$code$`, \\$5.\n\n$$x = \\frac{1}{2}\\tag{1}$$\n", "a = 1"],
    )
    write_page(source / "notebooks" / "00_math.ipynb", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="math"') == 3, "two pictures, one of them in a paragraph of its own"
    assert 'alt="p_c"' in page
    assert "$code$" in page
    assert not remote(page)
    assert "<script" not in page


def test_every_equation_of_the_book_is_drawn(tmp_path: Path) -> None:
    """Equations that Matplotlib cannot draw would stand as TeX source between code marks."""
    book = Path(__file__).resolve().parents[1] / "notebooks"
    cells = [cell for path in sorted(book.rglob("*.ipynb")) for cell in load_notebook(path)["cells"]]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    math = [text for text in texts if "$" in text]
    root = small_book(tmp_path / "b", _00_math=["\n\n".join(math), "a = 1"])
    write_page(root / "notebooks" / "00_math.ipynb", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="math"') > 150
    assert not re.findall(r'<p class="math">\s*<code>', page)


def test_what_cannot_be_drawn_is_told() -> None:
    assert math_svg(r"\begin{cases} a \\ b \end{cases}", 13) is None


def test_places_on_the_machine_are_shared_and_needs_are_kept() -> None:
    running, most, order, guard = 0, 0, [], threading.Lock()

    def task(name: str, *, ok: bool = True, **more: tuple[str, ...]) -> Task:
        def work() -> Outcome:
            nonlocal running, most
            with guard:
                running, most = running + 1, max(most, running + 1)
                order.append(name)
            time.sleep(0.05)
            with guard:
                running -= 1
            return Outcome(name, "done" if ok else "failed", reason="" if ok else "no luck")

        return Task(name, work, **more)

    tasks = [
        task("last", after=("a", "bad")),
        task("a"),
        task("bad", ok=False),
        task("b"),
        task("lost", needs=("bad",)),
    ]
    outcomes = run_tasks(tasks, 2, lambda text: None)
    assert [outcome.name for outcome in outcomes] == ["last", "a", "bad", "b", "lost"]
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True, False]
    assert outcomes[-1].reason == "its initialisation bad failed: no luck"
    assert most == 2
    assert order.index("last") > max(order.index("a"), order.index("bad"))
    assert "lost" not in order
