"""Priors: which labels touch (M_intra), and how labels of two domains resemble each other (M_static)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from oshp_lite.data.synthetic.atoms import ATOMS, merge_table
from oshp_lite.errors import UserError
from oshp_lite.files import cannot_read
from oshp_lite.labels import LabelSpace
from oshp_lite.labels.relations import ATTRIBUTES, KINDS, REGIONS, label_graph

Adjacency = Literal["auto", "graph", "measured", "ones", "identity", "shuffled"]
Static = Literal["auto", "atoms", "attributes", "words", "ones", "shuffled"]

LOWEST = 0.15
"""The smallest entry of a static prior; the published matrices begin at 0.14 to 0.17 (facts A.8)."""
WITH_ATOMS = ("atr", "lip", "cihp", "pascal")
"""Label spaces that are merges of the synthetic people's atoms."""


def _shuffled(matrix: Tensor, seed: int, *, square: bool) -> Tensor:
    """A control: rows (square: rows and columns alike) in another order, the background's where it was."""
    order = torch.randperm(len(matrix) - 1, generator=torch.Generator().manual_seed(seed)) + 1
    order = torch.cat([torch.zeros(1, dtype=torch.long), order])
    return matrix[order][:, order] if square else matrix[order]


def adjacency(
    space: LabelSpace | None, count: int, kind: Adjacency = "auto", *, self_loops: bool = True, seed: int = 0
) -> Tensor:
    """M_intra of a label space (Eq. 6), float [Z,Z] of 0 and 1, symmetric; published graphs have no self-loops.

    NaN where it must be measured in training masks first ("measured", and "auto" without a published graph). A
    nameless domain has no prior but ones. Raises UserError for "graph" and "shuffled" where no graph is published.
    """
    if kind == "ones" or (kind == "auto" and space is None):
        return torch.ones(count, count)
    if kind == "identity":
        return torch.eye(count)
    pairs = None if space is None else label_graph(space)
    if kind == "measured" or (kind == "auto" and pairs is None):
        return torch.full((count, count), torch.nan)
    if pairs is None:
        name = "a nameless domain" if space is None else f"the label space {space.name}"
        raise UserError(f"{name} has no published label graph; set adjacency=measured, or auto")
    touching = torch.zeros(count, count)
    for a, b in pairs:
        touching[a, b] = touching[b, a] = 1
    touching = _shuffled(touching, seed, square=True) if kind == "shuffled" else touching
    return touching + torch.eye(count) if self_loops else touching


def contacts(masks: Iterable[np.ndarray], count: int, *, threshold: float = 0.02, self_loops: bool = True) -> Tensor:
    """M_intra measured in label maps, uint8 [H,W] each: float [Z,Z] of 0 and 1.

    Two labels touch when their contacts (4-neighbours), by the smaller label's number of pixels, exceed `threshold`.
    The background touches none. Ours, for label spaces without a published graph (facts A.7).
    """
    touched, sizes = np.zeros((256, 256)), np.zeros(256)
    for mask in masks:
        sizes += np.bincount(mask.ravel(), minlength=256)
        for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            np.add.at(touched, (a.ravel(), b.ravel()), 1)
    touched, sizes = (touched + touched.T)[:count, :count], sizes[:count]
    share = touched / np.maximum(np.minimum(sizes[:, None], sizes), 1)
    near = torch.from_numpy(share > threshold).float()
    near[0] = near[:, 0] = 0
    near.fill_diagonal_(float(self_loops))
    return near


def _rescaled(cosine: np.ndarray) -> Tensor:
    return torch.from_numpy(LOWEST + (1 - LOWEST) * cosine.clip(0, 1)).float()


def _cosine(to: np.ndarray, of: np.ndarray) -> np.ndarray:
    to, of = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (to, of))
    return np.asarray(to @ of.T)


def _by_atoms(space: LabelSpace) -> np.ndarray:
    """Which atoms each label is made of: float [Z,A] of 0 and 1."""
    table = merge_table(space.key)[: len(ATOMS)]
    return np.asarray(table == np.arange(space.n_raw)[:, None], dtype=float)


def _by_attributes(space: LabelSpace) -> np.ndarray:
    """Regions, kind and side of each label, float [Z,F]; UserError for a label that has none."""
    rows = []
    for name, meaning in zip(space.names, space.meanings, strict=True):
        if meaning not in ATTRIBUTES:
            raise UserError(f"the label {name!r} of {space.name} has no attributes; set static=ones or words")
        regions, kind = (text.split() for text in ATTRIBUTES[meaning])
        side = [0.5 * (not name.startswith(other)) for other in ("right ", "left ")]
        where = [float(one in regions) / max(1, len(regions)) ** 0.5 for one in REGIONS]
        rows.append(where + [0.7 * (one in kind) for one in KINDS] + side)
    return np.array(rows)


def _by_words(space: LabelSpace, path: Path | str) -> np.ndarray:
    """Mean vector of the words in each label's name, from lines "word number number ...": float [Z,F]."""
    names = [name.replace("-", " ").lower().split() for name in space.names]
    wanted, vectors = {word for words in names for word in words}, {}
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for line in lines:
                word, _, numbers = line.strip().partition(" ")
                if word in wanted and " " in numbers:  # a first line of two counts is no vector
                    vectors[word] = np.array(numbers.split(), float)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise cannot_read(path, error, "file of word vectors") from None
    lacking = sorted(wanted - set(vectors))
    if lacking:
        raise UserError(f"the word vectors {path} have no {', '.join(lacking)}; add them, or set static=attributes")
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise UserError(f"the word vectors {path} differ in length; use one set of vectors")
    return np.stack([np.mean([vectors[word] for word in words], 0) for words in names])


def similarity(
    of: LabelSpace, to: LabelSpace, kind: Static = "auto", *, words: Path | str = "", seed: int = 0
) -> Tensor:
    """M_static from the labels of one domain into those of another (Eq. 8), float [Z_to,Z_of] in [0.15,1].

    "atoms": |a n b| / sqrt(|a| |b|) over the atoms that labels merge; "attributes": cosine of hand-written ones (both
    rescaled to the published matrices' range); "words": cosine of mean word vectors as it is; controls: "ones", and
    "shuffled" rows of "auto". Raises UserError for a label or word that lacks what the kind needs.
    """
    if kind == "ones":
        return torch.ones(to.n_raw, of.n_raw)
    if kind == "words":
        return torch.from_numpy(_cosine(_by_words(to, words), _by_words(of, words))).float()
    lacking = next((space.name for space in (to, of) if space.key not in WITH_ATOMS), None)
    if kind == "atoms" and lacking:
        raise UserError(f"the labels of {lacking} are no merges of atoms; set static=attributes, or auto")
    features = _by_attributes if kind == "attributes" or lacking else _by_atoms
    matrix = _rescaled(_cosine(features(to), features(of)))
    return _shuffled(matrix, seed, square=False) if kind == "shuffled" else matrix
