"""Notebook 03, section 9: the background by a prototype of its own, or by the mean dissimilarity to the classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from oshp_lite.book.lessons.heads import Bench, Design, Head, copy_matrices, matrices_of, train_head
from oshp_lite.book.lessons.record import MEASURES, Lesson, Row, compared

COPY, WHOLE = "copy the support's mask", "the run itself, whole network"
PROTOTYPE, DISSIMILARITY = "background prototype", "mean dissimilarity"
SEEN = ", trained with all labels"
BEFORE = ", before training"


def measure(bench: Bench, *, steps: int, seeds: int, whole: Any = None) -> dict[str, Any]:
    """Return both designs before training, and trained with novel classes hidden and with all labels; and differences.

    whole  the run's own confusion matrices int64 [P,C,C] on the same pairs, for comparison
    """
    rows = [Row(COPY, [copy_matrices(bench)])]
    designs: dict[str, Design] = {PROTOTYPE: "prototype", DISSIMILARITY: "dissimilarity"}
    for label, background in designs.items():
        for suffix, hide, count in ((BEFORE, True, 0), ("", True, steps), (SEEN, False, steps)):
            make, learn = partial(Head, background=background), partial(train_head, bench, steps=count, hide=hide)
            heads = [learn(make, lambda progress: 0.0, seed=seed)[0] for seed in range(seeds)]
            rows.append(Row(label + suffix, [matrices_of(bench, head)["npm"] for head in heads]))
    differences = [
        (PROTOTYPE + BEFORE, DISSIMILARITY + BEFORE),
        (PROTOTYPE, PROTOTYPE + BEFORE),
        (DISSIMILARITY, DISSIMILARITY + BEFORE),
        (PROTOTYPE, DISSIMILARITY),
        (PROTOTYPE + SEEN, DISSIMILARITY + SEEN),
        (PROTOTYPE, COPY),
        (DISSIMILARITY, COPY),
    ]
    if whole is not None:
        rows.append(Row(WHOLE, [whole]))
    return compared(rows, differences, bench.queries, bench.fold)


def reading(lesson: Lesson) -> str:
    """Return in words what a record says about the reason for having no background prototype, and about the choice.

    The reason is that hiding the novel classes hurts a background prototype more. It counts as seen in a measure where
    the designs' difference with hidden labels lies, interval against interval, apart from that with all labels.
    """
    designs, seen, before = (f"{PROTOTYPE}{words} minus {DISSIMILARITY}{words}" for words in ("", SEEN, BEFORE))
    lines = []
    for measure, worse in (("missed", 1), ("novel", -1)):
        (_, low, high), (_, seen_low, seen_high) = (lesson.difference(name, measure) for name in (designs, seen))
        sign = worse * ((low > seen_high) - (high < seen_low))
        hurt = {1: f"the {PROTOTYPE} more", -1: f"the {DISSIMILARITY} more", 0: "neither design clearly more"}[sign]
        lines.append(f"{MEASURES[measure]}: hiding the novel classes hurts {hurt}")
    for name in (PROTOTYPE, DISSIMILARITY):
        shares = [f"{lesson.score(name + words, 'missed'):.0f} %" for words in (BEFORE, "", SEEN)]
        lines.append(
            f"called background, {name}: {shares[0]} of the novel pixels before training, {shares[1]} after training "
            f"with hidden classes, {shares[2]} with all labels"
        )
    compared_by = [(designs, "novel"), (designs, "missed"), (seen, "novel"), (before, "novel")]
    compared_by += [(f"{name} minus {name}{BEFORE}", "novel") for name in (PROTOTYPE, DISSIMILARITY)]
    lines += [lesson.says(name, measure) for name, measure in compared_by]
    trivial = lesson.difference(f"{DISSIMILARITY} minus {COPY}")[1] > 0
    clears = "clears" if trivial else "does not clear"
    return "\n".join([*lines, f"novel mIoU: after training with hidden classes the {DISSIMILARITY} {clears} the copy"])
