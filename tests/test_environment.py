"""pyproject.toml (ranges), .ci/constraints.txt and environment.yml (pins) and the running environment agree."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

packaging_requirements = pytest.importorskip("packaging.requirements")
packaging_utils = pytest.importorskip("packaging.utils")

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.joinpath("pyproject.toml")


def requirement(text: str) -> tuple[str, packaging_requirements.SpecifierSet]:  # type: ignore[name-defined]
    parsed = packaging_requirements.Requirement(text)
    return packaging_utils.canonicalize_name(parsed.name), parsed.specifier


def project() -> dict:
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))["project"]


def ranges() -> dict:
    told = project()
    extras = told["optional-dependencies"]
    return dict(requirement(text) for text in told["dependencies"] + [t for group in extras.values() for t in group])


def pins() -> dict:
    lines = (ROOT / ".ci/constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(requirement(line) for line in lines if line.strip() and not line.startswith("#"))


def conda_pins() -> dict:
    told = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    sections = [item["pip"] for item in told["dependencies"] if isinstance(item, dict)]
    assert len(sections) == 1, "environment.yml has one pip section"
    return dict(requirement(line) for line in sections[0])


def version_of(specifier) -> str:
    (only,) = list(specifier)
    assert only.operator == "==", f"a pin is written ==, not {specifier}"
    return only.version


def test_every_dependency_has_a_pin_inside_its_range() -> None:
    pinned = pins()
    for name, allowed in ranges().items():
        assert name in pinned, f"{name} of pyproject.toml has no pin in .ci/constraints.txt"
        assert version_of(pinned[name]) in allowed, f"{name}: pin {pinned[name]} is outside {allowed}"


def test_environment_yml_says_the_same() -> None:
    pinned, conda = pins(), conda_pins()
    assert set(conda) == set(ranges()), "environment.yml and pyproject.toml name different packages"
    assert {name: str(pin) for name, pin in conda.items()} == {name: str(pinned[name]) for name in conda}


def test_environment_yml_python_is_allowed() -> None:
    told = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python = next(item for item in told["dependencies"] if isinstance(item, str) and item.startswith("python="))
    allowed = packaging_requirements.SpecifierSet(project()["requires-python"])
    assert f"{python.split('=')[1]}.0" in allowed


def test_running_python_and_installed_versions_are_in_range() -> None:
    allowed = packaging_requirements.SpecifierSet(project()["requires-python"])
    assert ".".join(map(str, sys.version_info[:3])) in allowed
    wrong, missing = [], []
    for name, specifier in ranges().items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if not specifier.contains(found, prereleases=True):
            wrong.append(f"{name} {found} is outside {specifier}")
    assert not wrong
    core = {requirement(text)[0] for text in project()["dependencies"]}
    assert not core & set(missing), f"not installed: {sorted(core & set(missing))}"


def test_no_registry_hosts_or_machine_paths_in_the_packaging_files() -> None:
    for name in ("pyproject.toml", ".ci/constraints.txt", ".ci/run", "environment.yml", "Makefile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for word in ("://", *(f"/{top}/" for top in ("root", "tmp", "opt"))):
            assert word not in text, f"{name} mentions {word}"


def test_citation_and_licence() -> None:
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for key in ("cff-version", "message", "title", "authors", "version", "license"):
        assert told.get(key), f"CITATION.cff lacks {key}"
    from oshp_lite import __version__

    assert told["version"] == __version__
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert told["license"] == project()["license"] == "Apache-2.0"
