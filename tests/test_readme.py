"""README and ledger say what the committed records give; `oshp-lite report --readme` writes README's results."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oshp_lite import assets
from oshp_lite.cli import main
from oshp_lite.engine.statistics import bounds, draw_pairs
from oshp_lite.errors import UserError
from oshp_lite.files import read_image, read_json
from oshp_lite.study.claims import ledger
from oshp_lite.study.cost import load_costs
from oshp_lite.study.exhibits import update_readme
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.results import read_committed

README = Path(__file__).resolve().parents[1] / "README.md"
RECIPES = README.parent / "oshp_lite" / "book" / "site" / "pages" / "howto.md"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(README.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def test_readme_shows_the_records(copy: Path) -> None:
    assert not update_readme(copy), "README differs from the committed records; run `oshp-lite report --readme`"


def test_no_committed_failure_goes_without_a_finding() -> None:
    """Whoever commits results that contradict a paper says what was tried and what it may mean."""
    results = Results(read_committed("lite")[0].values())  # their redrawn scores are those of the test above
    failed = [one for one in ledger(results, "lite", costs=load_costs()) if one.word == "not reproduced"]
    assert [f"{one.claim.id} on {one.dataset}" for one in failed if not one.finding] == []


def test_a_changed_record_changes_readme(copy: Path) -> None:
    runs = read_committed("lite")[0]
    key = RunKey("panet", "ccp-os", 1, "k")
    runs[key] = replace(runs[key], counts=runs[key].counts[:, :, [1, 0, 2]])  # wrong claims for right ones
    before = copy.read_text(encoding="utf-8")
    assert update_readme(copy, Results(runs.values()))
    changed = set(before.splitlines()) ^ set(copy.read_text(encoding="utf-8").splitlines())
    assert sum("| PANet |" in line for line in changed) == 2
    assert update_readme(copy), "and back"
    assert copy.read_text(encoding="utf-8") == before


def test_readme_without_marks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Something else\n", encoding="utf-8")
    with pytest.raises(UserError, match="results:begin"):
        update_readme(path)


def test_the_command_says_whether_readme_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--readme"]) == 0
    assert "README" in capsys.readouterr().out


def test_the_gain_of_a_given_foreground_is_that_of_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    """The recipes and the help of `parse` say what 120 measured pairs give; drawn by query photo."""
    record = read_json(README.parent / "notebooks" / "results" / "foreground.json")
    pairs, ious = record["pairs"], {name: 100 * np.array(rows) for name, rows in record["iou"].items()}
    before, after = ious["ccp-os"].mean(0)
    weights = draw_pairs([query for _, query, _ in pairs])
    low, high = bounds(weights @ (ious["ccp-os"] @ [-1, 1]) / weights.sum(1))
    assert [f"{value:.0f}" for value in ious["shipped"].mean(0)] == ["20", "20"]
    text = " ".join(RECIPES.read_text(encoding="utf-8").split())
    for part in (
        f"on {len(pairs)} pairs of CCP's test photos (whole photos, one marked class) its mean IoU is 20 %, with and",
        f"reaches {before:.0f} % there, and {after:.0f} % with the foreground",
        f"(gain {after - before:.1f} points, 95 % interval {low:.1f} to {high:.1f})",
    ):
        assert part in text
    assert main(["parse", "--help"]) == 0
    shown = " ".join(re.sub("[^ -~]", " ", capsys.readouterr().out).split())
    assert f"{len(pairs)} pairs of CCP's test photos, IoU of one marked class without and with it:" in shown
    assert f"{before:.0f} and {after:.0f} % by an EOP-Net trained on CCP, 20 and 20 % by the shipped one" in shown


def test_the_picture_at_the_top_is_what_the_network_for_street_photos_does(tmp_path: Path) -> None:
    made = tmp_path / "cover.jpg"
    command = [sys.executable, README.parent / "data_scripts" / "cover.py", "--out", made]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ious = dict(re.findall(r"(\d{4}, \w+): IoU (\d\.\d\d)", printed))
    marks = max(float(share) for share in re.findall(r"no \w+: (\d+\.\d) %", printed))
    text = " ".join(README.read_text(encoding="utf-8").split())
    in_sight = (ious.pop(name) for name in ("0862, pants", "0855, bag", "0806, bag"))
    assert "IoU: {} for the trousers, {} and {} for the bags".format(*in_sight) in text
    assert marks < 1.5
    scores = read_json(assets.PHOTOS_CARD)["scores"]
    known = [scores["every class known"][name]["iou"][0] for name in ("trousers", "bag")]
    assert f"the means are {known[0]:.2f} for trousers and {known[1]:.2f} for bags" in text
    held = [scores[f"{name} held out of training"]["1 support"]["iou"][0] for name in ("trousers", "bag")]
    assert f"without these names have {held[0]:.2f} for trousers and {held[1]:.2f} for bags" in text
    shown = README.parent / re.search(r"!\[[^]]+\]\(([^)]+)\)", README.read_text(encoding="utf-8"))[1]  # type: ignore[index]
    np.testing.assert_allclose(read_image(made).astype(int), read_image(shown).astype(int), atol=40)


def test_the_recipes_say_how_photos_and_masks_are_read() -> None:
    text = " ".join(RECIPES.read_text(encoding="utf-8").split())
    assert "Photos are turned upright by their EXIF tag, and masks are meant upright" in text


def test_the_recipes_have_the_scores_of_the_card() -> None:
    text, scores = " ".join(RECIPES.read_text(encoding="utf-8").split()), read_json(assets.PHOTOS_CARD)["scores"]
    trousers, bags = (
        [scores["every class known"][name], scores[f"{name} held out of training"]["1 support"]]
        for name in ("trousers", "bag")
    )
    (a, b), (c, d) = ([f"{row['iou'][0]:.2f}" for row in rows] for rows in (trousers, bags))
    marks = [[f"{100 * row['false_marks'][0]:.1f}" for row in rows] for rows in (trousers, bags)]
    assert f"its mean IoU is {a} for trousers and {c} for bags, and it marks {marks[0][0]} and {marks[1][0]} %" in text
    assert f"without these names have {b} and {d}, and mark {marks[0][1]} and {marks[1][1]} %" in text
    rest = [np.delete(row["by_support"], 1).mean() for row in trousers]
    assert f"that for trousers is {rest[0]:.2f} with the name and {rest[1]:.2f} without it" in text


def test_no_score_stands_in_the_text_around_the_results() -> None:
    """What is left with a decimal there is a duration."""
    text = README.read_text(encoding="utf-8")
    section = text[text.index("## Explanation") : text.index("## Licence")]
    around = section[: section.index("<!-- results:begin")] + section[section.index("<!-- results:end") :]
    assert re.findall(r"\d+\.\d+(?! minutes)", around) == []
