"""Notebook 03, section 9: the background by a prototype of its own, or by the mean dissimilarity to the classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from oshp_lite.book.lessons.heads import Bench, Design, Head, copy_matrices, matrices_of, train_head
from oshp_lite.book.lessons.record import Lesson, Row, compared

COPY, WHOLE = "copy the support's mask", "the run itself, whole network"
PROTOTYPE, DISSIMILARITY = "background prototype", "mean dissimilarity"
SEEN = ", trained with all labels"


def measure(bench: Bench, *, steps: int, seeds: int, whole: Any = None) -> dict[str, Any]:
    """Return the rows of both designs, each trained with novel classes hidden and with all labels, and differences.

    whole  the run's own confusion matrices int64 [P,C,C] on the same pairs, for comparison
    """
    rows = [Row(COPY, [copy_matrices(bench)])]
    designs: dict[str, Design] = {PROTOTYPE: "prototype", DISSIMILARITY: "dissimilarity"}
    for label, background in designs.items():
        for suffix, hide in (("", True), (SEEN, False)):
            make, learn = partial(Head, background=background), partial(train_head, bench, steps=steps, hide=hide)
            heads = [learn(make, lambda progress: 0.0, seed=seed)[0] for seed in range(seeds)]
            rows.append(Row(label + suffix, [matrices_of(bench, head)["npm"] for head in heads]))
    differences = [
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

    The reason is that hiding the novel classes hurts a background prototype more. It counts as seen where the designs'
    difference in bias with hidden labels lies, interval against interval, apart from that with all labels.
    """
    designs, seen = (f"{PROTOTYPE}{words} minus {DISSIMILARITY}{words}" for words in ("", SEEN))
    (_, low, high), (_, seen_low, seen_high) = (lesson.difference(name, "missed") for name in (designs, seen))
    borne = low > seen_high
    if borne:
        reason = "The paper's reason is seen: hiding the novel classes hurts the background prototype more."
    elif high < seen_low:
        reason = "The paper's reason is not seen: hiding the novel classes hurts the mean dissimilarity more."
    else:
        reason = "This experiment cannot say which design is hurt more by hiding the novel classes."
    steps = [
        f"called background, {name}: {lesson.score(name, 'missed'):.0f} % of the novel pixels after training with "
        f"hidden classes, {lesson.score(name + SEEN, 'missed'):.0f} % with all labels"
        for name in (PROTOTYPE, DISSIMILARITY)
    ]
    (_, low, high), (_, seen_low, seen_high) = (lesson.difference(name) for name in (designs, seen))
    if low > 0:
        also = ", with hidden classes and with all labels" if seen_low > 0 else ""
        still = " nevertheless" * borne
        outcome = f"The background prototype{still} parses novel classes better{also}."
    elif high < 0:
        also = ", with hidden classes and with all labels" if seen_high < 0 else ""
        outcome = f"The mean dissimilarity parses novel classes better{also}."
    else:
        outcome = "On novel classes this experiment cannot separate the two designs."
    trivial = lesson.difference(f"{DISSIMILARITY} minus {COPY}")[1] > 0
    floor = f"The {DISSIMILARITY} {'clears' if trivial else 'does not clear'} the trivial parser on novel classes."
    return "\n".join(
        [reason, *steps, outcome, floor, *(lesson.says(designs, measure) for measure in ("novel", "missed"))]
    )
