"""The checkers of notebooks 03 and 04: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import math

import torch
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb03, nb04


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


def naive_softmax(scores, background):
    powers = torch.cat([background[None], scores]).exp()
    return powers / powers.sum(0)


def unexponentiated(scores, background):
    powers = torch.cat([background[None], scores.exp()])
    return powers / powers.sum(0)


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb03.check_masked_average, average),
    (nb03.check_half_life, half_life),
    (nb03.check_bank_update, update),
    (nb04.check_attend, attend),
    (nb04.check_background_map, background),
    (nb04.check_softmax, softmax),
    (nb04.check_shift, shift),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb03.check_masked_average, lambda f, m, c: (f * (m == c)).sum((1, 2)), "sum over the class's cells"),
    (nb03.check_masked_average, lambda f, m, c: (f * (m == c)).mean((1, 2)), "number of all cells"),
    (nb03.check_masked_average, lambda f, m, c: f.mean((1, 2)), "whole photo"),
    (nb03.check_masked_average, lambda f, m, c: f[:, m == c].mean(1), "NaN"),
    (nb03.check_masked_average, lambda f, m, c: (f * (m == c))[0], "shape"),
    (nb03.check_half_life, lambda a: 1 / (1 - a), "1/e"),
    (nb03.check_half_life, lambda a: math.ceil(0.5 / (1 - a)) if a == 0.999 else half_life(a), "by the factor"),
    (nb03.check_half_life, lambda a: half_life(a) - 1, "not below one half"),
    (nb03.check_half_life, lambda a: half_life(a) + 3, "you say"),
    (nb03.check_half_life, lambda a: "693", "must be a number"),
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

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
