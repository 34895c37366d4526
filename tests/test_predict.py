"""`Parser`: supports pooled and encoded once, the crop to the person, mirror averaging, rivals, confidence."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import oshp_lite.predict
from oshp_lite import assets
from oshp_lite.assets import photos
from oshp_lite.data.synthetic import scene
from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, encode_png, read_mask
from oshp_lite.labels import label_space
from oshp_lite.models.base import OneShotModel
from oshp_lite.predict import ParseOptions, Parser, load_network, training_free
from oshp_lite.predict.confidence import calibration, distance, evidence, place_of
from oshp_lite.predict.photos import Box, box_of, largest_region, person_box, picture

PANTS = 6
PLAIN = ParseOptions(crop=False, pad=False, mirror=False, rest=False)


@cache
def network() -> OneShotModel:
    return load_network(assets.checkpoint())


@cache
def wearing(count: int = 6, size: int = 128) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Photo, mask of pants (1) and the person of scenes that show pants."""
    space, chosen = label_space("atr"), []
    for index in range(60):
        made = scene("synth-atr", 5, index, size)
        raw = made.mask("atr")
        mask = (space.merge(raw) == PANTS).astype(np.uint8)
        if mask.mean() > 0.03:
            chosen.append((made.image.copy(), mask, space.foreground(raw)))
        if len(chosen) == count:
            break
    return chosen


def parsed(options: ParseOptions, supports: list[int], query: int | np.ndarray = 3) -> np.ndarray:
    parser, people = Parser(network(), options), wearing()
    for place in supports:
        parser.support(*people[place][:2])
    return parser.parse(people[query][0] if isinstance(query, int) else query).mask


def test_one_support_given_twice_is_one_support() -> None:
    assert np.array_equal(parsed(PLAIN, [0]), parsed(PLAIN, [0, 0]))


def test_two_supports_pool_their_pixels_in_any_order() -> None:
    """The prototype of two supports is the mean of all their marked cells, so the order has no say."""
    both = parsed(PLAIN, [0, 1])
    assert np.array_equal(both, parsed(PLAIN, [1, 0]))
    alone = [parsed(PLAIN, [place]) for place in (0, 1)]
    assert all((one != both).any() for one in alone)


def test_the_pooled_prototype_is_the_mean_of_all_marked_cells() -> None:
    """Against features pooled by hand in float64: the logits of two supports are those of the common mean."""
    parser = Parser(network(), PLAIN)
    for place in (0, 1):
        parser.support(*wearing()[place][:2])
    net = network()
    rows, queries = [], picture(wearing()[3][0], 128, "rgb")
    with torch.no_grad():
        for view in parser.views:
            features = net.fine_projection(net.encoder(view.picture[None]))[0]  # type: ignore[operator, union-attr]
            rows.append(features[:, (view.marked == 1)[::4, ::4]].double().numpy())
        cells = net.fine_projection(net.encoder(queries[None]))[0].double().numpy()  # type: ignore[operator, union-attr]
        maps = parser.head(queries)
    mean = np.concatenate(rows, 1).mean(1)
    cosine = np.einsum("d,dhw->hw", mean, cells) / np.linalg.norm(mean) / np.linalg.norm(cells, axis=0)
    npm, scale = net.npm, float(net.scale.detach())  # type: ignore[arg-type]

    def affine(part: torch.nn.Module, x: np.ndarray) -> np.ndarray:
        return x * float(part.weight) + float(part.bias)  # type: ignore[arg-type]

    background = affine(npm.fusion, affine(npm.background, 1 - cosine))  # type: ignore[union-attr, arg-type]
    wanted = (affine(npm.foreground, cosine) - background) * scale  # type: ignore[union-attr, arg-type]
    own = torch.nn.functional.interpolate(maps.margins[None], size=wanted.shape, mode="bilinear", align_corners=True)
    corners = np.ix_([0, -1], [0, -1])
    assert np.allclose(own[0, 0].numpy()[corners], wanted[corners], atol=1e-4), "logits are resized with corners kept"


def test_photos_are_encoded_once() -> None:
    parser = Parser(network(), PLAIN)
    parser.support(*wearing()[0][:2])
    parser.parse(wearing()[3][0])
    assert parser.encoded is not None
    assert parser.encoded.made == 2
    parser.support(*wearing()[1][:2])
    parser.parse(wearing()[3][0])
    assert parser.encoded.made == 3, "a new support costs its own pass alone"


def test_the_mirrored_photo_has_the_mirrored_parse() -> None:
    photo = wearing()[3][0]
    both = replace(PLAIN, mirror=True)
    turned = parsed(both, [0], np.ascontiguousarray(photo[:, ::-1]))
    assert (turned[:, ::-1] == parsed(both, [0], photo)).mean() > 0.999
    assert (parsed(PLAIN, [0], np.ascontiguousarray(photo[:, ::-1]))[:, ::-1] != parsed(PLAIN, [0], photo)).any()


def on_canvas(photo: np.ndarray, high: int = 400, wide: int = 500, top: int = 200, left: int = 330) -> np.ndarray:
    canvas = np.full((high, wide, 3), 128, np.uint8)
    canvas[top : top + photo.shape[0], left : left + photo.shape[1]] = photo
    return canvas


def test_a_small_person_is_cropped_to_and_pasted_back() -> None:
    photo, truth, _ = wearing()[3]
    canvas = on_canvas(photo)
    parser = Parser(network(), replace(PLAIN, crop=True)).support(*wearing()[0][:2])
    result = parser.parse(canvas)
    assert result.box is not None
    assert result.mask.shape == canvas.shape[:2]
    outside = np.ones_like(result.mask, bool)
    result.box.of(outside)[...] = False
    assert not result.mask[outside].any()
    whole = np.zeros_like(result.mask)
    whole[200:328, 330:458] = truth

    def iou(mask: np.ndarray) -> float:
        return float(((mask == 1) & (whole == 1)).sum() / ((mask == 1) | (whole == 1)).sum())

    assert result.box.shape[0] * result.box.shape[1] < 0.6 * canvas.shape[0] * canvas.shape[1]
    assert iou(result.mask) > iou(Parser(network(), PLAIN).support(*wearing()[0][:2]).parse(canvas).mask)


def test_filling_up_finds_more_in_narrow_photos() -> None:
    """The figures beside `NARROW`: the shipped network on the book's tight crops with trousers."""
    space, found = label_space("ccp-os"), {}
    trousers = {stem: photos.mask(stem) == space.id_of("pants") for stem in ("0702", "0717", "0720", "0845", "0862")}
    for pad in (False, True):
        shares = []
        for support, marked in trousers.items():
            parser = Parser(network(), ParseOptions(pad=pad))
            parser.support(photos.photo(support), marked.astype(np.uint8))
            for query, truth in trousers.items():
                if query != support:
                    seen = parser.parse(photos.photo(query)).mask == 1
                    shares.append((seen & truth).sum() / (seen | truth).sum())
        found[pad] = float(np.mean(shares))
    assert found == pytest.approx({False: 0.11, True: 0.50}, abs=0.02)


def test_a_photo_without_a_person_is_parsed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oshp_lite.predict.parser.find_person", lambda net, seen, own: torch.zeros(seen.shape[1:]) > 0)
    photo = wearing()[3][0]
    result = Parser(network(), replace(PLAIN, crop=True)).support(*wearing()[0][:2]).parse(photo)
    assert result.box == Box(0, 128, 0, 128)
    assert np.array_equal(result.mask, parsed(PLAIN, [0]))


masks = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@settings(max_examples=60, deadline=None)
@given(mask=masks)
def test_the_largest_region_is_that_of_scipy(mask: np.ndarray) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = [int((labels == number).sum()) for number in range(1, count + 1)]
    own = largest_region(mask)
    assert not (own & ~mask).any()
    assert own.sum() == max(sizes, default=0)
    assert len(np.unique(labels[own])) <= 1


@settings(max_examples=80, deadline=None)
@given(mask=masks, high=st.integers(40, 300), wide=st.integers(40, 300), aspect=st.floats(0.2, 4))
def test_boxes_lie_in_the_photo_and_hold_the_person(mask: np.ndarray, high: int, wide: int, aspect: float) -> None:
    box = box_of(mask, (high, wide), margin=0.0)
    assert (box is None) == (not mask.any())
    if box is not None:
        rows, columns = np.nonzero(mask)
        assert box.top <= rows.min() * high / mask.shape[0]
        assert box.bottom >= (rows.max() + 1) * high / mask.shape[0] - 1e-6
        assert box.left <= columns.min() * wide / mask.shape[1]
    around = person_box(mask, (high, wide), aspect)
    if around is not None:
        assert 0 <= around.top < around.bottom <= high
        assert 0 <= around.left < around.right <= wide
        tight = person_box(mask, (high, wide))
        assert tight is not None
        assert around.joined(tight) == around, "widening takes nothing away"


def test_the_rest_of_the_person_takes_pixels_and_gives_none() -> None:
    """What competes only ever takes pixels from the marked class; its own pixels are background."""
    without = parsed(PLAIN, [0])
    competing = parsed(replace(PLAIN, rest=True), [0])
    assert set(np.unique(competing)) <= {0, 1}
    assert (competing == 1).sum() < (without == 1).sum()


def test_rivals_take_pixels_and_a_class_that_is_stored_itself_is_no_rival() -> None:
    alone, rivals = parsed(PLAIN, [0]), parsed(replace(PLAIN, rivals=True), [0])
    assert not ((rivals == 1) & (alone != 1)).any()
    people = wearing()
    hair = label_space("atr").id_of("hair")
    raw = scene("synth-atr", 5, 0, 128)
    mask = (label_space("atr").merge(raw.mask("atr")) == hair).astype(np.uint8)
    parser = Parser(network(), replace(PLAIN, rivals=True)).support(raw.image.copy(), mask)
    bank = network().prototype_bank()
    closed = parser.head.closed
    assert bank is not None
    assert closed is not None
    assert not any(torch.equal(row, bank[hair]) for row in closed), "stored hair claims the marked hair"
    assert (parser.parse(people[0][0]).mask == 1).any()


def test_probabilities_are_of_the_photo_s_size_and_agree_with_the_mask() -> None:
    parser = Parser(network(), replace(PLAIN, scores=True)).support(*wearing()[0][:2])
    result = parser.parse(wearing()[3][0])
    assert result.scores is not None
    assert result.scores.shape == (1, *result.mask.shape)
    assert result.scores.min() >= 0
    assert result.scores.max() <= 1
    assert result.scores[0][result.mask == 1].mean() > result.scores[0][result.mask == 0].mean() + 0.2
    assert Parser(network(), PLAIN).support(*wearing()[0][:2]).parse(wearing()[3][0]).scores is None


def test_black_and_white_masks_are_one_class() -> None:
    photo, mask, person = wearing()[0]
    parser = Parser(network(), PLAIN).support(photo, mask * 255, foreground=person * 255)
    result = parser.parse(wearing()[3][0])
    assert any("only 0 and 255" in remark for remark in result.remarks)
    plain = Parser(network(), PLAIN).support(photo, mask, foreground=person).parse(wearing()[3][0])
    assert np.array_equal(result.mask, plain.mask)


def test_an_unlikely_class_is_named_and_left_out_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a threshold that no confidence reaches every class is unlikely; with 0 none is."""
    stored = calibration()
    for threshold, gone in ((1.1, True), (0.0, False)):
        changed = stored._replace(threshold=threshold)
        monkeypatch.setattr("oshp_lite.predict.parser.calibration", lambda _, changed=changed: changed)
        result = Parser(network(), replace(PLAIN, drop_unlikely=True)).support(*wearing()[0][:2]).parse(wearing()[3][0])
        assert (result.unlikely == (1,)) == gone
        assert result.mask.any() != gone
        assert any("probably not in this photo" in remark for remark in result.remarks) == gone
        kept = Parser(network(), PLAIN).support(*wearing()[0][:2]).parse(wearing()[3][0])
        assert kept.mask.any()
        assert kept.unlikely == result.unlikely


def test_confidence_falls_with_distance_in_place_and_rises_with_probability() -> None:
    person = np.zeros((48, 24), bool)
    person[2:46, 4:20] = True
    low, high = (np.zeros_like(person) for _ in range(2))
    low[26:44, 5:19] = True
    high[4:16, 5:19] = True
    here, there = place_of(low, person), place_of(high, person)
    assert here is not None
    assert there is not None
    assert distance(here, here) == 0
    assert distance(here, there) == pytest.approx(distance(there, here))
    sure, unsure = np.full(person.shape, 0.95), np.full(person.shape, 0.55)
    judge = calibration()
    same = judge(evidence(sure, low, person, [here]))
    assert same > judge(evidence(sure, high, person, [here]))
    assert same > judge(evidence(unsure, low, person, [here]))
    assert judge(evidence(sure, low, person, [there, here])) == same, "the nearest support counts"
    assert place_of(np.zeros_like(person), person) is None


def test_the_calibration_says_where_it_comes_from() -> None:
    from oshp_lite.files import read_json
    from oshp_lite.predict.confidence import CALIBRATION, EVIDENCE

    stored = read_json(CALIBRATION)
    assert stored["evidence"] == list(EVIDENCE)
    told = stored["provenance"]
    assert {"command", "weights", "run", "photos", "kept of those of use", "refused where absent"} <= set(told)
    assert 0.5 < told["roc area"] <= 1
    assert 0 < stored["threshold"] < 1


def test_what_a_parser_refuses() -> None:
    with pytest.raises(UserError, match="no support yet"):
        Parser(network()).parse(wearing()[0][0])
    with pytest.raises(UserError, match="has to be trained"):
        training_free("panet")
    photo, mask, _ = wearing()[0]
    with pytest.raises(UserError, match="same size"):
        Parser(network()).support(photo, mask[:-1])


def test_a_training_free_method_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSHP_DINO_WEIGHTS", raising=False)
    monkeypatch.setattr("oshp_lite.models.baselines.external.local_source", lambda name: None)
    with pytest.raises(UserError, match="needs DINO weights"):
        training_free("label_transfer")


def test_the_five_lines_of_the_docstring_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = oshp_lite.predict.__doc__ or ""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert len(lines) == 5
    assert re.match(r"from oshp_lite", lines[0])
    monkeypatch.chdir(tmp_path)
    (photo, mask, _), (other, truth, _) = wearing()[0], wearing()[3]
    Path("a.jpg").write_bytes(encode_jpeg(photo))
    Path("b.jpg").write_bytes(encode_jpeg(other))
    Path("a.png").write_bytes(encode_png(mask))
    exec("\n".join(lines), {})
    made = read_mask("b.png")
    assert made.shape == truth.shape
    assert set(np.unique(made)) <= {0, 1}
