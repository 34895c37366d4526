"""What every exercise's checker must do, written once: a test module calls `checker_tests` with its attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from oshp_lite.book.exercises import NOT_ATTEMPTED, Verdict

Check = Callable[[Any], Verdict]
Attempt = Callable[..., Any]


def checker_tests(solutions: Sequence[tuple[Check, Attempt]], mistakes: Sequence[tuple[Check, Attempt, str]]) -> type:
    """A class of tests: solutions pass, mistakes get their hint, stubs are no mistakes, odd attempts do not crash."""
    checks = list(dict.fromkeys(check for check, _ in solutions))

    class CheckerTests:
        @pytest.mark.parametrize(("check", "attempt"), solutions)
        def test_the_solution_passes(self, check: Check, attempt: Attempt) -> None:
            verdict = check(attempt)
            assert verdict.ok, verdict
            assert repr(verdict).startswith("correct: ")

        @pytest.mark.parametrize(("check", "attempt", "hint"), mistakes)
        def test_a_typical_mistake_is_explained(self, check: Check, attempt: Attempt, hint: str) -> None:
            verdict = check(attempt)
            assert not verdict.ok
            assert hint in verdict.message, verdict.message
            assert repr(verdict).startswith("not yet: ")

        @pytest.mark.parametrize("check", checks)
        def test_stubs_and_odd_attempts(self, check: Check) -> None:
            for stub in (NOT_ATTEMPTED, lambda *given: NOT_ATTEMPTED):
                verdict = check(stub)
                assert (verdict.ok, verdict.attempted, repr(verdict)) == (False, False, "not attempted yet")
            odd = {
                "stopped with TypeError": lambda a, b, c, d, e, f: 1,
                "returns nothing": lambda *given: None,
                "function itself": 3,
            }
            for hint, attempt in {**odd, "": lambda *given: "words"}.items():
                verdict = check(attempt)
                assert (verdict.ok, verdict.attempted) == (False, True)
                assert hint in verdict.message

        def test_each_checker_knows_three_mistakes(self) -> None:
            known = {check: sum(other is check for other, _, _ in mistakes) for check in checks}
            assert not {check.__name__: count for check, count in known.items() if count < 3}

    return CheckerTests
