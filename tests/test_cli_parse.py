"""`oshp-lite parse`: what it writes, whose ids it answers with, and what bad input gets."""

from __future__ import annotations

import contextlib
import pickle
import resource
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from oshp_lite.cli import main
from oshp_lite.data.synthetic import scene
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.engine.models import build_parser, run_record
from oshp_lite.engine.presets import load_profile
from oshp_lite.errors import UserError
from oshp_lite.files import read_image, read_mask
from oshp_lite.labels import fold, label_space
from oshp_lite.models.base import OneShotModel
from oshp_lite.predict import ParseOptions, Parser, PhotoParsing, load_network
from oshp_lite.predict.exports import cutout, read_painted

SIZE = 64


def parse_pair(
    network: OneShotModel,
    support: np.ndarray,
    mask: np.ndarray,
    query: np.ndarray,
    *,
    classes: Mapping[int, str] | None = None,
    foreground: np.ndarray | None = None,
    screening: bool = True,
) -> PhotoParsing:
    """One query parsed from one support, as small drawn scenes want it: whole photos as they are, no mirror."""
    options = ParseOptions(crop=False, pad=False, mirror=False, rest=foreground is not None, screening=screening)
    return Parser(network, options).support(support, mask, foreground=foreground, classes=classes).parse(query)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained k-way and 1-way checkpoints whose banks hold something, as after training."""
    folder = tmp_path_factory.mktemp("weights")
    made = {}
    for way in ("k", "1"):
        config = load_profile("smoke", way=way)
        chosen = fold("atr", 1)
        parser = build_parser(config, chosen)
        source = torch.Generator().manual_seed(3)
        with torch.no_grad():
            parser.coarse_bank.rows.copy_(torch.randn(parser.coarse_bank.rows.shape, generator=source))
            for index in chosen.training[1:]:
                parser.bank[index] = torch.randn(parser.bank.shape[1], generator=source)
        path = folder / f"{way}.safetensors"
        save_weights(path, parser.state_dict(), run_record(config, chosen, "synth-atr"))
        made[way] = path
    return made


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Path]:
    """Two photos, a mask with the user's own ids (1 = what ATR calls upper-clothes or dress, 2 = hair), the person."""
    space = label_space("atr")
    support, query = scene("synth-atr", 5, 0, 96), scene("synth-atr", 5, 1, 128)
    raw = support.mask("atr")
    mask = np.zeros_like(raw)
    mask[np.isin(raw, [space.id_of("upper-clothes"), space.id_of("dress")])] = 1
    mask[raw == space.id_of("hair")] = 2
    assert {1, 2} <= set(np.unique(mask))
    paths = {name: tmp_path / f"{name}.png" for name in ("support", "mask", "query", "person")}
    for name, array in (("support", support.image), ("mask", mask), ("query", query.image)):
        Image.fromarray(array).save(paths[name])
    Image.fromarray((raw > 0).astype(np.uint8)).save(paths["person"])
    return paths


def words(pair: dict[str, Path], weights: Path, out: Path, *more: str) -> list[str]:
    told = ["parse", "--weights", weights, "--support", pair["support"], "--support-mask", pair["mask"]]
    return [str(word) for word in [*told, "--query", pair["query"], "--out", out, *more]]


@pytest.mark.parametrize("way", ["k", "1"])
def test_writes_the_users_ids_and_an_overlay(
    way: str, checkpoints: dict[str, Path], pair: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answer" / "pred.png"
    assert main(words(pair, checkpoints[way], out, "--no-screening", "--device", "auto")) == 0
    answer = read_mask(out)
    assert answer.shape == (128, 128)
    assert set(np.unique(answer)) <= {0, 1, 2}
    assert Image.open(out).mode == "P"
    with Image.open(out.with_name("pred_overlay.png")) as beside:
        assert beside.size == (128, 128)
    told = capsys.readouterr().out
    assert "1: class 1" in told


def test_says_where_the_foreground_comes_from(
    checkpoints: dict[str, Path], pair: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(pair, checkpoints["k"], tmp_path / "a.png")) == 0
    assert "stored coarse prototypes" in capsys.readouterr().out
    assert main(words(pair, checkpoints["k"], tmp_path / "b.png", "--support-foreground", str(pair["person"]))) == 0
    assert "stored coarse prototypes" not in capsys.readouterr().out


def arrays(pair: dict[str, Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.array(Image.open(pair[name])) for name in ("support", "mask", "query"))  # type: ignore[return-value]


def test_ids_are_names_only(checkpoints: dict[str, Path], pair: dict[str, Path]) -> None:
    """Calling the classes 7 and 200 instead of 1 and 2 changes nothing but the numbers in the answer."""
    parser = load_network(checkpoints["k"])
    support, mask, query = arrays(pair)
    plain = parse_pair(parser, support, mask, query, screening=False).mask
    other = np.zeros(256, np.uint8)
    other[1], other[2] = 7, 200
    assert np.array_equal(parse_pair(parser, support, other[mask], query, screening=False).mask, other[plain])


def test_a_mapped_class_meets_its_stored_prototype_and_a_novel_one_does_not(
    checkpoints: dict[str, Path], pair: dict[str, Path]
) -> None:
    support, mask, query = arrays(pair)
    parser = load_network(checkpoints["k"])
    bank = parser.bank.detach().clone()
    novel = parse_pair(parser, support, mask, query, screening=False)
    mapped = parse_pair(parser, support, mask, query, screening=False, classes={2: "hair"})
    assert not np.array_equal(novel.mask, mapped.mask)
    assert mapped.names == {1: "class 1", 2: "hair"}
    assert np.array_equal(mapped.palette[2], label_space("atr").class_palette[label_space("atr").id_of("hair")])
    assert torch.equal(parser.bank, bank), "parsing writes nothing into the network"


def test_the_shipped_checkpoint_finds_clothes(pair: dict[str, Path], tmp_path: Path) -> None:
    """Without --weights; judged on people it was not trained on, with ids that are no dataset's."""
    space = label_space("atr")
    wanted = space.id_of("upper-clothes")
    hits = total = 0
    for number in (2, 6, 8):
        support, query = scene("synth-atr", 5, number, 128), scene("synth-atr", 5, number + 1, 128)
        for name, array in (("support", support.image), ("query", query.image)):
            Image.fromarray(array).save(pair[name])
        Image.fromarray((support.mask("atr") == wanted).astype(np.uint8) * 9).save(pair["mask"])
        told = ["parse", "--support", pair["support"], "--support-mask", pair["mask"], "--query", pair["query"]]
        assert main([str(word) for word in [*told, "--out", tmp_path / "out.png", "--classes", "9=upper-clothes"]]) == 0
        answer, truth = read_mask(tmp_path / "out.png") == 9, query.mask("atr") == wanted
        hits, total = hits + int((answer & truth).sum()), total + int((answer | truth).sum())
    assert hits / total > 0.35


def test_more_classes_than_empty_prototypes(checkpoints: dict[str, Path], pair: dict[str, Path]) -> None:
    support, mask, query = arrays(pair)
    rows = np.arange(mask.shape[0])[:, None] * 12 // mask.shape[0] + 1
    parser = load_network(checkpoints["k"])
    answer = parse_pair(parser, support, np.broadcast_to(rows, mask.shape).astype(np.uint8), query, screening=False)
    assert len(answer.names) == 12
    many = np.broadcast_to(np.arange(mask.shape[0])[:, None] * 24 // mask.shape[0] + 1, mask.shape).astype(np.uint8)
    with pytest.raises(UserError, match="use fewer"):
        parse_pair(parser, support, many, query)


def test_a_given_foreground_is_used(checkpoints: dict[str, Path], pair: dict[str, Path]) -> None:
    """Its person's pixels decide, not the stored prototypes; its unmarked pixels compete with the marked classes."""
    support, mask, query = arrays(pair)
    person = np.array(Image.open(pair["person"]))
    for way in ("k", "1"):
        network = load_network(checkpoints[way])
        stored = parse_pair(network, support, mask, query).mask
        given = parse_pair(network, support, mask, query, foreground=person).mask
        narrow = parse_pair(network, support, mask, query, foreground=((mask > 0) & (person > 0)) * np.uint8(1))
        assert (given != stored).mean() > 0.02
        assert (given != narrow.mask).mean() > 0.02
        with torch.no_grad():
            network.coarse_bank.rows.neg_()
        again = parse_pair(network, support, mask, query, foreground=person).mask
        assert np.array_equal(again, given), "the stored prototypes of the person have no say"


def test_a_named_class_uses_the_marked_pixels(checkpoints: dict[str, Path], pair: dict[str, Path]) -> None:
    """Other marked pixels under the same name give another result; so does another stored prototype."""
    support, mask, query = arrays(pair)
    network = load_network(checkpoints["k"])
    elsewhere = np.roll(mask, mask.shape[1] // 3, axis=1)
    first, second = (
        parse_pair(network, support, marked, query, screening=False, classes={2: "hair"}).mask == 2
        for marked in (mask, elsewhere)
    )
    assert (first != second).mean() > 0.005


def test_nothing_predicted_is_said(
    checkpoints: dict[str, Path], pair: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that sees no person anywhere writes an empty mask and says so; one with NaN weights writes nothing."""
    network = load_network(checkpoints["k"], precision=None)
    state = network.state_dict()
    assert network.record is not None
    for name in state:
        if name.startswith("coarse_guidance"):
            state[name] = torch.zeros_like(state[name])
    save_weights(tmp_path / "blind.safetensors", state, network.record)
    assert main(words(pair, tmp_path / "blind.safetensors", tmp_path / "a.png")) == 0
    assert "no pixel of the query was labelled" in capsys.readouterr().out
    assert not read_mask(tmp_path / "a.png").any()
    state["scale"] = torch.full_like(state["scale"], torch.nan)
    save_weights(tmp_path / "nan.safetensors", state, network.record)
    assert main(words(pair, tmp_path / "nan.safetensors", tmp_path / "b.png")) == 2
    assert "not finite" in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()


def test_sixteen_bits_are_read_as_eight(checkpoints: dict[str, Path], pair: dict[str, Path], tmp_path: Path) -> None:
    grey = np.array(Image.open(pair["query"]).convert("L"))
    results = []
    for name, picture in (("8", grey), ("16", grey.astype(np.uint16) * 257)):
        Image.fromarray(picture).save(pair["query"])
        assert main(words(pair, checkpoints["k"], tmp_path / f"{name}.png", "--no-screening")) == 0
        results.append(read_mask(tmp_path / f"{name}.png"))
    assert np.array_equal(*results)


@pytest.mark.parametrize("which", ["support", "mask", "query", "person", "weights", "overlay", "link"])
def test_never_over_an_input(
    which: str, checkpoints: dict[str, Path], pair: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, weights = pair.get(which, tmp_path / "m.png"), checkpoints["k"]
    if which == "weights":
        weights = out
        weights.write_bytes(checkpoints["k"].read_bytes())
    if which == "overlay":
        pair["query"] = pair["query"].rename(tmp_path / "m_overlay.png")
    if which == "link":
        out.hardlink_to(pair["query"])
    before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert main(words(pair, weights, out, "--support-foreground", str(pair["person"]))) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.glob("*.png")} == before


def test_both_pictures_or_none(checkpoints: dict[str, Path], pair: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "m_overlay.png").mkdir()
    (tmp_path / "m.png").write_bytes(b"an earlier result")
    assert main(words(pair, checkpoints["k"], tmp_path / "m.png")) == 2
    assert (tmp_path / "m.png").read_bytes() == b"an earlier result"


def test_a_released_checkpoint_is_asked_for_its_labels(
    checkpoints: dict[str, Path], pair: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """20 ids may be LIP's or CIHP's; a file of ours says which, so that --labels has nothing to say."""
    from oshp_lite.models.eopnet import EOPNet, EOPNetConfig

    config = EOPNetConfig.preset("lite", n_ids=20)
    monkeypatch.setattr(EOPNet, "from_official", classmethod(lambda cls, path: cls(config)))
    with pytest.raises(UserError, match="say --labels lip or cihp"):
        load_network(tmp_path / "released.pth")
    with pytest.raises(UserError, match="say --labels lip or cihp"):
        load_network(tmp_path / "released.pth", labels="atr")
    network = load_network(tmp_path / "released.pth", labels="cihp")
    assert network.record is not None
    assert network.record.space == "cihp"
    with pytest.raises(UserError, match="records its label space"):
        load_network(checkpoints["k"], labels="atr")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_file_gives_a_result_or_one_sentence(
    data: st.DataObject, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Random bytes, sizes, colour modes and values as support, mask, query and foreground."""
    folder = tmp_path_factory.mktemp("any")

    def file(name: str, mask: bool) -> Path:
        path = folder / data.draw(st.sampled_from([f"{name}.png", f"{name}.jpg"] if not mask else [f"{name}.png"]))
        kind = data.draw(st.sampled_from(["picture", "picture", "picture", "picture", "bytes", "cut", "none"]))
        if kind == "bytes":
            path.write_bytes(data.draw(st.binary(max_size=64)))
        if kind in ("bytes", "none"):
            return path
        side = st.sampled_from([1, 3, 15, 16, 17, 33, 48, 48, 48])
        shape = (data.draw(side), data.draw(side))
        values = np.random.default_rng(data.draw(st.integers(0, 99)))
        top = data.draw(st.sampled_from([1, 2, 3, 30, 256]))
        array = values.integers(0, top, (1, 1) if data.draw(st.booleans()) else shape).astype(np.uint8)
        mode = data.draw(st.sampled_from(["L", "L", "P", "1", "RGBA", "I;16"] if mask else ["RGB", "L", "P", "I;16"]))
        picture = Image.fromarray(np.broadcast_to(array, shape).astype(np.uint16 if mode == "I;16" else np.uint8))
        picture = picture if mode == "I;16" else picture.convert(mode)
        picture = picture.convert("RGB") if path.suffix == ".jpg" and mode in ("P", "I;16") else picture
        picture.save(path)
        if kind == "cut":
            path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, 200))])
        return path

    network = load_network(checkpoints[data.draw(st.sampled_from(["k", "1"]))])
    with contextlib.suppress(UserError):
        query = read_image(file("query", False), upright=True)
        parsing = parse_pair(
            network,
            read_image(file("support", False), upright=True),
            read_painted(file("mask", True)),
            query,
            foreground=read_painted(file("person", True)) if data.draw(st.booleans()) else None,
            screening=data.draw(st.booleans()),
        )
        assert parsing.mask.shape == query.shape[:2]
        assert set(np.unique(parsing.mask)) <= {0, *parsing.names}


def test_a_mask_as_a_paint_program_saves_it(tmp_path: Path) -> None:
    """White on black in any mode, with soft edges, or the opaque part of a cut-out: one class, the same pixels."""
    photo = np.zeros((40, 30, 3), np.uint8)
    inside = np.zeros((40, 30), bool)
    inside[8:31, 5:22] = True
    white = inside.astype(np.uint8) * 255
    forms = {
        "RGB": Image.fromarray(white).convert("RGB"),
        "RGBA": Image.fromarray(white).convert("RGBA"),
        "1": Image.fromarray(white).convert("1"),
        "I;16": Image.fromarray(white.astype(np.uint16) * 257),
        "LA": Image.fromarray(white).convert("LA"),
    }
    for name, picture in forms.items():
        picture.save(tmp_path / "mask.png")
        assert np.array_equal(read_painted(tmp_path / "mask.png"), white), name
    (tmp_path / "mask.png").write_bytes(cutout(photo, inside))
    assert np.array_equal(read_painted(tmp_path / "mask.png"), white), "cut-out"
    many = np.linspace(0, 255, 40).astype(np.uint8)[:, None] * np.ones((1, 30), np.uint8)
    Image.fromarray(many).save(tmp_path / "mask.png")
    assert np.array_equal(read_painted(tmp_path / "mask.png"), np.where(many >= 128, 255, 0)), "soft edges"
    ids = (np.arange(30)[None] // 10 + np.zeros((40, 1))).astype(np.uint8)
    for picture in (Image.fromarray(ids), Image.fromarray(ids).convert("RGB"), Image.fromarray(ids.astype(np.uint16))):
        picture.save(tmp_path / "mask.png")
        assert np.array_equal(read_painted(tmp_path / "mask.png"), ids), "ids stay ids"


def test_screening_only_takes_away(checkpoints: dict[str, Path], pair: dict[str, Path]) -> None:
    support, mask, query = arrays(pair)
    parser = load_network(checkpoints["k"])
    free = parse_pair(parser, support, mask, query, screening=False).mask
    screened = parse_pair(parser, support, mask, query, screening=True).mask
    assert np.array_equal(screened[screened > 0], free[screened > 0])


# ---------------------------------------------------------------------------------------------------- refusals


def edit_mask(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Path]], list[str]]:
    def apply(pair: dict[str, Path]) -> list[str]:
        Image.fromarray(change(np.array(Image.open(pair["mask"])))).save(pair["mask"])
        return []

    return apply


def rgb_mask(pair: dict[str, Path]) -> list[str]:
    mask = np.array(Image.open(pair["mask"]))
    Image.fromarray(np.dstack([mask * 0 + 255, 255 - mask, 255 - mask])).save(pair["mask"])
    return []


def jpeg_mask(pair: dict[str, Path]) -> list[str]:
    path = pair["mask"].with_suffix(".jpg")
    Image.open(pair["mask"]).save(path)
    pair["mask"] = path
    return []


def giant(pair: dict[str, Path]) -> list[str]:
    content = bytearray(pair["query"].read_bytes())
    content[16:24] = struct.pack(">II", 12000, 12000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    pair["query"].write_bytes(bytes(content))
    return []


def one_pixel(mask: np.ndarray) -> np.ndarray:
    mask = np.where(mask == 2, 0, mask)
    mask[1, 1] = 2
    return mask.astype(np.uint8)


def truncated(pair: dict[str, Path]) -> list[str]:
    path = pair["query"].with_suffix(".jpg")
    Image.open(pair["query"]).save(path)
    path.write_bytes(path.read_bytes()[:700])
    return ["--query", str(path)]


def tiny_query(pair: dict[str, Path]) -> list[str]:
    Image.open(pair["query"]).resize((9, 40)).save(pair["query"])
    return []


def white_person(pair: dict[str, Path]) -> list[str]:
    Image.fromarray(np.full_like(np.array(Image.open(pair["person"])), 255)).save(pair["person"])
    return ["--support-foreground", str(pair["person"])]


def damaged(pair: dict[str, Path]) -> list[str]:
    path = pair["query"].with_name("damaged.safetensors")
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not a header at all")
    return ["--weights", str(path)]


def foreign(pair: dict[str, Path]) -> list[str]:
    path = pair["query"].with_name("foreign.pth")
    torch.save({"layer.weight": torch.zeros(3)}, path)
    return ["--weights", str(path)]


class Surprise:
    """A pickle of this would run code."""

    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


def with_code(pair: dict[str, Path]) -> list[str]:
    path = pair["query"].with_name("code.pth")
    path.write_bytes(pickle.dumps(Surprise()))
    return ["--weights", str(path)]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda pair: ["--query", str(pair["query"]) + ".gone"], "does not exist"),
        (lambda pair: ["--query", str(pair["query"].parent)], "folder"),
        (truncated, "damaged or cut short"),
        (edit_mask(lambda mask: mask[:-1]), "same size"),
        (rgb_mask, "colour mode RGB"),
        (edit_mask(lambda mask: mask * 0), "empty"),
        (edit_mask(lambda mask: np.full_like(mask, 255)), "255, which means ignore; use 1"),
        (edit_mask(one_pixel), "class 2 of the support mask is smaller than one feature cell"),
        (tiny_query, "stride"),
        (white_person, "255, which means ignore; use 1"),
        (lambda pair: ["--support-foreground", str(pair["query"])], "colour mode RGB"),
        (lambda pair: ["--classes", "hat"], "ID=NAME"),
        (lambda pair: ["--classes", "1=cloak"], "no class named 'cloak'"),
        (lambda pair: ["--classes", "9=hat"], "does not hold"),
        (lambda pair: ["--classes", "1=hat", "2=hat"], "are both named 'hat'"),
        (lambda pair: ["--classes", "1=hat", "1=bag"], "names id 1 twice"),
        (jpeg_mask, "is a JPEG"),
        (lambda pair: ["--query", "x" * 300 + ".jpg"], "too long"),
        (lambda pair: ["--out", "x" * 300 + ".png"], "too long"),
        (lambda pair: ["--device", "mps"], "must be auto, cpu or cuda"),
        (lambda pair: ["--device", "nonsense"], "must be auto, cpu or cuda"),
        (lambda pair: ["--device", "cuda:99"], "CUDA device"),
        (lambda pair: ["--labels", "atr"], "leave --labels out"),
        (giant, "too large to be opened safely"),
        (lambda pair: ["--weights", "nowhere.safetensors"], "does not exist"),
        (damaged, "damaged"),
        (foreign, "foreign.pth"),
        (with_code, "code.pth"),
        (lambda pair: ["--out", str(pair["query"] / "pred.png")], "is a file"),
        (lambda pair: ["--out", "pred.jpg"], ".png"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    spoil: Callable[[dict[str, Path]], list[str]],
    expected: str,
    checkpoints: dict[str, Path],
    pair: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = spoil(pair)
    before = sorted(tmp_path.rglob("*"))
    assert main(words(pair, checkpoints["k"], tmp_path / "pred.png", *more)) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert expected in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert "code ran" not in told.out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_one_sentence(
    checkpoints: dict[str, Path], pair: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file-size limit stands in for the full disk."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        code = main(words(pair, checkpoints["k"], tmp_path / "pred.png"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert code == 2
    assert "error: cannot write" in capsys.readouterr().err
    assert not list(tmp_path.glob("*pred*"))
