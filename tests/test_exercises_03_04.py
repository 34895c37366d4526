"""The checkers of notebooks 03 and 04: solutions pass, typical mistakes are told apart, stubs do not stop a run."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest
import torch

from oshp_lite.book.exercises import NOT_ATTEMPTED, Verdict, nb03, nb04


def average(features, mask, class_id):
    area = mask == class_id
    return (features * area).sum((1, 2)) / area.sum().clamp(min=1)


def half_life(alpha):
    updates = 1
    while alpha**updates >= 0.5:
        updates += 1
    return updates


def update(bank, static, alpha, order="sequential", skip_empty=True, background=False):
    bank, used, old = bank.clone(), torch.zeros_like(static), bank.clone()
    for c in range(0 if background else 1, len(bank)):
        for b in range(len(static)):
            p = static[b, c]
            source = bank if order == "sequential" else old
            if skip_empty and p.abs().sum() == 0:
                continue
            used[b, c] = p if skip_empty and source[c].abs().sum() == 0 else alpha * source[c] + (1 - alpha) * p
            bank[c] = used[b, c]
    return bank, used


def attend(features, maps):
    return maps[:, None] * features + features


def background(maps, present):
    return (1 - maps[present]).mean(0)


def softmax(scores, background):
    return torch.cat([background[None], scores]).softmax(0)


def shift(epoch, epochs):
    return 1 - epoch / epochs, epoch / epochs


SOLUTIONS = [
    (nb03.check_masked_average, average),
    (nb03.check_half_life, half_life),
    (nb03.check_bank_update, update),
    (nb04.check_attend, attend),
    (nb04.check_background_map, background),
    (nb04.check_softmax, softmax),
    (nb04.check_shift, shift),
]


@pytest.mark.parametrize(("check", "solution"), SOLUTIONS)
def test_the_solution_passes(check, solution):
    verdict = check(solution)
    assert verdict.ok, verdict.message
    assert verdict.attempted
    assert repr(verdict).startswith("correct")


@pytest.mark.parametrize(("check", "solution"), SOLUTIONS)
def test_a_stub_is_not_a_mistake(check, solution):
    for stub in (NOT_ATTEMPTED, lambda *arguments: NOT_ATTEMPTED):
        verdict = check(stub)
        assert (verdict.ok, verdict.attempted) == (False, False)
        assert repr(verdict) == "not attempted yet"


def naive_softmax(scores, background):
    powers = torch.cat([background[None], scores]).exp()
    return powers / powers.sum(0)


def unexponentiated(scores, background):
    powers = torch.cat([background[None], scores.exp()])
    return powers / powers.sum(0)


WRONG = [
    (nb03.check_masked_average, lambda f, m, c: (f * (m == c)).sum((1, 2)), "sum over the class's cells"),
    (nb03.check_masked_average, lambda f, m, c: (f * (m == c)).mean((1, 2)), "number of all cells"),
    (nb03.check_masked_average, lambda f, m, c: f.mean((1, 2)), "whole photo"),
    (nb03.check_masked_average, lambda f, m, c: f[:, m == c].mean(1), "NaN"),
    (nb03.check_masked_average, lambda f, m, c: (f * (m == c))[0], "shape"),
    (nb03.check_half_life, lambda a: 1 / (1 - a), "1/e"),
    (nb03.check_half_life, lambda a: math.ceil(0.5 / (1 - a)) if a == 0.999 else half_life(a), "by the factor"),
    (nb03.check_half_life, lambda a: half_life(a) - 1, "not below one half"),
    (nb03.check_half_life, lambda a: half_life(a) + 3, "you say"),
    (nb03.check_half_life, lambda a: "693", "number is asked for"),
    (nb03.check_bank_update, lambda b, s, a: update(b, s, 1 - a), "α stands on the old value"),
    (nb03.check_bank_update, lambda b, s, a: update(b, s, a, order="parallel"), "sample 1 must see the bank"),
    (nb03.check_bank_update, lambda b, s, a: update(b, s, a, skip_empty=False), "class 2"),
    (nb03.check_bank_update, lambda b, s, a: update(b, s, a, background=True), "row 0 is the background"),
    (nb03.check_bank_update, lambda b, s, a: update(b, s, a)[0], "two tensors"),
    (nb04.check_attend, lambda f, m: m[:, None] * f, "residual is missing"),
    (nb04.check_attend, lambda f, m: m[:, None] + f, "multiplies"),
    (nb04.check_attend, lambda f, m: m[:, None] * f + m[:, None], "residual is the feature"),
    (nb04.check_attend, lambda f, m: (m[:, None] * f + f).sum(0), "shape"),
    (nb04.check_background_map, lambda m, p: (1 - m).mean(0), "official code"),
    (nb04.check_background_map, lambda m, p: m[p].mean(0), "similarity"),
    (nb04.check_background_map, lambda m, p: (1 - m[p]).sum(0), "not yet divided"),
    (nb04.check_background_map, lambda m, p: 1 - m[p].max(0).values, "nearest prototype"),
    (nb04.check_background_map, lambda m, p: (1 / 4 - 1) * (1 - m[p]).sum(0), "misprint"),
    (nb04.check_softmax, naive_softmax, "overflow"),
    (nb04.check_softmax, unexponentiated, "not exponentiated"),
    (nb04.check_softmax, lambda s, b: torch.cat([b[None], s]).sigmoid(), "compete"),
    (nb04.check_softmax, lambda s, b: torch.cat([s, b[None]]).softmax(0), "come first"),
    (nb04.check_shift, lambda e, n: (e / n, 1 - e / n), "wrong way round"),
    (nb04.check_shift, lambda e, n: (1 - e / (n - 1), e / (n - 1)), "epochs - 1"),
    (nb04.check_shift, lambda e, n: (1.0, 1.0), "sum to"),
    (nb04.check_shift, lambda e, n: (0.5, 0.5), "AGM's weight is"),
]


@pytest.mark.parametrize(("check", "answer", "words"), WRONG)
def test_a_typical_mistake_is_explained(check, answer, words):
    verdict = check(answer)
    assert not verdict.ok
    assert verdict.attempted
    assert words in verdict.message
    assert repr(verdict).startswith("not yet")


@pytest.mark.parametrize(("check", "solution"), SOLUTIONS)
def test_every_checker_knows_three_mistakes(check, solution):
    assert sum(other is check for other, _, _ in WRONG) >= 3


@pytest.mark.parametrize(("check", "solution"), SOLUTIONS)
def test_crashes_and_empty_answers_are_explained(check, solution):
    assert "stopped with TypeError" in check(lambda: 1).message
    assert "returns nothing" in check(lambda *arguments: None).message
    assert "pass the function itself" in check(3).message


def test_the_learner_cannot_spoil_the_checkers_tensors():
    def greedy(features, mask, class_id):
        result = average(features, mask, class_id)
        features.zero_()
        mask.zero_()
        return result

    assert nb03.check_masked_average(greedy).ok


def test_a_verdict_says_what_it_is():
    assert repr(Verdict(True, "yes")) == "correct: yes"


@pytest.mark.parametrize(("name", "exercises"), [("03_prototype_math", 3), ("04_agm_npm_dml", 4)])
def test_the_solution_notebook_satisfies_every_checker(name, exercises):
    path = Path(__file__).parents[1] / "notebooks" / "solutions" / f"{name}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    space, verdicts = {}, []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        asks = isinstance(tree.body[-1], ast.Expr)
        last = ast.Expression(tree.body.pop().value) if asks else None
        exec(compile(tree, name, "exec"), space)
        if last is not None:
            verdicts.append(eval(compile(last, name, "eval"), space))
    assert len(verdicts) == exercises
    assert all(verdict.ok for verdict in verdicts), verdicts
