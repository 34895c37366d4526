"""Modules that run with `python -m`: bad input is one sentence on stderr and exit code 2, without a traceback."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from oshp_lite.errors import UserError
from oshp_lite.script import exit_code


def test_a_refusal_is_a_sentence_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    @exit_code
    def command(value: int, *, more: int = 0) -> int:
        """Purpose."""
        if value < 0:
            raise UserError("the value is below 0; give a larger one")
        if value == 0:
            raise ValueError("a fault of the program keeps its traceback")
        return value + more

    assert command(3, more=4) == 7
    assert command.__doc__ == "Purpose."
    assert command(-1) == 2
    assert capsys.readouterr() == ("", "error: the value is below 0; give a larger one\n")
    with pytest.raises(ValueError, match="traceback"):
        command(0)


@pytest.mark.parametrize(
    ("module", "words", "expected"),
    [
        ("study.publish", ["nowhere"], "nowhere"),
        ("study.photos", ["list", "--ccp", "nowhere"], "nowhere"),
        (
            "study.photo_recipe",
            ["ship", "--all", "x", "--fold1", "x", "--fold2", "x"],
            "--ccp or OSHP_CCP_ROOT",
        ),
        ("study.execute", ["nowhere.ipynb", "--in-place"], "nowhere.ipynb"),
        ("book.realism", [], "set OSHP_CCP_ROOT"),
        ("book.lessons.__main__", ["background", "nowhere"], "nowhere holds no finished run"),
    ],
)
def test_each_command_refuses_bad_input_in_one_sentence(
    module: str,
    words: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OSHP_CCP_ROOT", raising=False)
    assert import_module(f"oshp_lite.{module}").main(words) == 2
    out, said = capsys.readouterr()
    assert not out
    assert said.startswith("error: ")
    assert expected in said
    assert len(said.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir()), "nothing is written"


def test_as_a_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "oshp_lite.study.publish", "nowhere"]
    told = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert told.returncode == 2
    assert told.stderr.startswith("error: ")
    assert "Traceback" not in told.stderr
