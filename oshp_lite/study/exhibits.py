"""All tables, figures and claims of a profile, written to files, and the results that README shows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.data.registry import dataset_spec
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, write_atomic
from oshp_lite.study import claims, headlines
from oshp_lite.study.claims import Verdict
from oshp_lite.study.cost import load_costs
from oshp_lite.study.experiments import METHODS, families
from oshp_lite.study.figures import (
    CHARTS,
    PICTURES,
    SIDE_BY_SIDE,
    TITLES,
    not_run,
    panels_of,
    picture,
    real_picture,
    save_figure,
)
from oshp_lite.study.first_screen import FirstScreen, first_screen
from oshp_lite.study.plan import Finder
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.results import load_results, read_committed
from oshp_lite.study.statistics import bootstrap
from oshp_lite.study.tables import Table, make_tables
from oshp_lite.study.tables.table import fill, write_table

BEGIN, END = "<!-- results:begin -->\n", "<!-- results:end -->"
"""Lines of README around its results; ORDER are its rows."""

ORDER = ("eopnet", "popnet", "sgone", "panet", "ppnet", "finetune", "amp", "pfenet", "label_transfer", "insid3")
CONDITIONED = ("eopnet", "popnet", "sgone", "panet", "ppnet", "amp")
"""Methods that were trained under both label conditions."""


@dataclass(frozen=True)
class Exhibits:
    """What a profile has to show: results, tables by id, the first screen and all claims decided.

    figures  id -> (title, files written)
    """

    results: Results
    tables: Mapping[str, Table]
    first: FirstScreen
    verdicts: Sequence[Verdict]
    figures: Mapping[str, tuple[str, list[Path]]]


def make_exhibits(
    profile: str, folder: Path, finder: Finder | None = None, problems: list[str] | None = None
) -> Exhibits:
    """Make every table, figure and claim's verdict; write tables/, figures/, claims.* and headlines.csv to `folder`.

    What cannot be read is left out; `problems` takes the reasons.
    """
    finder = finder or Finder()
    results = load_results(profile, finder=finder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        costs = load_costs()
    if problems is not None:
        problems += [str(warning.message).removeprefix("left out: ") for warning in caught]
    tables, verdicts = make_tables(results, costs=costs), claims.ledger(results, profile, costs=costs)
    first = first_screen(results, profile, verdicts, styled=False, link="claims.html")
    for table in tables.values():
        write_table(table, folder / "tables")
    write_atomic(folder / "claims.csv", claims.to_csv(verdicts).encode())
    write_atomic(folder / "claims.md", claims.to_markdown(verdicts).encode())
    write_atomic(folder / "headlines.csv", headlines.to_csv(first.headlines).encode())
    drawn = [("ranks", TITLES["ranks"], first.figure), *_figures(profile, results, finder)]
    figures = {name: (title, save_figure(figure, folder / "figures", name)) for name, title, figure in drawn}
    return Exhibits(results, tables, first, verdicts, figures)


def _figures(profile: str, results: Results, finder: Finder) -> Iterator[tuple[str, str, Figure]]:
    """Yield (id, title, figure): pictures, those of real photos where they are at hand, and charts."""
    data, keys = families(profile), results.keys()
    measured = {key.dataset for key in keys if key == RunKey(key.method, key.dataset, 1, "k", key.seed)}
    for name in PICTURES:
        own = [results.get(keys[-1]) for keys in panels_of(name, profile).values()]
        # POPNet's figures by its own protocol where that was run, else by the journal's
        other = name.startswith("popnet") and not any(isinstance(run, Measured) for run in own)
        yield name, TITLES[name], picture(name, results, profile, protocol="journal" if other else None, finder=finder)
        if real := real_picture(name, results, profile, finder=finder):
            yield f"{name}_{data['ccp']}", f"{TITLES[name]}; {data['ccp']}", real
    for name, chart in CHARTS.items():
        several = [[data["atr"], data["ccp"]]]  # they leave out themselves what is not measured
        for shown in several if name in SIDE_BY_SIDE else [[one] for one in (data["atr"], *({data["ccp"]} & measured))]:
            if name == "eopnet8f" and shown != [data["atr"]]:
                continue
            own_id = name if shown[0] == data["atr"] else f"{name}_{shown[0]}"
            try:
                figure = chart(results, *shown)
            except UserError as error:  # runs that cannot be compared
                figure = not_run(TITLES[name], str(error))
            yield own_id, f"{TITLES[name]}; {', '.join(shown)}", figure


def results_block(results: Results) -> str:
    """Return README's results as Markdown. UserError when a number that it shows is not on record."""

    def seeds(method: str, dataset: str, way: Any = "k") -> int:
        return len(results.seeds(RunKey(method, dataset, 1, way)))

    def runs(method: str, dataset: str, way: Any = "k") -> str:
        count, blocks = seeds(method, dataset, way), dataset_spec(dataset).blocks
        return f"{count} {'block' if blocks else 'seed'}{'' if count == 1 else 's'}" if count else ""

    def interval(method: str, dataset: str, measure: str, fold: int = 1, way: Any = "k") -> str:
        made = results.seeds(RunKey(method, dataset, fold, way))
        if not made:
            return "not run"
        mean, low, high = (100 * value for value in bootstrap(made, measure))
        return f"{mean:.1f} [{low:.1f}, {high:.1f}]"

    def score(method: str, dataset: str, condition: str) -> str:
        made = results.seeds(RunKey(method, dataset, 1, "k", condition=condition))
        return f"{100 * bootstrap(made, 'novel').mean:.1f}" if made else "not run"

    def pairs(dataset: str) -> int:
        counts = [len(run.counts) for run in results.seeds(RunKey("eopnet", dataset, 1, "k"))]
        return sum(counts if dataset_spec(dataset).blocks else counts[:1])

    def trivial(dataset: str, measure: str) -> str:
        files = sorted((project_root() / "notebooks" / "results" / "trivial").glob(f"{dataset}-fold1*.json"))
        tables = [read_json(path) for path in files]
        if not tables:
            return "not run"
        return f"{100 * max(np.mean([table[name][f'{measure}_miou'] for table in tables]) for name in tables[0]):.1f}"

    def ceiling(dataset: str, measure: str) -> str:
        made = results.seeds(RunKey("eopnet", dataset, 1, "k", ablation="ceiling"))
        return f"{100 * bootstrap(made, measure).mean:.1f}" if made else "not run"

    def decided(one: headlines.Headline) -> str:
        if one.reason:
            return one.verdict
        return f"{one.verdict}: {one.effect:+z.1f} {claims.between(one.low, one.high)}"

    ledger = claims.ledger(results, "lite", costs=load_costs())
    words = ", ".join(f"{count} {word}" for word, count in claims.summary(ledger).items())
    functions = {one.__name__: one for one in (seeds, runs, interval, score, pairs, trivial, ceiling, decided)}
    return fill(
        "results.txt",
        **functions,
        datasets={"synth-atr": "synth-atr", "ccp-os": "CCP-OS (real photos)"},
        headlines=headlines.by_claim(headlines.headlines(results)),
        methods=ORDER,
        conditioned=CONDITIONED,
        names={name: method.label for name, method in METHODS.items()}
        | {"label_transfer": "label transfer (no episodes)", "insid3": "INSID3 (no episodes)"},
        n_claims=len({verdict.claim.id for verdict in ledger}),
        verdicts=f"of its {len(ledger)} rows (a claim on a dataset) {words}",
    )


def update_readme(path: Path | None = None, results: Results | None = None) -> bool:
    """Put the results between README's markers; return whether that changed it. UserError without the markers."""
    path = path or project_root() / "README.md"
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{path} has no lines {BEGIN.strip()} and {END}; put them where the results belong")
    new = results_block(results or Results(read_committed("lite")[0].values()))
    if new != old:
        write_atomic(path, f"{before}{begin}{new}{end}{after}".encode())
    return new != old
