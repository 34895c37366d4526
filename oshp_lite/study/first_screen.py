"""What a reader sees first: the five headline claims decided, the methods' ranks, and a count of all other claims."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from oshp_lite.data.registry import dataset_spec
from oshp_lite.study import claims
from oshp_lite.study.claims import MARKS, TOPICS, Verdict
from oshp_lite.study.cost import load_costs
from oshp_lite.study.figures import rankings, ranks_figure
from oshp_lite.study.headlines import LEVEL, MARGIN, Headline, by_claim, headlines, measured
from oshp_lite.study.records import Results
from oshp_lite.study.tables.table import fill
from oshp_lite.viz import fig_to_png


@dataclass(frozen=True)
class FirstScreen:
    """The block that opens the report and notebook 10.

    html    a fragment that needs the style of exhibits (`styled` of `first_screen`); the chart is inside
    figure  the bump chart alone; headlines: what the block says of them
    """

    html: str
    figure: Figure
    headlines: Sequence[Headline]

    def __repr__(self) -> str:
        return "\n".join(f"{one.id} on {one.dataset}: {one.verdict}" for one in self.headlines)

    def _repr_html_(self) -> str:
        """The block as a notebook shows it."""
        return self.html


def first_screen(
    results: Results, profile: str, verdicts: Sequence[Verdict] | None = None, *, styled: bool = True, link: str = ""
) -> FirstScreen:
    """Return the first screen from results.

    verdicts  the ledger of all claims, decided here when not given
    styled    bring the style along; False where the page has it
    link      address of the page that holds the ledger, "" where it stands on the same page
    """
    decided, figure = headlines(results), ranks_figure(results)
    verdicts = claims.ledger(results, profile, costs=load_costs()) if verdicts is None else verdicts
    ranked = rankings(results)
    waiting = dict.fromkeys(dataset_spec(data).title for one in ranked for data in one.waiting)
    html = fill(
        "first_screen.html",
        styled=styled,
        link=link,
        claims=by_claim(decided),
        titles=[dataset_spec(one.dataset).title for one in by_claim(decided)[0]],
        printed=[_printed(group) for group in by_claim(decided)],
        measured=measured,
        marks=MARKS,
        margin=MARGIN,
        level=LEVEL,
        chart="data:image/png;base64," + base64.b64encode(fig_to_png(figure, dpi=110)).decode("ascii"),
        described=" ".join(one.words() for one in ranked),
        waiting=list(waiting),
        topics=_topics(verdicts),
    )
    return FirstScreen(html, figure, decided)


def _printed(group: Sequence[Headline]) -> str:
    """Return the papers' own effect of a claim, on their data."""
    known = [f"{one.printed:+z.1f} points, against {one.printed_against}" for one in group if one.printed is not None]
    return known[0] if known else "no number given"


def _topics(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Return (heading, counts of its verdicts in words) of every kind of claim."""
    lines = []
    for name, title in TOPICS.items():
        counts = claims.summary([one for one in verdicts if one.claim.topic == name])
        lines.append((title, ", ".join(f"{count} {word}" for word, count in counts.items() if count)))
    return [(title, words) for title, words in lines if words]
