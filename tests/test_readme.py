"""README's results are what the committed records give; `oshp-lite report --readme` writes them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from oshp_lite.cli import main
from oshp_lite.errors import UserError
from oshp_lite.study.exhibits import update_readme
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.results import read_committed

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(README.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def test_readme_shows_the_records(copy: Path) -> None:
    assert not update_readme(copy), "README differs from the committed records; run `oshp-lite report --readme`"


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


def test_readme_says_how_photos_and_masks_are_read() -> None:
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert "Photos are turned upright by their EXIF tag, and masks are meant upright" in text


def test_no_score_stands_in_the_text_around_the_results() -> None:
    """What is left with a decimal there is a duration."""
    text = README.read_text(encoding="utf-8")
    section = text[text.index("## Explanation") : text.index("## Licence")]
    around = section[: section.index("<!-- results:begin")] + section[section.index("<!-- results:end") :]
    assert re.findall(r"\d+\.\d+(?! minutes)", around) == []
