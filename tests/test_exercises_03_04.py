"""The checkers of notebooks 03 and 04: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import torch
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb03, nb04
from oshp_lite.models.modules.prototypes import masked_average


def shots(features, masks, class_id):
    inside = masks == class_id
    return (features * inside[:, None]).sum((0, 2, 3)) / inside.sum().clamp(min=1)


def mean_of_means(features, masks, class_id):
    seen = [f[:, m == class_id].mean(1) for f, m in zip(features, masks, strict=True) if (m == class_id).any()]
    return torch.stack(seen).mean(0)


def with_zero_rows(features, masks, class_id):
    rows = [
        (f * (m == class_id)).sum((1, 2)) / (m == class_id).sum().clamp(min=1)
        for f, m in zip(features, masks, strict=True)
    ]
    return torch.stack(rows).mean(0)


def shares(later=lambda alpha: 100 * (1 - alpha) * alpha**100, first=lambda alpha: 100 * (1 - alpha)):
    return lambda: {alpha: (first(alpha), later(alpha)) for alpha in (0.9, 0.999)}


def absent_ids(maps, n_ids):
    return ((1 - maps).sum(0) + n_ids - len(maps)) / n_ids


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb03.check_shots, shots),
    (nb03.check_wrong_label, shares()),
    (nb03.check_break, lambda: (7, "bag", "few cells")),
    (nb03.check_momentum, lambda: 0.98),
    (nb04.check_absent_ids, absent_ids),
    (nb04.check_weights, lambda: (24, 74, False)),
    (nb04.check_misled, lambda maps: (maps["face"] - maps["pants"]).clamp(-1, 1)),
    (nb04.check_scale, lambda: 7.0),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb03.check_shots, mean_of_means, "2 cells weigh as much as 12"),
    (nb03.check_shots, with_zero_rows, "towards zero"),
    (nb03.check_shots, lambda f, m, c: (f * (m == c)[:, None]).sum((0, 2, 3)), "divide it by their number"),
    (nb03.check_shots, lambda f, m, c: (f * (m == c)[:, None]).mean((0, 2, 3)), "all cells"),
    (nb03.check_shots, lambda f, m, c: f.permute(1, 0, 2, 3)[:, m == c].mean(1), "NaN"),
    (nb03.check_shots, lambda f, m, c: f[0, :, m[0] == c].mean(1), "differs from the mean"),
    (nb03.check_wrong_label, shares(first=lambda alpha: 1 - alpha), "percent, not fractions"),
    (nb03.check_wrong_label, shares(first=lambda alpha: 100 * alpha), "the new vector gets 1 - α"),
    (nb03.check_wrong_label, shares(later=lambda alpha: 100 * (1 - alpha)), "multiplies"),
    (nb03.check_wrong_label, shares(later=lambda alpha: 50.0), "grows"),
    (nb03.check_wrong_label, lambda: {0.9: (10, 0)}, "predict for"),
    (nb03.check_wrong_label, lambda: (10, 0.1), "return a dict"),
    (nb03.check_break, lambda: (10, "bag", "few cells"), "the query itself"),
    (nb03.check_break, lambda: (8, "pants", "few cells"), "halves the median"),
    (nb03.check_break, lambda: (14, "pants", "few cells"), "but not by"),
    (nb03.check_break, lambda: (7, "bag", "bad luck"), "the reason is one of"),
    (nb03.check_break, lambda: (0, "dress", "few cells"), "has not one cell"),
    (nb03.check_break, lambda: (99, "bag", "few cells"), "from 0 to 23"),
    (nb03.check_momentum, lambda: 0.999, "the features were poor"),
    (nb03.check_momentum, lambda: 0.5, "noise of single photos"),
    (nb03.check_momentum, lambda: 1.0, "lies in [0, 1)"),
    (nb04.check_absent_ids, lambda m, n: (1 - m).mean(0), "over all ids"),
    (nb04.check_absent_ids, lambda m, n: (1 - m).sum(0) / n, "absent ids count too"),
    (nb04.check_absent_ids, lambda m, n: m.sum(0) / n, "similarity"),
    (nb04.check_absent_ids, lambda m, n: ((1 - m).sum(0) + n) / n, "counted every id"),
    (nb04.check_weights, lambda: (76, 26, False), "AGM's shares"),
    (nb04.check_weights, lambda: (0, 100, False), "a switch"),
    (nb04.check_weights, lambda: (50, 74, False), "the weight at half time"),
    (nb04.check_weights, lambda: (24, 90, False), "in the second half"),
    (nb04.check_weights, lambda: (24, 74, True), "never quite"),
    (nb04.check_misled, lambda maps: maps["pants"], "dark on the pants"),
    (nb04.check_misled, lambda maps: torch.zeros_like(maps["face"]), "from memory"),
    (nb04.check_misled, lambda maps: 3 * maps["face"], "lies in [-1, 1]"),
    (nb04.check_misled, lambda maps: -maps["face"], "bright on the face"),
    (nb04.check_scale, lambda: 1.0, "raise the scale"),
    (nb04.check_scale, lambda: 100.0, "lower the scale"),
    (nb04.check_scale, lambda: -5.0, "0 or less"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)


def test_the_learner_s_output_is_drawn() -> None:
    for check, attempt in SOLUTIONS:
        assert check(attempt).picture is not None, check.__name__
    assert nb03.check_momentum(lambda: 0.5).picture is not None


def test_another_pooling_is_compared_with_the_mean() -> None:
    mean = nb03.compare_pooling(lambda z, cells, n_ids: masked_average(z[None], cells[None], n_ids)[0])
    assert mean.count("+0.000 [+0.000, +0.000]") == 2
    crude = nb03.compare_pooling(lambda z, cells, n_ids: (masked_average(z[None], cells[None], n_ids)[0] > 0).float())
    assert crude.splitlines()[0] == mean.splitlines()[0]
    assert crude != mean
