"""The first screen: headlines with their verdicts, the methods' ranks, a count of all claims; what stands beside it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from claims_made_up import flat, run
from scipy.stats import spearmanr
from test_headlines import SKILLS, made_runs

from oshp_lite.study import claims, lead
from oshp_lite.study.figures import rankings, ranks_figure
from oshp_lite.study.first_screen import FirstScreen, first_screen
from oshp_lite.study.headlines import measured
from oshp_lite.study.quantities import Outcome
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.statistics import bootstrap
from oshp_lite.study.tables import make_table

ALL = {**SKILLS, "eopnet:dml": 0.6, "eopnet:npm": 0.4, "eopnet:static": 0.65, "eopnet:dml-coarse": 0.66}


@pytest.fixture(scope="module")
def whole() -> Results:
    """Both datasets, both folds, and the six methods under the second condition on fold 1."""
    second = [
        run(RunKey(method, data, 1, "k", seed, condition="person-class"), flat(skill + 0.1))
        for data, seeds in (("synth-atr", 3), ("ccp-os", 5))
        for method, skill in SKILLS.items()
        for seed in range(seeds)
    ]
    return Results([*made_runs(ALL), *made_runs(ALL, "ccp-os", range(5)), *second], otherwise="not trained")


@pytest.fixture(scope="module")
def shown(whole: Results) -> FirstScreen:
    return first_screen(whole, "lite", link="claims.html")


def test_every_headline_stands_with_its_verdict_in_words_and_its_effect(shown: FirstScreen) -> None:
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", shown.html, re.DOTALL)
    assert len(rows) == 5
    assert len(shown.headlines) == 10
    for place, one in enumerate(shown.headlines):
        row = rows[place // 2]
        assert one.statement in row
        assert f"{claims.MARKS[one.verdict]} {one.verdict}</b>" in row, "words, not colour alone"
        assert measured(one) in row
    assert "+3.7 points" in rows[0]
    assert "no number given" in rows[2]


def test_all_claims_are_counted_by_kind(shown: FirstScreen, whole: Results) -> None:
    verdicts = claims.ledger(whole, "lite")
    for name, title in claims.TOPICS.items():
        assert title in shown.html
        assert any(one.claim.topic == name for one in verdicts)
    assert 'href="claims.html"' in shown.html
    counted = re.findall(r"<li>.*?: <b>(.*?)</b></li>", shown.html)
    assert sum(int(number) for words in counted for number in re.findall(r"(\d+) [a-z]", words)) == len(verdicts)


def test_the_block_fetches_nothing_and_describes_its_chart(shown: FirstScreen) -> None:
    assert 'src="data:image/png;base64,' in shown.html
    assert "http" not in shown.html
    assert re.search(r'alt="By novel mIoU, ranks in the paper and on .*EOP-Net 1, 1, 1', shown.html)
    assert len(shown.html) < 250_000


def test_without_results_it_says_so_and_speaks_of_no_row() -> None:
    bare = first_screen(Results(), "lite", [])
    assert bare.html.count("- not run</b>") == 10
    assert "Not run" not in bare.html.replace("not run", "")
    assert "No ranks yet: synth-atr (procedural people), CCP-OS (real photos)." in bare.html
    assert [one.words() for one in rankings(Results())] == [
        "By novel mIoU: not run yet.",
        "By human mIoU: not run yet.",
    ]


def test_ranks_and_their_correlation(whole: Results) -> None:
    novel, human = rankings(whole)
    assert novel.datasets == human.datasets == ("synth-atr", "ccp-os")
    assert set(novel.levels) == {"panet", "sgone", "amp", "popnet", "eopnet"}
    assert novel.levels["eopnet"][0] == 32.9
    runs = [one for fold in (1, 2) for one in whole.seeds(RunKey("panet", "synth-atr", fold, "k"))]
    assert human.levels["panet"][1] == pytest.approx(100 * bootstrap(runs, "human").mean)
    columns = np.array(list(novel.levels.values())).T
    for place, value in enumerate(novel.correlations):
        assert value == pytest.approx(spearmanr(columns[0], columns[1 + place]).statistic)
    drawn = " ".join(text.get_text() for axes in ranks_figure(whole).axes for text in axes.texts)
    assert drawn.count("EOP-Net") == 4  # at both ends of both panels


def test_neighbours_with_an_open_difference_are_joined() -> None:
    runs = [
        run(RunKey(method, "synth-atr", 1, "k", seed), flat(skill), noise=0.2)
        for method, skill in (("eopnet", 0.7), ("popnet", 0.4), ("panet", 0.4))
        for seed in range(3)
    ]
    novel, _ = rankings(Results(runs))
    assert [set(pair) for pair in novel.ties[0]] == [{"popnet", "panet"}]
    assert re.search(r"open sign: (PANet and POPNet|POPNet and PANet) on synth-atr", novel.words())


def test_a_dataset_that_was_not_run_has_no_column() -> None:
    few = Results(
        [run(RunKey(method, "synth-atr", 1, "k"), flat(SKILLS[method])) for method in ("eopnet", "popnet", "sgone")]
    )
    novel, _ = rankings(few)
    assert (novel.datasets, novel.waiting) == (("synth-atr",), ("ccp-os",))
    assert novel.levels["popnet"][0] == 29.0  # fold 1, as that alone was run
    two = Results([run(RunKey(method, "synth-atr", 1, "k"), flat(SKILLS[method])) for method in ("eopnet", "popnet")])
    assert rankings(two)[0].correlations == (None,)


def test_parts_of_the_lead_are_paired_differences(whole: Results) -> None:
    parts = {part.title: part.quantity.measure(whole, "synth-atr") for part in lead.parts("sgone", "novel")}
    assert list(parts) == ["the lead", "person mask in training", "screening at test", "rejection of absent classes"]
    levels = {
        (method, condition): 100
        * bootstrap(whole.seeds(RunKey(method, "synth-atr", 1, "k", condition=condition)), "novel").mean
        for method in ("eopnet", "sgone")
        for condition in ("papers", "person-class")
    }
    gaps = {one: levels["eopnet", one] - levels["sgone", one] for one in ("papers", "person-class")}
    mask = parts["person mask in training"]
    assert isinstance(mask, Outcome)
    assert mask.mean == pytest.approx(gaps["papers"] - gaps["person-class"])
    own = {part.title for part in lead.parts(lead.OWN, "human")}
    assert own == {"contrastive loss", "momentum prototypes"}
    said = lead.words(whole, "synth-atr")
    assert said.count("\n") == 3
    assert "EOP-Net minus SG-One: +" in said
    assert "not run" not in said.lower()


def test_text_about_the_lead_speaks_of_no_row_that_does_not_exist() -> None:
    few = Results([run(RunKey(method, "synth-atr", 1, "k"), flat(SKILLS[method])) for method in ("eopnet", "popnet")])
    said = lead.words(few, "synth-atr").splitlines()
    assert said[0].startswith("* **EOP-Net minus POPNet: +")
    assert said[0].endswith("*Not run*: person mask in training.")
    assert said[1] == (
        "* **EOP-Net minus SG-One.** *Not run*: the lead, person mask in training, screening at test, rejection of "
        "absent classes."
    )
    assert not re.search(r"\d", "".join(said[1:]))


def test_what_the_person_mask_is_worth_is_paired(whole: Results) -> None:
    table = make_table("person_mask", whole)
    assert len(table.rows) == 12
    row = next(row for row in table.rows if row.cells[0].text == "SG-One" and row.section.startswith("CCP"))
    papers, second, worth = row.cells[1:4]
    assert None not in (papers.value, second.value, worth.value)
    assert worth.value == pytest.approx(second.value - papers.value)  # type: ignore[operator]
    assert worth.low < worth.value < worth.high  # type: ignore[operator]
    assert papers.seeds == 5


def test_testing_bias_shares_are_those_of_the_records(whole: Results) -> None:
    table = make_table("bias", whole)
    labels = [column.full for column in table.columns]
    row = next(row for row in table.rows if row.cells[0].text == "AMP" and row.section.startswith("synth"))
    shares = [cell.value for label, cell in zip(labels, row.cells, strict=True) if "novel classes called" in label]
    runs = [one for fold in (1, 2) for one in whole.seeds(RunKey("amp", "synth-atr", fold, "k"))]
    names = ("novel_as_background", "novel_as_novel", "novel_as_base")
    assert shares == pytest.approx([100 * bootstrap(runs, name).mean for name in names])
    recall = 100 * np.mean(
        [one.counts[:, ids, 0].sum() / one.counts[:, ids][..., [0, 2]].sum() for one in runs for ids in [_novel(one)]]
    )
    assert sum(share for share in shares if share) + recall == pytest.approx(100, abs=0.01)


def _novel(one: object) -> list[int]:
    return [one.classes.index(c) for c in one.novel]  # type: ignore[attr-defined]
