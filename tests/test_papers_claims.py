"""The ledger: one rule for all claims, claims that the papers' own numbers support, and no unexplained failure."""

from __future__ import annotations

import csv
import html
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from claims_made_up import ATR, above, flat, kway, quantity, run

from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.study.claims import (
    CLAIMS,
    COLUMNS,
    TOPICS,
    UNTESTABLE,
    VERDICTS,
    Claim,
    Verdict,
    decide,
    judge,
    ledger,
    quantities,
    summary,
    summary_line,
    to_csv,
    to_html,
    to_markdown,
    together,
    with_numbers,
)
from oshp_lite.study.experiments import ABLATIONS, METHODS, families, label_domains
from oshp_lite.study.quantities import TRAINING_NOISE, Outcome, Untestable, spreads
from oshp_lite.study.records import Measured, NotRun, Results, RunKey, measured_of

ROOT = Path(__file__).resolve().parents[1]
BY_ID, PLACES = {claim.id: claim for claim in CLAIMS}, label_domains("lite") | families("lite")


# ------------------------------------------------------------------------------------------------------- the rule


def outcome(low: float, high: float) -> Outcome:
    return Outcome((low + high) / 2, low, high, "points", 1, (1,))


def test_the_interval_decides() -> None:
    assert decide(replace(outcome(0.1, 2), seeds=3)) == "reproduced"
    assert decide(replace(outcome(-2, -0.1), seeds=3)) == "not reproduced"
    assert decide(outcome(-1, 2)) == decide(outcome(0, 2)) == "undecided"
    assert (decide(NotRun("x")), decide(Untestable("x"))) == ("not run", "not testable here")


def test_few_trainings_must_be_clear_of_their_noise() -> None:
    for seeds in (1, 2):
        assert decide(replace(outcome(0.1, 2), seeds=seeds)) == "undecided"
        assert decide(replace(outcome(TRAINING_NOISE + 0.1, 9), seeds=seeds)) == "reproduced"
        assert decide(replace(outcome(-9, -TRAINING_NOISE - 0.1), seeds=seeds)) == "not reproduced"
    assert decide(replace(outcome(0.1, 2), seeds=0, basis="a count")) == "reproduced"


def test_all_parts_must_hold() -> None:
    assert together(["reproduced", "reproduced"]) == "reproduced"
    assert together(["reproduced", "undecided"]) == "undecided"
    assert together(["reproduced", "undecided", "not run"]) == "not run"
    assert together(["reproduced", "not run", "not reproduced"]) == "not reproduced"
    assert together(["reproduced", "not testable here"]) == "reproduced"
    assert together(["not testable here"] * 2) == "not testable here"


def test_a_lead_is_seen_missed_left_open_and_not_run() -> None:
    claim = BY_ID["lead-novel-k"]
    clear = kway(eopnet=0.8, popnet=0.6, sgone=0.3, amp=0.4, panet=0.2)
    found = judge(claim, clear, ATR, "atr")
    assert found.word == "reproduced"
    assert (found.basis, found.folds) == ("1 seed", "1")
    assert (
        judge(claim, kway(eopnet=0.5, popnet=0.7, sgone=0.3, amp=0.4, panet=0.2), ATR, "atr").word == "not reproduced"
    )
    close = kway(eopnet=0.61, popnet=0.6, sgone=0.3, amp=0.4, panet=0.2)
    assert judge(claim, close, ATR, "atr").word == "undecided"
    part = kway(eopnet=0.8, popnet=0.6, sgone=0.3, panet=0.2)
    missing = judge(claim, part, ATR, "atr")
    assert missing.word == "not run"
    assert missing.reason == "AMP: not trained"


def test_what_stands_beside_a_claim_does_not_decide() -> None:
    """A row that the papers do not have may lead; the claim is about the papers' methods."""
    results = kway(eopnet=0.8, popnet=0.6, sgone=0.3, amp=0.4, panet=0.2, label_transfer=0.9)
    found = judge(BY_ID["lead-human-k"], results, ATR, "atr")
    assert found.word == "reproduced"
    beside = {part.label: part.verdict for part in found.also}
    assert beside["human mIoU: EOP-Net above Nearest-patch label transfer"] == "not reproduced"
    assert beside["human mIoU: EOP-Net above SG-One (screened)"] == "reproduced"


def test_seeds_count_and_widen() -> None:
    runs = [
        run(RunKey(method, ATR, 1, "k", seed), flat(value))
        for method, values in {"eopnet": (0.8, 0.5, 0.65), "popnet": (0.6, 0.62, 0.61)}.items()
        for seed, value in enumerate(values)
    ]
    claim = Claim("x", "journal", "here", "says", (above("eopnet", "popnet", "human"),), "", ("atr",))
    every = judge(claim, Results(runs), ATR, "atr")
    assert (every.word, every.basis, every.firm) == ("undecided", "3 seeds", True)
    lucky = judge(claim, Results(run for run in runs if run.key.seed == 0), ATR, "atr")
    assert (lucky.word, lucky.basis, lucky.firm) == ("reproduced", "1 seed", False)


def test_runs_on_other_pairs_are_not_compared() -> None:
    runs = [run(RunKey("eopnet", ATR, 1, "k"), flat(0.8)), run(RunKey("popnet", ATR, 1, "k"), flat(0.6), pairs=24)]
    found = above("eopnet", "popnet", "human").measure(Results(runs), ATR)
    assert isinstance(found, NotRun)
    assert "different test pairs" in found.reason


# ------------------------------------------------------------------------------------------------- the declarations


def test_ids_are_unique_and_the_claims_named_in_the_plan_are_there() -> None:
    assert len(BY_ID) == len(CLAIMS)
    assert set(BY_ID) >= {
        "lead-novel-k", "lead-human-k", "popnet-second-k", "sgone-base-not-novel", "amp-best-novel-baseline",
        "amp-low-human", "novel-1way-above-k", "agm-overfits-base", "npm-low-on-both", "dml-without-shift-between",
        "shifting-adds", "coarse-adds", "contrast-adds", "momentum-high-beats-low", "momentum-helps-novel",
        "momentum-late-trend", "shallow-transfers", "half-parameters", "half-macs", "faster-than-popnet",
        "stable-over-supports", "cihp-1way-exception", "aaai-infusion-adds", "aaai-dynamic-adds",
        "aaai-novel-1way-above-k", "aaai-human-1way-below-k",
    }  # fmt: skip
    for claim in CLAIMS:
        assert claim.statement.endswith(".")
        assert claim.parts
        assert set(claim.families) <= set(PLACES)


def test_only_declared_runs_are_needed() -> None:
    for claim in CLAIMS:
        for part in (*claim.parts, *claim.also):
            for side in part.sides:
                assert all((side.method, one) in ABLATIONS for one in side.ablation.split("+") if one), (claim.id, side)


@pytest.mark.parametrize(
    "part",
    [
        {"first": "unet", "above": "eopnet", "by": "novel"},
        {"first": "eopnet@2", "above": "popnet", "by": "novel"},
        {"first": "eopnet", "by": "novel"},
    ],
)
def test_a_part_that_means_nothing_is_refused(part: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"claims\.yaml"):
        list(quantities(part))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_papers_own_numbers_support_their_claims(claim: Claim) -> None:
    """Signs and rows are declared rightly: where the papers print what decides, it stands on the claim's side."""
    for family in claim.families:
        for part in claim.parts:
            printed = part.printed(family)
            assert printed is None or printed > 0, f"{family}: {part.label}"
            if family == "ccp":
                assert printed is None


def test_printed_differences_are_the_papers() -> None:
    novel = above("eopnet", "popnet", "novel")
    assert novel.printed("cihp") == pytest.approx(5.1)
    assert above("eopnet", "popnet", "human").printed("cihp") == pytest.approx(4.2)
    assert above("eopnet:dml-coarse", "eopnet:dml", "novel").printed("atr") == pytest.approx(8.6)
    assert above("eopnet:dml-coarse", "popnet", "novel").printed("atr") == pytest.approx(1.2)  # fold 1 on both sides
    assert novel.printed("ccp") is None
    half = BY_ID["half-parameters"].parts[0]
    assert half.printed("atr") == pytest.approx(0.55 - 42.5 / 85.8, abs=1e-3)


# ------------------------------------------------------------------------------------------------ other quantities


def test_costs() -> None:
    def word(name: str, eopnet: float, popnet: float) -> str:
        return verdict(name, {"eopnet": {cost[name]: eopnet}, "popnet": {cost[name]: popnet}}).word

    def verdict(name: str, costs: dict[str, dict[str, float]]) -> Verdict:
        return judge(BY_ID[name], Results(), ATR, "atr", costs)

    cost = {"half-parameters": "params_m", "faster-than-popnet": "fps"}
    assert (word("half-parameters", 1.0, 2.0), word("faster-than-popnet", 20.0, 10.0)) == ("reproduced", "reproduced")
    bases = [verdict(name, {m: {cost[name]: 1.0} for m in ("eopnet", "popnet")}) for name in cost]
    assert [(one.basis, one.firm) for one in bases] == [("a count", True), ("timed once", False)]
    assert word("half-parameters", 1.9, 2.0) == "not reproduced"
    assert word("faster-than-popnet", 10.0, 10.2) == "undecided"
    file = {
        "variant": "official",
        "size": 512,
        "rows": [{"method": "eopnet", "macs_g": 1.0}, {"method": "popnet", "macs_g": 2.0}],
    }
    small = {
        "variant": "lite",
        "size": 128,
        "rows": [{"method": "eopnet", "macs_g": 2.0}, {"method": "popnet", "macs_g": 2.0}],
    }
    told = ledger(Results(), "lite", [BY_ID["half-macs"]], costs=[small, file])
    assert [verdict.word for verdict in told] == ["reproduced"]
    none = verdict("half-macs", {"eopnet": {"macs_g": 1.0}, "popnet": {"params_m": 1.0}})
    assert none.word == "not run"
    assert "not measured" in none.reason


def test_similar_has_room_only_within_its_margin() -> None:
    def alike(within: float, other: float) -> str:
        part = quantity(label="x", kind="within", of=["+ eopnet base_accuracy", "- popnet base_accuracy"], bound=within)
        return decide(part.measure(kway(eopnet=0.6, popnet=other), ATR))

    assert (alike(5, 0.6), alike(2, 0.7)) == ("reproduced", "not reproduced")


def test_late_trend_compares_slopes() -> None:
    rng = np.random.default_rng(0)

    def with_curve(ablation: str, slope: float, noise: float = 0.002) -> Measured:
        history = [{"epoch": n, "novel_miou": 0.2 + slope * (n - 10) / 20 + noise * rng.normal()} for n in range(1, 21)]
        return run(RunKey("eopnet", ATR, 1, "k", 0, ablation), flat(0.5), history=history)

    claim = BY_ID["momentum-late-trend"]
    up = judge(claim, Results([with_curve("x4", 0.1), with_curve("static+x4", -0.1)]), ATR, "atr")
    assert up.word == "reproduced"
    part = up.parts[0].outcome
    assert isinstance(part, Outcome)
    assert part.mean == pytest.approx(10.0, abs=1.5)  # 0.1 against -0.1 over half the training, in points
    assert (
        judge(claim, Results([with_curve("x4", -0.1), with_curve("static+x4", 0.1)]), ATR, "atr").word
        == "not reproduced"
    )
    loud = [[with_curve("x4", 0.0, 0.05), with_curve("static+x4", 0.0, 0.05)] for _ in range(60)]
    words = [judge(claim, Results(pair), ATR, "atr").word for pair in loud]
    assert words.count("undecided") >= 53  # 95 % of curves without a trend are left open
    bare = judge(claim, kway(eopnet=0.5), ATR, "atr")
    assert bare.word == "not run"
    short = [
        replace(with_curve(name, 0.1), history=[{"epoch": n, "novel_miou": 0.1 * n} for n in range(1, 5)])
        for name in ("x4", "static+x4")
    ]
    few = judge(claim, Results([*short[:1], replace(short[1], history=short[1].history[2:3])]), ATR, "atr")
    assert few.word == "not testable here"
    assert few.reason.endswith("4 evaluations during training, a trend is judged from 8 at least")
    other = replace(with_curve("static+x4", 0.1), key=RunKey("eopnet", ATR, 1, "k", 7, "static+x4"))
    assert judge(claim, Results([with_curve("x4", 0.1), other]), ATR, "atr").reason.count("no fold and seed in common")


def test_stability_tells_supports_from_queries() -> None:
    def answers(over: str) -> Measured:
        """36 pairs, 12 queries with 3 supports each; IoU depends on the query or on the support."""
        rng = np.random.default_rng(1)
        made = np.zeros((36, 18, 18), np.int64)
        for pair in range(36):
            mark = pair // 3 if over == "query" else pair % 3
            for c in fold("atr", 1).classes:
                right = int(1000 * (0.3 + 0.05 * (mark % 12) + 0.005 * rng.normal()))
                made[pair, c, c], made[pair, c, 0] = right, made[pair, c, 0] + 1000 - right
        return measured_of(RunKey("eopnet", ATR, 1, "k"), "lite", made, np.zeros(36), queries=np.arange(36) // 3)

    claim = quantity(kind="stability", of="eopnet", label="x")
    steady = claim.measure(Results([answers("query")]), ATR)
    assert decide(steady) == "reproduced"
    assert decide(claim.measure(Results([answers("support")]), ATR)) == "not reproduced"
    within, between = spreads(answers("query"))
    assert within[0] < 1.5 < between[0]
    unknown = replace(answers("query"), queries=None)
    told = claim.measure(Results([unknown]), ATR)
    assert isinstance(told, NotRun)
    assert "query photo" in told.reason
    static = replace(answers("support"), key=RunKey("eopnet", ATR, 1, "k", 0, "static"))
    both = quantity(kind="spread", of=["- eopnet", "+ eopnet:static"], label="x").measure(
        Results([answers("query"), static]), ATR
    )
    assert decide(both) == "reproduced"


def test_size_rank_is_a_rank_correlation() -> None:
    rng = np.random.default_rng(0)

    def sized(sign: int) -> Measured:
        made = np.zeros((40, 18, 18), np.int64)
        for pair in range(40):
            for c in fold("atr", 1).foreground:
                area = int(rng.integers(10, 1000))
                right = int(area * np.clip(0.5 + sign * (area - 500) / 1500 + rng.normal(0, 0.1), 0, 1))
                made[pair, c, c], made[pair, c, 0] = right, area - right
        return measured_of(RunKey("eopnet", ATR, 1, "k"), "lite", made, np.zeros(40))

    part = quantity(kind="size", of="eopnet", label="x")
    assert decide(part.measure(Results([sized(1)]), ATR)) == "reproduced"
    assert decide(part.measure(Results([sized(-1)]), ATR)) == "not reproduced"


def test_novel_confusions_go_to_novel_classes_or_not() -> None:
    split = fold("atr", 1)
    one, two, three = split.novel
    made = np.zeros((30, 18, 18), np.int64)
    made[:, one, two], made[:, two, three], made[:, three, split.base[1]] = 50, 40, 5
    made[:, one, one], made[:, one, 0] = 70, 90  # right answers and background do not count

    def told(matrices: np.ndarray) -> Outcome | NotRun:
        mine = measured_of(RunKey("eopnet", ATR, 1, "k"), "lite", matrices, np.zeros(30), queries=np.arange(30) // 3)
        return quantity(kind="confusions", of="eopnet", label="x").measure(Results([mine]), ATR)

    found = told(made)
    assert decide(found) == "reproduced"
    assert isinstance(found, Outcome)
    assert found.mean == pytest.approx(100 * (90 - 5) / 95)
    made[15:, three, split.base[1]] = 165  # now half the queries say this, half that
    assert decide(told(made)) == "undecided"
    made[:, three, split.base[1]] = 800
    assert decide(told(made)) == "not reproduced"
    assert isinstance(told(np.zeros((30, 18, 18), np.int64)), NotRun)


# ------------------------------------------------------------------------------------------------------ the whole


@pytest.fixture(scope="module")
def everything() -> Results:
    """A made-up result for every run that any claim asks for, so that every claim is decided once."""
    wanted: dict[RunKey, None] = {}
    for claim in CLAIMS:
        for family in claim.families:
            for part in (*claim.parts, *claim.also):
                wanted |= dict.fromkeys(side.key(PLACES[family]) for side in part.sides)
    rng = np.random.default_rng(0)
    history = [{"epoch": n, "novel_miou": float(rng.uniform()), "base_miou": 0.5} for n in range(1, 13)]
    return Results(run(key, flat(float(rng.uniform(0.3, 0.7))), pairs=24, history=history) for key in wanted)


COSTS = [{"rows": [{"method": name, "params_m": 1.0, "macs_g": 2.0, "fps": 3.0} for name in METHODS]}]


def test_every_claim_is_decided_when_everything_was_run(everything: Results) -> None:
    verdicts = ledger(everything, "lite", costs=COSTS, findings={})
    open_rows = [verdict for verdict in verdicts if verdict.word == "not run"]
    expected = {"aaai-novel-confused"}  # nothing is confused here
    assert {verdict.claim.id for verdict in open_rows} == expected
    for verdict in verdicts:
        for part in verdict.parts:
            assert part.figures
    counts = summary(verdicts)
    assert tuple(counts) == VERDICTS
    assert sum(counts.values()) == len(verdicts) == sum(len(claim.families) for claim in CLAIMS)


def test_nothing_run_is_said_so() -> None:
    verdicts = ledger(Results(otherwise="not trained"), "lite")
    declared = [one for one in verdicts if (one.claim.id, one.dataset) in UNTESTABLE]
    assert {one.word for one in declared} == {"not testable here"}
    assert summary(verdicts)["not run"] == len(verdicts) - len(declared)
    assert all(verdict.reason for verdict in verdicts)
    assert "not trained" in verdicts[0].reason


def test_renderings_hold_every_row(everything: Results) -> None:
    lost = next(one for one in ledger(everything, "lite") if one.word == "not reproduced")
    said_of = {(lost.claim.id, lost.dataset): "It was <tried> & failed.", (CLAIMS[0].id, "ccp-os"): "No failure."}
    verdicts = ledger(everything, "lite", findings=said_of)
    table = list(csv.DictReader(io.StringIO(to_csv(verdicts))))
    assert [(row["claim"], row["dataset"], row["verdict"]) for row in table] == [
        (one.claim.id, one.dataset, one.word) for one in verdicts
    ]
    said = [(row["where"], row["statement"], row["folds"], row["finding"]) for row in table]
    assert said == [
        (one.claim.where, one.claim.statement, one.folds, one.finding or one.untestable) for one in verdicts
    ]
    assert list(table[0]) == list(COLUMNS)
    assert [row["claim"] for row in table if row["finding"] == "It was <tried> & failed."] == [lost.claim.id]
    assert not any(row["finding"] == "No failure." for row in table), "a finding explains what did not reproduce"
    page = to_html(verdicts)
    assert "It was &lt;tried&gt; &amp; failed." in page
    assert page.count("<tr") == len(CLAIMS) + 1 + len(TOPICS)
    assert summary_line(verdicts) in html.unescape(page)
    assert len(page) < 400_000
    text = to_markdown(verdicts)
    assert text.count("\n| ") == len(CLAIMS) + len(TOPICS)  # a head for each kind of claim
    assert all(title in page and f"**{title}**" in text for title in TOPICS.values())
    for word in ("reproduced", "not reproduced", "not run"):
        assert word in page
        assert word in text


def test_findings_take_their_numbers_from_the_results() -> None:
    text = "From {eopnet novel synth-atr} to {eopnet:static novel synth-atr:.0f}; {sgone/papers novel synth-atr}."
    skills = {"": 0.6, "static": 0.4}
    runs = [run(RunKey("eopnet", ATR, 1, "k", 0, name), flat(skill)) for name, skill in skills.items()]
    one, two = (100 * made.score("novel") for made in runs)
    assert with_numbers(text, Results(runs)) == f"From {one:.1f} to {two:.0f}; not run."
