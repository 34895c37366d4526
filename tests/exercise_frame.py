"""What every exercise's checker must do, written once: a test module calls `checker_tests` with its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from oshp_lite.book.exercises.common import NOT_ATTEMPTED, Verdict

Check = Callable[[Any], Verdict]
Answer = Callable[..., Any]


def checker_tests(solutions: Sequence[tuple[Check, Answer]], mistakes: Sequence[tuple[Check, Answer, str]]) -> type:
    """A class of tests: solutions pass, mistakes get their hint, stubs are no mistakes, odd answers do not crash."""
    checks = list(dict.fromkeys(check for check, _ in solutions))

    class CheckerTests:
        @pytest.mark.parametrize(("check", "answer"), solutions)
        def test_the_solution_passes(self, check: Check, answer: Answer) -> None:
            verdict = check(answer)
            assert verdict.ok, verdict

        @pytest.mark.parametrize(("check", "answer", "hint"), mistakes)
        def test_a_typical_mistake_is_explained(self, check: Check, answer: Answer, hint: str) -> None:
            verdict = check(answer)
            assert not verdict.ok
            assert hint in verdict.message, verdict.message

        @pytest.mark.parametrize("check", checks)
        def test_the_untouched_stub_is_not_a_mistake(self, check: Check) -> None:
            verdict = check(lambda *given: NOT_ATTEMPTED)
            assert not verdict.ok
            assert not verdict.attempted

        @pytest.mark.parametrize("check", checks)
        def test_odd_answers_are_explained(self, check: Check) -> None:
            for odd in (lambda *given: None, lambda *given: "words", lambda: 1, 3):
                verdict = check(odd)
                assert not verdict.ok
                assert verdict.attempted
                assert verdict.message

        @pytest.mark.parametrize("check", checks)
        def test_each_checker_knows_three_mistakes(self, check: Check) -> None:
            assert sum(known is check for known, _, _ in mistakes) >= 3

    return CheckerTests
