"""The checkers of notebooks 05 and 06: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

from typing import Any

import torch
from exercise_frame import Attempt, Check, checker_tests
from torch.nn import functional as F

from oshp_lite.book.exercises import nb05, nb06


def parents(mask: torch.Tensor, groups: dict[str, tuple[int, ...]], start: int = 1) -> torch.Tensor:
    result = torch.zeros_like(mask)
    for parent, ids in enumerate(groups.values(), start=start):
        result[torch.isin(mask, torch.tensor(ids))] = parent
    return result


def parents_with_ignore(mask: torch.Tensor, groups: dict[str, tuple[int, ...]], start: int = 1) -> torch.Tensor:
    return torch.where(mask == 255, 255, parents(mask, groups, start))


def parents_in_place(mask: torch.Tensor, groups: dict[str, tuple[int, ...]]) -> torch.Tensor:
    for parent, ids in enumerate(groups.values(), start=1):
        for class_id in ids:
            mask[mask == class_id] = parent
    return mask


def parents_keeping_strangers(mask: torch.Tensor, groups: dict[str, tuple[int, ...]]) -> torch.Tensor:
    return torch.where(mask == 7, 7, parents_with_ignore(mask, groups))


def disjoint(novel: set[int], groups: dict[str, tuple[int, ...]]) -> bool:
    return all(not (set(ids) & novel) or set(ids) <= novel for ids in groups.values())


def up(x: torch.Tensor, like: torch.Tensor, **options: Any) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[-2:], **(options or {"mode": "bilinear", "align_corners": True}))


def contrast(query: torch.Tensor, support: torch.Tensor, tau: float) -> torch.Tensor:
    cosine = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
    return F.cross_entropy(cosine / tau, torch.arange(len(query)))


def contrast_without_the_positive(query: torch.Tensor, support: torch.Tensor, tau: float) -> torch.Tensor:
    cosine = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T / tau
    others = cosine.masked_fill(torch.eye(len(query), dtype=torch.bool), float("-inf"))
    return (others.logsumexp(1) - cosine.diagonal()).mean()


def screened(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    return torch.where(coarse.argmax(1) == 1, fine.argmax(1), 0)


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb05.check_parent_mask, parents_with_ignore),
    (nb05.check_cluster_disjoint, disjoint),
    (nb05.check_infuse, lambda p, c: torch.cat([up(p, c), c], 1)),
    (nb05.check_unit_parameters, lambda i, o: 9 * i + 2 * i + i * o + 2 * o),
    (nb06.check_rectified_block, lambda x, body: body(x.relu()) + x.relu()),
    (nb06.check_screening, screened),
    (nb06.check_contrast, contrast),
    (nb06.check_conv_macs, lambda i, o, k, h, w, g: i // g * o * k * k * h * w),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb05.check_parent_mask, parents, "255"),
    (nb05.check_parent_mask, lambda m, g: parents_with_ignore(m, g, 0), "Count the parents from 1"),
    (nb05.check_parent_mask, parents_in_place, "fresh tensor"),
    (nb05.check_parent_mask, parents_keeping_strangers, "class 7"),
    (nb05.check_parent_mask, lambda m, g: parents_with_ignore(m, g).float(), "int64"),
    (nb05.check_parent_mask, lambda m, g: parents_with_ignore(m, dict(reversed(g.items()))), "wrong parent"),
    (nb05.check_cluster_disjoint, lambda n, g: any(set(ids) == n for ids in g.values()), "two areas"),
    (nb05.check_cluster_disjoint, lambda n, g: any(set(ids) <= n for ids in g.values()), "nothing is novel"),
    (nb05.check_cluster_disjoint, lambda n, g: True, "gives the novel one away"),
    (nb05.check_cluster_disjoint, lambda n, g: len(n) != 1, "two areas are split"),
    (nb05.check_cluster_disjoint, lambda n, g: 1, "True or False"),
    (nb05.check_infuse, lambda p, c: torch.cat([c, up(p, c)], 1), "order is reversed"),
    (nb05.check_infuse, lambda p, c: up(p, c) + c, "concatenates"),
    (nb05.check_infuse, lambda p, c: torch.cat([up(p, c, mode="nearest"), c], 1), "nearest"),
    (nb05.check_infuse, lambda p, c: torch.cat([up(p, c, mode="bilinear", align_corners=False), c], 1), "half-pixel"),
    (nb05.check_infuse, lambda p, c: torch.cat([p, up(c, p)], 1), "shrank"),
    (nb05.check_infuse, lambda p, c: torch.cat([p, c], 1), "RuntimeError"),
    (nb05.check_unit_parameters, lambda i, o: 9 * i * o, "ordinary 3x3"),
    (nb05.check_unit_parameters, lambda i, o: 9 * i + i * o, "batch normalisations"),
    (nb05.check_unit_parameters, lambda i, o: 9 * i + 3 * i + i * o + 3 * o, "no bias"),
    (nb05.check_unit_parameters, lambda i, o: 9 * i + 4 * i + i * o + 4 * o, "buffers"),
    (nb06.check_rectified_block, lambda x, body: body(x.relu()) + x, "raw input"),
    (nb06.check_rectified_block, lambda x, body: body(x) + x, "no ReLU at all"),
    (nb06.check_rectified_block, lambda x, body: (body(x) + x).relu(), "does not close"),
    (nb06.check_rectified_block, lambda x, body: body(x.relu()), "shortcut is missing"),
    (nb06.check_rectified_block, lambda x, body: body(x) + x.relu(), "body must get"),
    (nb06.check_screening, lambda f, c: f.argmax(1), "nothing is screened"),
    (nb06.check_screening, lambda f, c: torch.where(c.argmax(1) == 1, 0, f.argmax(1)), "wrong way round"),
    (nb06.check_screening, lambda f, c: torch.where(c.argmax(1) == 1, f[:, 1:].argmax(1) + 1, 0), "force a class"),
    (nb06.check_screening, lambda f, c: torch.where(c[:, 1] > 0, f.argmax(1), 0), "compare the person score"),
    (nb06.check_screening, lambda f, c: f * (c.argmax(1) == 1)[:, None], "still scores"),
    (nb06.check_contrast, lambda q, s, t: F.cross_entropy(q @ s.T / t, torch.arange(4)), "dot products"),
    (nb06.check_contrast, lambda q, s, t: contrast(q, s, 1.0), "temperature"),
    (nb06.check_contrast, lambda q, s, t: contrast(q, s, 1 / t), "multiply"),
    (nb06.check_contrast, lambda q, s, t: contrast(s, q, t), "denominator runs over"),
    (nb06.check_contrast, lambda q, s, t: 4 * contrast(q, s, t), "sum over classes"),
    (nb06.check_contrast, contrast_without_the_positive, "leaves out"),
    (nb06.check_conv_macs, lambda i, o, k, h, w, g: 2 * (i // g * o * k * k * h * w), "one MAC"),
    (nb06.check_conv_macs, lambda i, o, k, h, w, g: i * o * k * k * h * w, "with groups"),
    (nb06.check_conv_macs, lambda i, o, k, h, w, g: i // g * o * h * w, "kernel"),
    (nb06.check_conv_macs, lambda i, o, k, h, w, g: i // g * o * k * k, "weights"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
