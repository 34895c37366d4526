"""All tables, figures and claims of a profile, made from the results at hand and written to files.

The report shows them; notebooks may ask for single figures (`figure_of`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic
from oshp_lite.study import claims
from oshp_lite.study.claims import Verdict
from oshp_lite.study.cost import load_costs
from oshp_lite.study.experiments import families
from oshp_lite.study.figures import CHARTS, TITLES, save_figure
from oshp_lite.study.pictures import PICTURES, panels_of, picture
from oshp_lite.study.plan import Finder
from oshp_lite.study.records import Measured, Results
from oshp_lite.study.render import write_table
from oshp_lite.study.results import load_results
from oshp_lite.study.tables import Table, make_tables

TOLD = {
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


def make_exhibits(profile: str, folder: Path, finder: Finder | None = None) -> Exhibits:
    """Make every table, figure and the ledger and write them under `folder`: tables/, figures/, claims.*."""
    finder = finder or Finder(older=True)
    results, costs = load_results(profile, finder=finder), load_costs()
    tables = make_tables(results, costs=costs)
    for table in tables.values():
        write_table(table, folder / "tables")
    verdicts = claims.ledger(results, profile, costs=costs)
    for ending, text in (("csv", claims.to_csv(verdicts)), ("md", claims.to_markdown(verdicts))):
        write_atomic(folder / f"claims.{ending}", text.encode())
    figures = {}
    for name, title, figure in _figures(profile, results, finder):
        figures[name] = (title, save_figure(figure, folder / "figures", name))
    return Exhibits(profile, results, tables, verdicts, figures)


def _figures(profile: str, results: Results, finder: Finder) -> Iterator[tuple[str, str, Figure]]:
    for name in PICTURES:
        yield name, TITLES[name], figure_of(name, profile, results, finder)
    data = families(profile)
    listed = results.keys()
    known = {key.dataset for key in listed}
    for name in CHARTS:
        for dataset in dict.fromkeys((data["atr"], data["ccp"])):
            if dataset != data["atr"] and (name == "eopnet8f" or dataset not in known):
                continue
            shown = name if dataset == data["atr"] else f"{name}_{dataset}"
            yield shown, f"{TOLD[name]}; {dataset}", figure_of(name, profile, results, finder, dataset=dataset)


def figure_of(
    name: str, profile: str, results: Results, finder: Finder | None = None, *, dataset: str | None = None
) -> Figure:
    """Draw one figure; one that cannot be drawn says why. Raises UserError for an unknown figure."""
    chosen = dataset or families(profile)["atr"]
    if name in CHARTS:
        return CHARTS[name](results, chosen)
    if name not in PICTURES:
        raise UserError(f"there is no figure {name!r}; there are {', '.join((*PICTURES, *CHARTS))}")
    return picture(name, results, profile, protocol=_protocol(name, profile, results), finder=finder)


def _protocol(name: str, profile: str, results: Results) -> str | None:
    """Figures of POPNet's paper take its own protocol where that was run, else the journal's."""
    if not name.startswith("popnet"):
        return None
    own = [panel.lead for panel in panels_of(name, profile).values()]
    return None if any(isinstance(results.get(key), Measured) for key in own) else "journal"
