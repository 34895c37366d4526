"""Small heads trained on the frozen features of a trained run: what notebooks 03 and 04 compare.

The encoder is run once over every photo and its features are kept; a head is a fresh projection with one or both of the
papers' modules on top. Novel classes are hidden in training, as the run's own training hid them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.loading import PhotoCache
from oshp_lite.data.pairs import Pair
from oshp_lite.data.transforms import as_size, fit, resize_labels, to_tensors
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import pair_matrices
from oshp_lite.labels import IGNORE, Fold
from oshp_lite.models.base import mask_absent_logits
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss, restrict_target
from oshp_lite.models.modules.metric import AttentionGuidance, NearestPrototype, class_mean, cosine_maps, guide_each
from oshp_lite.models.modules.prototypes import masked_average, present_ids, shrink_mask

BATCH = 16
"""Photos or pairs at a time where nothing is learnt."""
Design = Literal["dissimilarity", "prototype"]
PROJECTED = 32
"""Channels of a head's projection."""


class Photos(NamedTuple):
    """Photos as a frozen encoder sees them: features float16 [N,D,h,w], images uint8 [N,H,W,3], masks uint8 [N,H,W]."""

    features: Tensor
    images: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class Bench:
    """All that heads are trained and tested on.

    train, test  photos; pairs int64 [P,2]: query and support, places in `test`
    queries      the query photo of each pair, as intervals are drawn over it
    numbers      the pairs' places in the run's own list of test pairs
    stems        the names of the photos of `test`
    """

    fold: Fold
    train: Photos
    test: Photos
    pairs: Tensor
    queries: list[int]
    numbers: list[int]
    stems: tuple[str, ...] = ()

    def some(self, every: int) -> Bench:
        """Return the same with every n-th pair only."""
        chosen = slice(None, None, every)
        return replace(self, pairs=self.pairs[chosen], queries=self.queries[chosen], numbers=self.numbers[chosen])


def bench_of(parser: Any, dataset: OneShotDataset, config: RunConfig, n_train: int, n_pairs: int | None) -> Bench:
    """Return the features of a run's photos: the first of its training, and those of its test pairs.

    Of every query photo and class the first pair takes part, `n_pairs` of these, spread evenly over the list (None:
    all), so that the pairs show as many people as there are.
    """
    chosen = run_fold(config, dataset)
    exam = test_set(config, dataset, chosen)
    numbers = first_pairs(exam.pairs(), n_pairs)
    listed = [exam.pairs()[number] for number in numbers]
    lines = sorted({line for pair in listed for line in (pair.query, pair.support)})
    stems = dataset.stems("test")
    seen = tuple(stems[line] for line in lines)
    test = _encoded(parser, dataset, config, seen)
    train = _encoded(parser, dataset, config, dataset.stems("train")[:n_train])
    place = {line: number for number, line in enumerate(lines)}
    pairs = torch.tensor([[place[pair.query], place[pair.support]] for pair in listed])
    return Bench(chosen, train, test, pairs, [pair.query for pair in listed], numbers, seen)


def first_pairs(pairs: Sequence[Pair], count: int | None) -> list[int]:
    """Return the number of the first pair of each query photo and class, or `count` of these, spread over the list."""
    first = {(pair.query, pair.class_id): place for place, pair in reversed(list(enumerate(pairs)))}
    numbers = sorted(first.values())
    some = range(len(numbers)) if count is None or count >= len(numbers) else range(count)
    return [numbers[place * len(numbers) // len(some)] for place in some]


@torch.inference_mode()
def _encoded(parser: Any, dataset: OneShotDataset, config: RunConfig, stems: Sequence[str]) -> Photos:
    size, cache = as_size(config.eval.test_size or config.data.size), PhotoCache(dataset, 0)
    features, images, masks = [], [], []
    for start in range(0, len(stems), BATCH):
        samples = [fit(cache.read(stem), size) for stem in stems[start : start + BATCH]]
        batch = torch.stack([to_tensors(sample, config.data.channels)[0] for sample in samples])
        features.append(parser.encoder(batch).half())
        images += [torch.from_numpy(sample.image) for sample in samples]
        masks += [torch.from_numpy(sample.mask) for sample in samples]
    return Photos(torch.cat(features), torch.stack(images), torch.stack(masks))


class Head(nn.Module):
    """A projection of frozen features with the nearest prototype module and, if `guided`, the attention guidance.

    background  what the background's score comes from: the mean "dissimilarity" to the support's classes (journal,
                Eq. 8), or a "prototype" of its own pooled from the cells labelled 0
    """

    def __init__(
        self,
        inputs: int,
        n_ids: int,
        *,
        background: Design = "dissimilarity",
        guided: bool = False,
        width: int = PROJECTED,
    ) -> None:
        super().__init__()
        self.n_ids, self.background = n_ids, background
        self.project = nn.Conv2d(inputs, width, 1)
        self.npm = NearestPrototype()
        for scalar in (self.npm.foreground, self.npm.background, self.npm.fusion):
            nn.init.ones_(scalar.weight)
            nn.init.zeros_(scalar.bias)  # type: ignore[arg-type]
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.guidance = AttentionGuidance(width, "plain1") if guided else None

    def forward(self, query: Tensor, support: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Logits float [B,C,h,w] by module: features [B,D,h,w], support masks int64 [B,h,w]; absent ids cannot win."""
        query, support = self.project(query), self.project(support)
        present = present_ids(mask, self.n_ids)
        present[:, 0] = True
        rows, visible = masked_average(support, mask, self.n_ids), present[:, 1:]
        maps = cosine_maps(query, rows)
        if self.background == "prototype":
            logits = {"npm": self.scale * self.npm.foreground.maps(maps)}
        else:
            logits = {"npm": self.scale * self.npm(maps[:, 1:], visible)}
        if self.guidance is not None:
            scores = guide_each(self.guidance, query, maps[:, 1:], visible, visible)
            logits["agm"] = torch.cat([class_mean(scores[:, :, 1], visible), scores[:, :, 0]], 1)
        return {name: mask_absent_logits(one, present) for name, one in logits.items()}


class Moment(NamedTuple):
    """A head during its training: beta of Eq. (10) at that step, and its weights then."""

    beta: float
    weights: dict[str, Tensor]


def train_head(
    bench: Bench,
    make: Callable[[int, int], Head],
    beta_of: Callable[[float], float],
    *,
    steps: int,
    seed: int,
    hide: bool = True,
    moments: int = 0,
    batch: int = 4,
) -> tuple[Head, list[Moment]]:
    """Train a head on pairs of training photos drawn at random; return it, and its state at `moments` of the training.

    make     called with the number of channels and of ids; seeded
    beta_of  share of the training that is done -> weight of the AGM's loss, the NPM has the rest
    hide     label novel classes as background, as the papers do; False shows all labels
    """
    cells = shrink_mask(bench.train.masks.long(), bench.train.features.shape[-2:])
    if hide:
        cells = torch.from_numpy(bench.fold.hide_novel(cells.numpy().astype(np.uint8))).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make(bench.train.features.shape[1], bench.fold.n_ids).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, steps)
    draw, kept = torch.Generator().manual_seed(seed), list[Moment]()
    marks = {round(mark * (steps - 1) / max(moments - 1, 1)) for mark in range(moments)}
    for step in range(steps):
        beta = beta_of(step / steps)
        if step in marks:
            kept.append(Moment(beta, {name: value.clone() for name, value in head.state_dict().items()}))
        query, support = torch.randint(len(cells), (2, batch), generator=draw)
        logits = head(bench.train.features[query].float(), bench.train.features[support].float(), cells[support])
        target = restrict_target(cells[query], cells[support], bench.fold.n_ids)
        weights = {"npm": 1 - beta, "agm": beta}
        loss = torch.stack([weights[name] * pixel_loss(one, target) for name, one in logits.items()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    if moments:  # the last one is the finished head, which is tested
        kept[-1] = Moment(kept[-1].beta, {name: value.clone() for name, value in head.state_dict().items()})
    return head.eval(), kept


def truths_of(bench: Bench, places: slice) -> tuple[Tensor, Tensor]:
    """Return support masks int64 [B,h,w] at the cells, and truths int64 [B,H,W] restricted to what they show."""
    query, support = bench.pairs[places].T
    visible = shrink_mask(bench.test.masks[support].long(), bench.test.features.shape[-2:])
    return visible, restrict_target(bench.test.masks[query].long(), visible, bench.fold.n_ids)


@torch.inference_mode()
def predictions(bench: Bench, head: Head) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Yield ids int64 [B,H,W] by module, and the truths, for all pairs in batches."""
    for start in range(0, len(bench.pairs), BATCH):
        places = slice(start, start + BATCH)
        visible, truth = truths_of(bench, places)
        query, support = (bench.test.features[row].float() for row in bench.pairs[places].T)
        logits = head(query, support, visible)
        yield {name: resize(one, truth.shape[-2:]).argmax(1) for name, one in logits.items()}, truth


def matrices_of(bench: Bench, head: Head) -> dict[str, np.ndarray]:
    """Return the confusion matrices int64 [P,C,C] of a head's modules on all pairs."""
    made: dict[str, list[np.ndarray]] = {}
    for ids, truth in predictions(bench, head):
        for name, one in ids.items():
            made.setdefault(name, []).append(pair_matrices(one, truth, bench.fold.n_ids).numpy())
    return {name: np.concatenate(parts) for name, parts in made.items()}


def copy_matrices(bench: Bench) -> np.ndarray:
    """Return the confusion matrices int64 [P,C,C] of the trivial parser that lays the support's mask on the query."""
    made = []
    for start in range(0, len(bench.pairs), BATCH):
        places = slice(start, start + BATCH)
        _, truth = truths_of(bench, places)
        laid = resize_labels(bench.test.masks[bench.pairs[places, 1]].long(), (truth.shape[1], truth.shape[2]))
        made.append(pair_matrices(torch.where(laid == IGNORE, 0, laid), truth, bench.fold.n_ids).numpy())
    return np.concatenate(made)
