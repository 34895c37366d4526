"""A committed result that contradicts a paper is explained in the file of findings."""

from __future__ import annotations

from pathlib import Path

from oshp_lite.study.claims import CLAIMS, findings, ledger, missing_findings
from oshp_lite.study.cost import load_costs
from oshp_lite.study.experiments import families
from oshp_lite.study.records import Results, load_measured

ROOT = Path(__file__).resolve().parents[1]
BY_ID = {claim.id: claim for claim in CLAIMS}


def test_findings_name_claims_and_datasets() -> None:
    known = {name for profile in ("lite", "paper") for name in families(profile).values()}
    for claim, texts in findings().items():
        assert claim in BY_ID
        assert set(texts) <= known
        for text in texts.values():
            assert text.endswith(".")
            assert 40 < len(text) < 900


def test_no_committed_failure_goes_without_a_finding() -> None:
    """Whoever commits results that contradict a paper says what was tried and what it may mean."""
    committed = [load_measured(path) for path in sorted((ROOT / "notebooks" / "results" / "runs").glob("*.json"))]
    assert missing_findings(ledger(Results(committed), "lite", costs=load_costs())) == []
