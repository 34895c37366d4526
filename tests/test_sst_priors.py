"""Priors: the published graphs, contacts measured in masks, likeness of labels by atoms, attributes and words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oshp_lite.errors import UserError
from oshp_lite.labels import label_space
from oshp_lite.labels.relations import label_graph
from oshp_lite.labels.whole import whole_fold, whole_space
from oshp_lite.models.sst.priors import LOWEST, adjacency, contacts, similarity

ATR, CIHP, PASCAL, CCP = (whole_space(name) for name in ("atr", "cihp", "pascal", "ccp"))


@pytest.mark.parametrize(("name", "pairs", "filled"), [("pascal", 5, 34.7), ("atr", 34, 26.5), ("cihp", 48, 29.0)])
def test_the_published_graphs(name: str, pairs: int, filled: float) -> None:
    """Numbers of pairs, and the share of ones with self-loops, as counted in the public code (facts A.7)."""
    space = whole_space(name)
    graph = label_graph(space)
    assert graph is not None
    assert len(set(graph)) == pairs
    assert all(0 < a < b < space.n_raw for a, b in graph)
    touching = adjacency(space, space.n_raw)
    assert torch.equal(touching, touching.T)
    assert bool((touching.diagonal() == 1).all())
    assert float(touching[0].sum()) == 1  # the background touches none
    assert round(100 * float(touching.mean()), 1) == filled
    assert float(adjacency(space, space.n_raw, self_loops=False).diagonal().sum()) == 0


def test_neighbours_by_name() -> None:
    touching = adjacency(CIHP, 20)
    for one, other, near in (("hat", "hair", 1), ("left leg", "left shoe", 1), ("left leg", "right shoe", 0)):
        assert float(touching[CIHP.id_of(one), CIHP.id_of(other)]) == near


def test_controls() -> None:
    assert torch.equal(adjacency(None, 4, "ones"), torch.ones(4, 4))
    assert torch.equal(adjacency(None, 4, "identity"), torch.eye(4))
    plain, shuffled = adjacency(ATR, 18), adjacency(ATR, 18, "shuffled")
    assert not torch.equal(plain, shuffled)
    assert torch.equal(shuffled, shuffled.T)
    assert torch.equal(plain.sum(1).sort().values, shuffled.sum(1).sort().values)
    mapped = similarity(ATR, PASCAL, "shuffled")
    assert torch.equal(mapped.sort(0).values, similarity(ATR, PASCAL).sort(0).values)
    assert bool((similarity(ATR, PASCAL, "ones") == 1).all())


def test_contacts_are_counted_against_the_smaller_label() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:20, 5:35], mask[20:35, 5:35] = 1, 2  # two large labels that touch along 30 pixels
    mask[25, 10] = 3  # a dot inside 2
    mask[0, 39] = 4  # alone in the background
    found = contacts([mask], 5)
    assert found.tolist() == [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert float(contacts([mask], 5, threshold=0.1)[1, 2]) == 0  # 30 contacts of 450 pixels
    assert float(contacts([mask], 5, self_loops=False).diagonal().sum()) == 0


def test_a_space_without_a_graph_must_be_measured() -> None:
    assert bool(adjacency(CCP, 12).isnan().all())
    with pytest.raises(UserError, match="the label space ccp-os has no published label graph; set adjacency=measured"):
        adjacency(CCP, 12, "graph")


@pytest.mark.parametrize("kind", ["atoms", "attributes"])
def test_likeness_lies_in_the_published_range_and_knows_the_body(kind: str) -> None:
    for of, to in ((ATR, CIHP), (CIHP, PASCAL), (PASCAL, ATR)):
        matrix = similarity(of, to, kind)  # type: ignore[arg-type]
        assert matrix.shape == (to.n_raw, of.n_raw)
        assert float(matrix.min()) >= LOWEST - 1e-6
        assert float(matrix.max()) <= 1 + 1e-6
        torch.testing.assert_close(matrix, similarity(to, of, kind).T)  # type: ignore[arg-type]
    alike = similarity(ATR, CIHP, kind)  # type: ignore[arg-type]
    for name in ("hat", "left shoe", "skirt"):
        row = alike[CIHP.id_of(name)]
        assert int(row.argmax()) == ATR.id_of(name), name
    head = similarity(CIHP, PASCAL, kind)[1]  # type: ignore[arg-type]
    parts = [CIHP.id_of(name) for name in ("hat", "hair", "face", "sunglasses")]
    others = [index for index in range(1, 20) if index not in parts]
    assert float(head[parts].min()) > float(head[others].max())


def test_real_photos_labels_resemble_others_by_attributes() -> None:
    matrix = similarity(CCP, ATR)
    assert matrix.shape == (18, 12)
    assert int(matrix[ATR.id_of("bag")].argmax()) == CCP.id_of("bag")
    assert int(matrix[ATR.id_of("pants")].argmax()) == CCP.id_of("pants")


def words_file(path: Path, *more: str) -> Path:
    rng = np.random.default_rng(0)
    names = {word for space in (ATR, PASCAL) for name in space.names for word in name.replace("-", " ").split()}
    lines = [f"{word} {' '.join(f'{value:.4f}' for value in rng.normal(size=6))}" for word in sorted(names)]
    path.write_text("\n".join(["30 6", *lines, *more]) + "\n")
    return path


def test_word_vectors_of_the_users(tmp_path: Path) -> None:
    path = words_file(tmp_path / "words.txt")
    matrix = similarity(ATR, PASCAL, "words", words=path)
    vectors = {line.split()[0]: np.array(line.split()[1:], float) for line in path.read_text().splitlines()[1:]}
    one, other = vectors["head"], (vectors["left"] + vectors["arm"]) / 2
    true = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert float(matrix[1, ATR.id_of("left arm")]) == pytest.approx(true, rel=1e-5)
    assert float(matrix[0, 0]) == pytest.approx(1)
    with pytest.raises(UserError, match=r"the word vectors .* have no .*coat"):
        similarity(CIHP, PASCAL, "words", words=path)
    with pytest.raises(UserError, match="word vectors"):
        similarity(ATR, PASCAL, "words", words=tmp_path / "none.txt")
    with pytest.raises(UserError, match="word vectors"):
        similarity(ATR, PASCAL, "words", words=words_file(tmp_path / "odd.txt", "head one two three"))
    with pytest.raises(UserError, match="differ in length"):
        similarity(ATR, PASCAL, "words", words=words_file(tmp_path / "long.txt", "head 1 2 3"))


def test_whole_spaces_keep_every_label() -> None:
    assert [whole_space(name).n_raw for name in ("synth-pascal", "atr-os", "cihp", "ccp-os")] == [7, 18, 20, 12]
    raw = np.arange(18, dtype=np.uint8)
    assert np.array_equal(ATR.merge(raw), raw)
    assert not np.array_equal(label_space("atr").merge(raw), raw)
    assert ATR.class_name(10) == "right shoe"
    import pickle

    assert pickle.loads(pickle.dumps(ATR)) is ATR  # a worker process must not merge what its parent keeps apart


def test_hidden_classes_leave_every_domain_by_name() -> None:
    hidden = ("skirt", "pants", "shoes")
    assert whole_fold("atr", hidden).novel == (5, 6, 9, 10)
    assert whole_fold("cihp", hidden).novel == (9, 12, 18, 19)
    assert whole_fold("pascal", hidden).novel == ()
    assert whole_fold("atr").classes == tuple(range(18))
