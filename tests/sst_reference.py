"""SST's equations written out in float64 NumPy, one loop per sum of the paper; shares no code with the package."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def area(mask: Array, count: int, size: tuple[int, int]) -> Array:
    """Share of every cell that each category covers, [Z,h,w]; the mask's sides are multiples of the cells'."""
    height, width = mask.shape[0] // size[0], mask.shape[1] // size[1]
    out = np.zeros((count, *size))
    for y in range(size[0]):
        for x in range(size[1]):
            cell = mask[y * height : (y + 1) * height, x * width : (x + 1) * width]
            for z in range(count):
                out[z, y, x] = np.mean(cell == z)
    return out


def msa(features: Array, shares: Array, weight: Array) -> Array:
    """Eq. 2 to 4: features [D,h,w], shares [Z,h,w], weight [D,2D] as a linear layer holds it -> S [Z,D]."""
    rows = []
    for share in shares:
        inside = share > 0
        if not inside.any():
            rows.append(np.zeros(2 * len(features)))
            continue
        average = np.array([(one * share).sum() / share.sum() for one in features])
        largest = np.array([one[inside].max() for one in features])
        rows.append(np.concatenate([average, largest]))
    return np.stack(rows) @ weight.T


def softmax(logits: Array, keys: Array) -> Array:
    """Over the last axis, keys where False left out."""
    raised = np.where(keys, np.exp(logits - logits[..., keys].max(-1, keepdims=True)), 0.0)
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def attention(query: Array, key: Array, value: Array, prior: Array, keys: Array) -> Array:
    """[softmax(Q K^T / sqrt D) * M] V."""
    return np.asarray((softmax(query @ key.T / np.sqrt(query.shape[1]), keys) * prior) @ value)


def linear(rows: Array, layer: dict[str, Array]) -> Array:
    return np.asarray(rows @ layer["weight"].T + layer.get("bias", 0.0))


def mse(
    start: Array, pooled: list[Array], present: list[Array], prior: Array, layers: list[dict[str, dict[str, Array]]]
) -> list[Array]:
    """Eq. 6: X_0 [Z,D] and S_1..S_3 -> X_0..X_3."""
    rows = [start]
    for regions, there, layer in zip(pooled, present, layers, strict=True):
        query, key, value = (
            linear(rows[-1], layer["query"]),
            linear(regions, layer["key"]),
            linear(regions, layer["value"]),
        )
        rows.append(attention(query, key, value, prior, there) + rows[-1])
    return rows


def mst(target: Array, source: Array, prior: Array, keys: Array, layer: dict[str, dict[str, Array]]) -> Array:
    """Eq. 8 and 9: rows of two domains -> X^(source->target) [Z_target,D]."""
    parts = linear(target, layer["query"]), linear(source, layer["key"]), linear(source, layer["value"])
    return attention(*parts, prior, keys)


def scr(original: Array, mapped: Array, there: Array, *, centred: bool = False) -> float:
    """One of the two sums of Eq. 10 and 11 for one image, over the categories that are there."""
    if centred:
        original, mapped = original - original[there].mean(0), mapped - mapped[there].mean(0)
    apart = [
        1 - original[z] @ mapped[z] / (np.linalg.norm(original[z]) * np.linalg.norm(mapped[z]))
        for z in range(len(original))
        if there[z]
    ]
    return float(np.mean(apart))


def bilinear(plane: Array, x: float, y: float) -> float:
    """Read [h,w] at (x, y) in cells, 0 at the first cell's centre; zeros outside."""
    left, top = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for j in (top, top + 1):
        for i in (left, left + 1):
            if 0 <= j < plane.shape[0] and 0 <= i < plane.shape[1]:
                total += plane[j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
    return total


def deformable(
    query: Array,
    places: Array,
    source: Array,
    sizes: list[tuple[int, int]],
    state: dict[str, Array],
    shape: tuple[int, int, int],
) -> Array:
    """Deformable-DETR's sum for one image: query [Q,D], source [T,D] -> [Q,D]; shape: heads, levels, points."""
    heads, levels, points = shape
    value = source @ state["value.weight"].T + state["value.bias"]
    offsets = (query @ state["offsets.weight"].T + state["offsets.bias"]).reshape(-1, heads, levels, points, 2)
    logits = (query @ state["weights.weight"].T + state["weights.bias"]).reshape(-1, heads, levels * points)
    part = value.shape[1] // heads
    out = np.zeros((len(query), value.shape[1]))
    for q in range(len(query)):
        for m in range(heads):
            weight = np.exp(logits[q, m] - logits[q, m].max())
            weight = (weight / weight.sum()).reshape(levels, points)
            begin = 0
            for level, (height, width) in enumerate(sizes):
                cells = value[begin : begin + height * width].reshape(height, width, -1)
                begin += height * width
                for p in range(points):
                    x = places[q, 0] * width + offsets[q, m, level, p, 0] - 0.5
                    y = places[q, 1] * height + offsets[q, m, level, p, 1] - 0.5
                    for d in range(m * part, (m + 1) * part):
                        out[q, d] += weight[level, p] * bilinear(cells[..., d], x, y)
    return np.asarray(out @ state["out.weight"].T + state["out.bias"])
