"""The results that README shows, filled from the committed records; `oshp-lite report --readme` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, write_atomic
from oshp_lite.study import claims
from oshp_lite.study.cost import load_costs
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.records import NotRun, Results, RunKey
from oshp_lite.study.results import read_committed
from oshp_lite.study.statistics import bootstrap
from oshp_lite.study.tables.table import fill

BEGIN, END = "<!-- results:begin -->\n", "<!-- results:end -->"
ORDER = ("eopnet", "popnet", "sgone", "panet", "ppnet", "finetune", "amp", "pfenet", "label_transfer")
CONDITIONED = ("eopnet", "popnet", "sgone", "panet", "amp")
"""Methods that were trained under both label conditions."""


def results_block(results: Results) -> str:
    """Return README's results as Markdown. UserError when a number that it shows is not on record."""

    def seeds(method: str, dataset: str, way: Any = "k") -> int:
        return len(results.seeds(RunKey(method, dataset, 1, way)))

    def interval(method: str, dataset: str, measure: str, fold: int = 1, way: Any = "k") -> str:
        runs = results.seeds(RunKey(method, dataset, fold, way))
        if not runs:
            return "not run"
        mean, low, high = (100 * value for value in bootstrap(runs, measure))
        return f"{mean:.1f} [{low:.1f}, {high:.1f}]"

    def score(method: str, measure: str, ablation: str = "", condition: str = "") -> str:
        run = results.get(RunKey(method, "synth-atr", 1, "k", 0, ablation, condition=condition))
        return "not run" if isinstance(run, NotRun) else f"{100 * run.score(measure):.1f}"

    def pairs(dataset: str) -> int:
        run = results.get(RunKey("eopnet", dataset, 1, "k"))
        return 0 if isinstance(run, NotRun) else len(run.counts)

    def earlier(name: str, part: str, measure: str) -> str:
        record = read_json(project_root() / "notebooks" / "results" / f"{name}_fold1_kway.json")[part]
        return f"{100 * record.get('scores', record)[f'{measure}_miou']:.1f}"

    def trivial(name: str) -> str:
        record = read_json(project_root() / "notebooks" / "results" / f"{name}_fold1_kway.json")["baselines"]
        return f"{100 * max(scores['novel_miou'] for scores in record.values()):.1f}"

    ledger = claims.ledger(results, "lite", costs=load_costs())
    words = ", ".join(f"{count} {word}" for word, count in claims.summary(ledger).items())
    functions = (seeds, interval, score, pairs, earlier, trivial)
    return fill(
        "results.txt",
        **{function.__name__: function for function in functions},
        datasets={"synth-atr": "synth-atr", "ccp-os": "CCP-OS (real photos)"},
        methods=ORDER,
        conditioned=CONDITIONED,
        names={name: method.label for name, method in METHODS.items()}
        | {"label_transfer": "label transfer (untrained)"},
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
