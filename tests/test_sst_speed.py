"""`oshp-lite bench transfer`: what SST's modules cost in training, and that nothing is left of them at test."""

from __future__ import annotations

import pytest
import torch

from oshp_lite.cli import main
from oshp_lite.engine import domain_speed
from oshp_lite.engine.domain_speed import FORMS, measure_modules


def test_modules_cost_memory_and_numbers_in_training_and_nothing_at_test() -> None:
    alone, enhanced, whole = measure_modules(size=32, each=1, seconds=0)
    assert [one.form for one in (alone, enhanced, whole)] == list(FORMS)
    assert alone.parameters < enhanced.parameters < whole.parameters
    assert alone.kept_mib < enhanced.kept_mib < whole.kept_mib
    assert all(one.same and one.steps_per_second > 0 for one in (alone, enhanced, whole))
    again = measure_modules(size=32, each=1, seconds=0)
    assert [one.kept_mib for one in again] == [alone.kept_mib, enhanced.kept_mib, whole.kept_mib], (
        "counted, not sampled"
    )


def test_the_command_prints_a_row_a_form_and_fails_where_predictions_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "transfer", "--size", "32", "--batch", "1", "--seconds", "0"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert all(form in told for form in FORMS)
    assert told.count("(100%)") == 2
    parse = domain_speed.SST.parse

    def other(self: domain_speed.SST, image: torch.Tensor) -> dict[str, torch.Tensor]:
        bare = not self.config.auxiliary
        return {name: ids + bare for name, ids in parse(self, image).items()}

    monkeypatch.setattr(domain_speed.SST, "parse", other)
    assert main(words) == 1
    assert "NO" in capsys.readouterr().out


def test_options_of_other_measurements_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "transfer", "--variant", "official"]) == 2
    assert "it takes no --variant" in capsys.readouterr().err
