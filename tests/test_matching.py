"""The parser that odds by place: its equations against NumPy, its training, and what users get of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.data.registry import find_dataset
from oshp_lite.data.synthetic import scene
from oshp_lite.engine.checkpoint import read_record, save_weights
from oshp_lite.engine.config import from_dict
from oshp_lite.engine.matching_train import MatchingTraining, train_matching
from oshp_lite.engine.train import threads_set
from oshp_lite.errors import UserError
from oshp_lite.labels import label_space
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.matching.labels import opened, piece_sizes, unnamed_pieces
from oshp_lite.models.matching.network import TINY, Matching, Parsed
from oshp_lite.models.matching.places import cut, paste, person_boxes, place_odds, refined
from oshp_lite.predict import ParseOptions, Parser, load_network

OPTIONS: dict[str, Any] = {"variant": "lite", "n_ids": 18, "width": 8, "lite_channels": (4, 8, 8, 8), "lite_depth": 1}


def small(**options: Any) -> Matching:
    network = Matching(**OPTIONS, **options).eval()
    network.known[[0, 1, 2, 4, 18]] = True
    network.record = CheckpointRecord("matching", OPTIONS, "k", 18, "atr", size=64)
    return network


# ------------------------------------------------------------------------------------------------------ labels


def pieces_of(mask: np.ndarray) -> np.ndarray:
    """Sizes of 8-connected pieces by flood fill."""
    sizes = np.zeros(mask.shape, int)
    left = {tuple(place) for place in np.argwhere(mask).tolist()}
    while left:
        piece, waiting = set(), [left.pop()]
        while waiting:
            row, column = waiting.pop()
            piece.add((row, column))
            near = {(row + a, column + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            waiting += near
        for place in piece:
            sizes[place] = len(piece)
    return sizes


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.7))
def test_pieces_are_told_apart_in_every_picture_of_a_batch(seed: int, share: float) -> None:
    masks = np.random.default_rng(seed).random((3, 9, 14)) < share
    sizes = piece_sizes(torch.from_numpy(masks)).numpy()
    assert all((sizes[i] == pieces_of(masks[i])).all() for i in range(3))


def test_an_opening_keeps_what_a_square_fits_into() -> None:
    mask = torch.zeros(1, 12, 12, dtype=torch.bool)
    mask[0, 2:6, 2:7] = True
    mask[0, 8, :] = True  # a line
    expected = torch.zeros_like(mask)
    expected[0, 2:6, 2:7] = True
    assert torch.equal(opened(mask), expected)


def test_unnamed_pixels_are_a_class_where_they_are_a_garments_size() -> None:
    mask, person = torch.zeros(1, 64, 64, dtype=torch.int64), torch.zeros(1, 64, 64, dtype=torch.int64)
    person[0, 8:56, 16:48] = 1
    mask[0, 8:24, 16:48] = 3
    mask[0, 40, 16:48] = 5  # cuts the rest in two
    mask[0, 24:40, 44:48] = IGNORE
    person[0, 60:62, 2:4] = 1  # four stray pixels
    label = unnamed_pieces(mask, person, 9, 0.05)
    assert (label[0, 26:38, 18:42] == 9).all()
    assert (label[0, 60:62, 2:4] == IGNORE).all()
    unchanged = (mask != 0) | (person == 0)
    assert torch.equal(label[unchanged], mask[unchanged])
    assert set(label[~unchanged].unique().tolist()) <= {9, IGNORE}
    assert not (unnamed_pieces(mask, person, 9, 0.9) == 9).any()


# ------------------------------------------------------------------------------------------------------- boxes


def test_a_persons_box_leaves_stray_cells_out_and_is_everything_without_a_person() -> None:
    person = torch.zeros(2, 40, 20)
    person[0, 10:30, 5:15] = 0.9
    person[0, 0, 0] = 0.9
    assert person_boxes(person).tolist() == [[0.25, 0.75, 0.25, 0.75], [0.0, 1.0, 0.0, 1.0]]


def test_what_is_cut_out_and_put_back_is_what_it_was() -> None:
    torch.manual_seed(0)
    maps = torch.nn.functional.interpolate(torch.randn(2, 3, 5, 4), (40, 32), mode="bicubic")
    boxes = torch.tensor([[0.25, 0.75, 0.25, 0.75], [0.0, 1.0, 0.0, 1.0]])
    parts = cut(maps, boxes, (20, 16))
    torch.testing.assert_close(parts[0], maps[0, :, 10:30, 8:24])  # the cells themselves
    torch.testing.assert_close(paste(parts, boxes, (40, 32))[0, :, 10:30, 8:24], parts[0], atol=1e-5, rtol=1e-5)
    full = paste(cut(maps, boxes, (40, 32)), boxes, (40, 32))
    torch.testing.assert_close(full[1], maps[1], atol=1e-5, rtol=1e-5)


# --------------------------------------------------------------------------------------------------- equations


def parsed(seed: int, rows: int = 19) -> Parsed:
    rng = np.random.default_rng(seed)
    made = rng.gamma(0.5, size=(1, rows, 6, 5))
    parts = made / made.sum(1, keepdims=True), rng.random((1, 6, 5)), rng.normal(size=(1, 8, 6, 5))
    return Parsed(*(torch.from_numpy(part) for part in parts))


@pytest.mark.parametrize("least_fit", [0.0, 1.0])
def test_a_marks_shares_are_those_of_the_marked_pixels(least_fit: float) -> None:
    network, support = small(claim=0.1, prior=0.05, least_fit=least_fit), parsed(1)
    mark = torch.from_numpy(np.random.default_rng(2).random((1, 6, 5)))
    rows, cover, person = support.rows[0].numpy(), mark[0].numpy(), support.person[0].numpy()
    expected, fits = np.zeros(19), np.zeros(19)
    for k in range(1, 19):
        own = sum(rows[k, i, j] * cover[i, j] for i in range(6) for j in range(5))
        fits[k] = own / (rows[k].sum() + cover.sum() - own)
        if k < 18 and own / cover.sum() >= 0.1:
            share = own / (rows[k].sum() + 0.05 * person.sum())
            expected[k] = share**2 / (share**2 + (1 - share) ** 2)
    meant = max((1, 2, 4, 18), key=lambda k: fits[k])  # of the classes that the training labelled, and the unnamed
    assert meant != 18
    if least_fit == 0:
        expected[meant] = 1
    np.testing.assert_allclose(network.shares(support, mark)[0].numpy(), expected, atol=1e-6)


def test_a_mark_on_what_has_no_name_means_no_known_class() -> None:
    network, support = small(), parsed(1)
    for row, some in ((18, 0), (4, 1)):
        rows = torch.full_like(support.rows, 0.01)
        rows[:, row, 2:4] = 0.9  # an unnamed thing, or class 4
        mark = torch.zeros(1, 6, 5, dtype=torch.float64)
        mark[:, 2:4, :3] = 1  # more than half of it
        shares = network.shares(support._replace(rows=rows), mark)[0]
        assert (shares == 1).nonzero()[:, 0].tolist() == [4] * some
        assert shares[18] == 0


def test_margins_weigh_a_class_against_the_likeliest_other_thing() -> None:
    network, query = small(), parsed(3)
    rng = np.random.default_rng(4)
    shares, odds = np.zeros((2, 19)), rng.normal(size=(2, 6, 5))
    shares[0, 4], shares[1, 2], shares[1, 4] = 0.3, 0.8, 0.5
    got = network.margins(query, torch.from_numpy(shares), torch.from_numpy(odds)).numpy()
    rows = query.rows[0].numpy()
    for i in range(6):
        for j in range(5):
            u = rows[:, i, j]
            chance = (1 - shares.max(1)) / (1 + np.exp(-odds[:, i, j]))
            best = int(chance.argmax())
            others = [u[k] * (1 - min(1, shares[:, k].sum())) for k in range(18)] + [u[18] * (1 - chance.max())]
            for c in range(2):
                own = (shares[c] * u).sum() + (u[18] * chance[c] if c == best else 0)
                assert got[c, i, j] == pytest.approx(np.log(own + TINY) - np.log(max(others) + TINY), abs=1e-6)


def test_odds_of_places_are_those_of_two_densities() -> None:
    rng = np.random.default_rng(5)
    mark, others = rng.random((2, 8, 6)) * (rng.random((2, 8, 6)) < 0.4)
    got = place_odds(*(torch.from_numpy(one)[None] for one in (mark, others)), 0.2, 0.25, 0.1)[0].numpy()
    bell = np.array([np.exp(-0.5 * (step / 1.6) ** 2) for step in range(-8, 9)])
    bell /= bell.sum()

    def density(one: np.ndarray, i: int, j: int, doubt: float = 0.0) -> float:
        both = (one + one[:, ::-1]) / 2
        near = sum(both[a, b] * bell[a - i + 8] * bell[b - j + 8] for a in range(8) for b in range(6))
        sure = 0.75 * one.sum() / (one.sum() + doubt * 48)
        return float(sure * near / one.sum() + (1 - sure) / 48)

    for i in range(8):
        for j in range(6):
            assert got[i, j] == pytest.approx(np.log(density(mark, i, j) / density(others, i, j, 0.1)), abs=1e-9)


def test_places_say_the_same_of_mirrored_people_and_nothing_where_nothing_else_is_unnamed() -> None:
    mark = torch.zeros(1, 24, 12)
    mark[0, 10:14, 1:4] = 1
    odds = place_odds(mark, torch.zeros_like(mark), 0.1, 0.1)
    torch.testing.assert_close(odds, odds.flip(-1))
    torch.testing.assert_close(odds, place_odds(mark.flip(-1), torch.zeros_like(mark), 0.1, 0.1))
    assert odds[0, 12, 2] > 0 > odds[0, 0, 6]


def test_cells_that_look_like_the_likely_ones_become_likelier() -> None:
    rng = np.random.default_rng(6)
    features, weight, odds = rng.normal(size=(1, 5, 4, 3)), rng.random((1, 4, 3)), rng.normal(size=(1, 4, 3))
    got = refined(*(torch.from_numpy(one) for one in (features, weight, odds)), 2.0, 3)[0].numpy()
    cells = features[0].reshape(5, -1).T
    share, start = weight.ravel(), odds.ravel()
    cells = cells - (cells * share[:, None]).sum(0) / share.sum()
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    made = start
    for _ in range(3):
        chance = 1 / (1 + np.exp(-made))
        own, rest = share * chance, share * (1 - chance)
        difference = (cells * own[:, None]).sum(0) / own.sum() - (cells * rest[:, None]).sum(0) / rest.sum()
        made = start + 2 * cells @ difference
    np.testing.assert_allclose(got.ravel(), made, atol=1e-9)
    assert torch.equal(
        refined(*(torch.from_numpy(one) for one in (features, weight, odds)), 2.0, 0)[0], torch.from_numpy(odds)[0]
    )


def test_a_query_parsed_with_known_classes_is_parsed_as_without_a_support() -> None:
    network = small()
    photo = torch.rand(1, 3, 64, 64) * 2 - 1
    mask = torch.zeros(1, 64, 64, dtype=torch.int64)
    mask[0, :20], mask[0, 20:40] = 1, 4
    parsing = network(Episode(photo, photo.flip(-1), mask, (mask > 0).long()))
    with torch.no_grad():
        rows = network.parsed(*network.logits(photo)).rows[0]
    free = rows.clone()
    free[[1, 4]] = 0
    free = torch.log(free.amax(0) + TINY)
    expected = torch.stack([torch.log(rows[i] + TINY) - free for i in (1, 4)])
    got = torch.nn.functional.interpolate(expected[None], (64, 64), mode="bilinear", align_corners=True)[0]
    torch.testing.assert_close(parsing.fine[0, [1, 4]], got, atol=1e-4, rtol=1e-4)
    assert float(parsing.fine[0, 2].detach().max()) < -1000  # nothing marks it


# ---------------------------------------------------------------------------------------------------- training


def config(tmp: Path, **train: Any) -> Any:
    drawn = {"n_train": 12, "n_test": 8, "size": 64}
    return from_dict(
        {
            "data": {"dataset": "synth-atr", "condition": "papers", "size": 64, "synthetic": drawn},
            "model": {"method": "matching", "options": {"width": 8, "lite_channels": [4, 8, 8, 8], "lite_depth": 1}},
            "train": {"epochs": 2, "batch_size": 3, "threads": 1, **train},
            "eval": {"test_size": 64},
        }
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("data")
    return find_dataset(config(folder).data, folder, progress=False)


def test_training_goes_on_with_the_same_bits_and_learns_no_novel_class(dataset: Any, tmp_path: Path) -> None:
    whole = train_matching(config(tmp_path), dataset, tmp_path / "whole", progress=False)
    halted = MatchingTraining(config(tmp_path), dataset, tmp_path / "halted")
    halted.parser.train()
    with threads_set(1):
        halted._step(next(halted.batches.of(0)))
    halted.position.batch, halted.position.step = 1, 1
    halted._save()
    train_matching(config(tmp_path), dataset, tmp_path / "halted", progress=False)
    one, other = (load_network(path) for path in (whole, tmp_path / "halted" / "weights.safetensors"))
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    visible = set(label_space("atr").folds["journal", 1])
    known = set(torch.nonzero(one.known)[:, 0].tolist())  # type: ignore[arg-type]
    assert known <= visible | {18}
    assert {0, 18} <= known
    assert read_record(whole).method == "matching"


def test_every_class_is_known_where_the_training_says_so(dataset: Any, tmp_path: Path) -> None:
    training = MatchingTraining(config(tmp_path, visible="all"), dataset, tmp_path)
    assert training.fold.novel == ()
    labels = {int(v) for b in training.batches.of(0) for v in b.query_mask.unique()}  # type: ignore[union-attr]
    assert labels - {0, IGNORE} - set(label_space("atr").folds["journal", 1])
    with pytest.raises(UserError, match="matching"):
        MatchingTraining(
            replace(config(tmp_path), model=replace(config(tmp_path).model, method="eopnet")), dataset, tmp_path
        )


# ----------------------------------------------------------------------------------------------------- photos


def test_a_file_of_such_a_network_parses_photos(tmp_path: Path) -> None:
    network, path = small(), tmp_path / "matching.safetensors"
    assert network.record is not None
    save_weights(path, network.state_dict(), network.record)
    photo, other = (scene("synth-atr", 3, i, 96) for i in (0, 1))
    mask = (photo.mask("atr") == label_space("atr").id_of("hair")).astype(np.uint8)
    mask[-20:, -20:] = 7
    made = Parser(load_network(path), ParseOptions(crop=False, scores=True))
    parsing = made.support(photo.image, mask, names={7: "corner"}).parse(other.image)
    assert parsing.mask.shape == other.image.shape[:2]
    assert set(np.unique(parsing.mask)) <= {0, 1, 7}
    assert list(parsing.names) == [1, 7]
    assert parsing.scores is not None
    assert parsing.scores.shape[0] == 2
    before = made.encoded.made  # type: ignore[union-attr]
    made.support(photo.image, mask).parse(other.image)
    assert made.encoded.made == before  # type: ignore[union-attr]  # both photos are remembered


def test_two_equal_supports_are_as_good_as_one_and_a_named_class_is_the_parsers_own() -> None:
    photo, other = (scene("synth-atr", 3, i, 96) for i in (0, 1))
    mask = (photo.mask("atr") == label_space("atr").id_of("hair")).astype(np.uint8)
    options = ParseOptions(crop=False, mirror=False, screening=False, scores=True)
    network = small()
    one, two = (Parser(network, options).support(photo.image, mask) for _ in range(2))
    two.support(photo.image, mask)
    np.testing.assert_allclose(one.parse(other.image).scores, two.parse(other.image).scores, atol=1e-3)
    named = Parser(network, options).support(photo.image, mask, classes={1: "hair"}).head
    assert named.shares[0].nonzero()[:, 0].tolist() == [label_space("atr").id_of("hair")]  # type: ignore[union-attr]
    with pytest.raises(UserError, match="names id 3"):
        _ = Parser(network, options).support(photo.image, mask, classes={3: "hair"}).head


def test_a_parse_says_which_known_class_a_mark_was_taken_for(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, hair = scene("synth-atr", 3, 0, 96), label_space("atr").id_of("hair")

    def taken(network: Matching, support: Parsed, mark: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor([hair]), 19) * (1.0 if mark[0, :4].sum() else 0.4)

    monkeypatch.setattr(Matching, "shares", taken)
    mask = np.zeros((96, 96), np.uint8)
    mask[:20], mask[60:] = 1, 2
    parser = Parser(small(), ParseOptions(crop=False)).support(photo.image, mask, names={1: "wig", 2: "boots"})
    said = [one for one in parser.parse(photo.image).remarks if "taken for" in one]
    assert said == [
        "wig is taken for what the network knows as hair; if that is wrong, name its class: --classes 1=NAME"
    ]
    named = Parser(small(), ParseOptions(crop=False)).support(photo.image, mask, classes={1: "hair", 2: "shoes"})
    assert not any("taken for" in one for one in named.parse(photo.image).remarks)


def test_damaged_weights_are_said_to_be_damaged() -> None:
    network = small()
    with torch.no_grad():
        network.class_head.weight.fill_(float("nan"))
    photo = scene("synth-atr", 3, 0, 96)
    with pytest.raises(UserError, match="not finite"):
        Parser(network, ParseOptions(crop=False)).support(photo.image, np.ones((96, 96), np.uint8)).parse(photo.image)
