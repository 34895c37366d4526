"""The checkers of notebook 11: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb11

GOOD = {"momentum": True, "NPM scale": False, "temperature": False}


def blended(cos_static, cos_bank, static, bank, alpha):
    length = (alpha * bank + (1 - alpha) * static).norm()
    return float((alpha * bank.norm() * cos_bank + (1 - alpha) * static.norm() * cos_static) / length)


def weighted(cos_static, cos_bank, static, bank, alpha):
    return float(alpha * bank.norm() * cos_bank + (1 - alpha) * static.norm() * cos_static)


def summed(cos_static, cos_bank, static, bank, alpha):
    return weighted(cos_static, cos_bank, static, bank, alpha) / float(
        alpha * bank.norm() + (1 - alpha) * static.norm()
    )


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb11.check_prediction, lambda sliders: GOOD),
    (nb11.check_blended_cosine, blended),
]
MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb11.check_prediction, lambda sliders: {**GOOD, "NPM scale": True}, "their order stays"),
    (nb11.check_prediction, lambda sliders: {**GOOD, "temperature": True}, "their order stays"),
    (nb11.check_prediction, lambda sliders: {**GOOD, "momentum": False}, "another angle"),
    (nb11.check_prediction, lambda sliders: {"momentum": True}, "exactly these sliders"),
    (nb11.check_prediction, lambda sliders: ["momentum"], "dictionary"),
    (nb11.check_blended_cosine, lambda s, b, p, q, a: a * b + (1 - a) * s, "forgets the lengths"),
    (nb11.check_blended_cosine, weighted, "divide by the length"),
    (nb11.check_blended_cosine, summed, "shorter than its parts"),
    (nb11.check_blended_cosine, lambda s, b, p, q, a: blended(s, b, p, q, 1 - a), "alpha stands on the bank"),
    (nb11.check_blended_cosine, lambda s, b, p, q, a: "0.5", "must be a number"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
