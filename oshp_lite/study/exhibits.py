"""All tables, figures and claims of a profile, made from the results at hand and written to files.

The report shows them; notebooks ask for single figures (`figures.picture`, `figures.CHARTS`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from oshp_lite.files import write_atomic
from oshp_lite.study import claims
from oshp_lite.study.claims import Verdict
from oshp_lite.study.cost import load_costs
from oshp_lite.study.experiments import families
from oshp_lite.study.figures import CHARTS, PICTURES, panels_of, picture, save_figure
from oshp_lite.study.plan import Finder
from oshp_lite.study.records import Measured, Results
from oshp_lite.study.results import load_results
from oshp_lite.study.tables import Table, make_tables
from oshp_lite.study.tables.table import write_table

CAPTIONS = {
    "eopnet8f": "Scores during training, with and without momentum prototypes (EOP-Net's Fig. 8)",
    "per_class": "IoU of every class, novel ones hatched",
    "confusion": "Which parts are taken for which",
    "size_iou": "IoU against the size of a part",
}


@dataclass(frozen=True)
class Exhibits:
    """What a profile has to show: tables by id, the ledger, results; `figures` id -> (title, files written)."""

    profile: str
    results: Results
    tables: Mapping[str, Table]
    verdicts: Sequence[Verdict]
    figures: Mapping[str, tuple[str, list[Path]]]


def make_exhibits(
    profile: str, folder: Path, finder: Finder | None = None, problems: list[str] | None = None
) -> Exhibits:
    """Make every table, figure and the ledger and write them under `folder`: tables/, figures/, claims.*.

    What cannot be read is left out; `problems` takes the reasons.
    """
    finder = finder or Finder()
    problems = [] if problems is None else problems
    results = load_results(profile, finder=finder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        costs = load_costs()
    problems += [str(warning.message).removeprefix("left out: ") for warning in caught]
    tables = make_tables(results, costs=costs)
    for table in tables.values():
        write_table(table, folder / "tables")
    verdicts = claims.ledger(results, profile, costs=costs)
    for ending, text in (("csv", claims.to_csv(verdicts)), ("md", claims.to_markdown(verdicts))):
        write_atomic(folder / f"claims.{ending}", text.encode())
    figures = {
        name: (title, save_figure(figure, folder / "figures", name))
        for name, title, figure in _figures(profile, results, finder)
    }
    return Exhibits(profile, results, tables, verdicts, figures)


def _figures(profile: str, results: Results, finder: Finder) -> Iterator[tuple[str, str, Figure]]:
    for name, title in PICTURES.items():
        protocol = None
        if name.startswith("popnet"):  # its own protocol where that was run, else the journal's
            own = [keys[-1] for keys in panels_of(name, profile).values()]
            protocol = None if any(isinstance(results.get(key), Measured) for key in own) else "journal"
        yield name, title, picture(name, results, profile, protocol=protocol, finder=finder)
    data = families(profile)
    measured = {key.dataset for key in results.keys()}  # noqa: SIM118 - not a mapping
    for name, chart in CHARTS.items():
        yield name, f"{CAPTIONS[name]}; {data['atr']}", chart(results, data["atr"])
        if name != "eopnet8f" and data["ccp"] in measured:
            yield f"{name}_{data['ccp']}", f"{CAPTIONS[name]}; {data['ccp']}", chart(results, data["ccp"])
