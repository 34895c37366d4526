"""Two more questions to drawn people and to photos: does texture alone tell the garment, does its outline alone?

Both are answered by one classifier, balanced ridge regression on random Fourier features (Rahimi and Recht, 2007):
fitted on one half of the photos, scored on the other, every class weighing the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PATCH = 7
"""Side of the patches of the texture probe, pixels."""
GRID = 14
"""Side of the grid on which outlines are compared."""


def balanced_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Balanced accuracy of the classifier, and `chance` = 1 / classes.

    train, test  features float [n, d]; labels, truth  integer [n]
    Raises ValueError where a class of the truth has no training example, or there is none at all.
    """
    classes = np.unique(labels)
    if len(classes) < 2 or not np.isin(truth, classes).all() or not len(truth):
        raise ValueError(f"cannot learn {np.unique(truth).tolist()} from examples of {classes.tolist()}")
    mean, sd = train.mean(0), train.std(0) + 1e-6
    rng = np.random.Generator(np.random.PCG64(0))
    turns = rng.random((train.shape[1], 400)) * 2 - 1
    width = np.sqrt(3.0 / train.shape[1])  # uniform in (-1, 1) has variance 1/3: projections of sd about 1
    phases = rng.random(400) * 2 * np.pi

    def lifted(x: np.ndarray) -> np.ndarray:
        z = (x - mean) / sd
        return np.concatenate([np.ones((len(z), 1)), z, np.cos(z @ turns * width + phases)], 1)

    a, t = lifted(train), (labels[:, None] == classes) * 2.0 - 1
    counts = (labels[:, None] == classes).sum(0)
    weight = (1 / counts)[np.searchsorted(classes, labels)][:, None]
    gram = a.T @ (a * weight) + 0.02 * np.eye(a.shape[1])
    solved = np.linalg.solve(gram, a.T @ (t * weight))
    guess = classes[(lifted(test) @ solved).argmax(1)]
    hits = [float((guess[truth == c] == c).mean()) for c in np.unique(truth)]
    return {"balanced_accuracy": float(np.mean(hits)), "chance": 1 / len(hits), "examples": float(len(truth))}


def _halves(features: list[np.ndarray], labels: list[int], photos: list[int], n: int) -> dict[str, float]:
    x, y, photo = np.array(features), np.array(labels), np.array(photos)
    first = photo < n // 2
    known = np.isin(y, np.intersect1d(y[first], y[~first])) if len(y) else first
    return balanced_probe(x[first & known], y[first & known], x[~first & known], y[~first & known])


def texture_features(patches: np.ndarray) -> np.ndarray:
    """Statistics of grey patches [n, P, P] that neither their colour nor their brightness enters: float64 [n, 24]."""
    p = patches.astype(float)
    p = p - p.mean((1, 2), keepdims=True)
    sd = p.std((1, 2)) + 0.5
    q = p / sd[:, None, None]
    out = [np.log(sd), (q**3).mean((1, 2)), (q**4).mean((1, 2))]
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (0, 3), (3, 0)):
        a = q[:, dy:, max(dx, 0) : q.shape[2] + min(dx, 0)]
        b = q[:, : q.shape[1] - dy, max(-dx, 0) : q.shape[2] - max(dx, 0)]
        out.append((a * b).mean((1, 2)))
    out += [np.abs(np.diff(q, axis=k)).mean((1, 2)) for k in (1, 2)]
    out += [np.abs(np.diff(q, 2, axis=k)).mean((1, 2)) for k in (1, 2)]
    inner = p[:, 1:-1, 1:-1]
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    n = inner.shape[1]
    above = np.stack([p[:, y : y + n, x : x + n] > inner for y, x in ring], -1)  # local binary patterns
    changes = (above != np.roll(above, 1, -1)).sum(-1)
    kind = np.where(changes <= 2, above.sum(-1), 9)  # uniform ones by their sum, the others together
    out += [(kind == k).mean((1, 2)) for k in range(9)]
    return np.stack(out, 1)


def texture_probe(
    images: np.ndarray, masks: np.ndarray, classes: Sequence[int], per_photo: int = 3
) -> dict[str, float]:
    """How well grey patches that lie wholly inside a garment tell its class: see `balanced_probe`.

    images uint8 [n, H, W, 3], masks [n, H, W]; at most `per_photo` patches of each class and photo
    """
    rng = np.random.Generator(np.random.PCG64(1))
    grey = images.astype(float).mean(-1)
    patches: list[np.ndarray] = []
    labels: list[int] = []
    photos: list[int] = []
    for k, (photo, mask) in enumerate(zip(grey, masks, strict=True)):
        for c in classes:
            total = np.pad((mask == c).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
            full = total[PATCH:, PATCH:] - total[:-PATCH, PATCH:] - total[PATCH:, :-PATCH] + total[:-PATCH, :-PATCH]
            ys, xs = np.nonzero(full == PATCH * PATCH)
            for i in (rng.random(per_photo) * len(ys)).astype(int).tolist() if len(ys) else ():
                patches.append(photo[ys[i] : ys[i] + PATCH, xs[i] : xs[i] + PATCH])
                labels.append(c)
                photos.append(k)
    return _halves(list(texture_features(np.stack(patches))), labels, photos, len(images))


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest 4-connected part of a boolean mask."""
    left, best = mask.copy(), np.zeros_like(mask)
    while left.sum() > best.sum():
        part = np.zeros_like(mask)
        part[np.unravel_index(left.argmax(), left.shape)] = True
        size = 0
        while (now := int(part.sum())) != size:
            size = now
            for _ in range(4):
                grown = part.copy()
                grown[1:] |= part[:-1]
                grown[:-1] |= part[1:]
                grown[:, 1:] |= part[:, :-1]
                grown[:, :-1] |= part[:, 1:]
                part = grown & left
        left &= ~part
        best = part if part.sum() > best.sum() else best
    return best


def outline_features(part: np.ndarray) -> np.ndarray:
    """A component's outline without its place and size: its box on a grid, and the box's proportions."""
    ys, xs = np.nonzero(part)
    box = part[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    rows, columns = (((np.arange(GRID) + 0.5) * side / GRID).astype(int) for side in box.shape)
    return np.append(box[np.ix_(rows, columns)].ravel().astype(float), 4 * np.log(box.shape[0] / box.shape[1]))


def silhouette_probe(masks: np.ndarray, classes: Sequence[int], least: int = 24) -> dict[str, float]:
    """How well the outline of a garment's largest component tells its class: see `balanced_probe`.

    masks [n, H, W]; components of fewer than `least` pixels are left out
    """
    features: list[np.ndarray] = []
    labels: list[int] = []
    photos: list[int] = []
    for k, mask in enumerate(masks):
        for c in classes:
            if (mask == c).sum() >= least and (part := largest_component(mask == c)).sum() >= least:
                features.append(outline_features(part))
                labels.append(c)
                photos.append(k)
    return _halves(features, labels, photos, len(masks))
