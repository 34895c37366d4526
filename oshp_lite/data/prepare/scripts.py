"""The command lines behind `data_scripts`: tailor (default), verify, pairs. Bad input: one sentence, exit code 2."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from oshp_lite.data.dataset import open_dataset
from oshp_lite.data.pairs import Pair, journal_pairs
from oshp_lite.data.prepare import ccp
from oshp_lite.data.prepare.raw import OFFICIAL, RawLayout, official_index, official_list, tailor
from oshp_lite.data.verify import verify
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json, write_atomic
from oshp_lite.labels import LabelSpace, label_space

Command = Callable[[Sequence[str]], None]


def bar(items: Iterable[Any], title: str) -> Iterable[Any]:
    """A progress bar on stderr."""
    return tqdm(items, desc=title, unit="photo", dynamic_ncols=True)


def run(commands: dict[str, Command], argv: Sequence[str] | None = None) -> int:
    """Run `argv`'s command (tailor when it names none) and turn every outcome into an exit code.

    0 done, 2 bad input (one sentence on stderr), 130 interrupted (the same command goes on where it stopped).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words and words[0] in commands else "tailor"
    try:
        commands[name](words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def _parser(command: str, about: str, others: str = "") -> argparse.ArgumentParser:
    script = Path(sys.argv[0]).name
    name = script if command == "tailor" else f"{script} {command}"
    return argparse.ArgumentParser(prog=name, description=about, epilog=others)


def _done(root: Path, counts: dict[str, int], fresh: bool) -> None:
    state = "made" if fresh else "already there, nothing to do"
    print(f"{root}: {counts['train']} training and {counts['test']} test photos ({state})")


# ----------------------------------------------------------------------------------------------- verify, pairs


def verify_command(argv: Sequence[str]) -> None:
    """`verify DIR`: count, check sizes, ids and pairs, print a table."""
    parser = _parser("verify", "Look through a tailored dataset and print what is there.")
    parser.add_argument("folder", type=Path, help="the tailored dataset")
    parser.add_argument("--quick", action="store_true", help="read only the photos' headers")
    options = parser.parse_args(argv)
    report = verify(options.folder, decode=not options.quick, progress=bar)
    print(report.table())
    if not report.ok:
        more = f" (and {len(report.problems) - 1} more faults)" if len(report.problems) > 1 else ""
        for problem in report.problems[1:20]:
            print(f"also: {problem}", file=sys.stderr)
        raise UserError(f"{report.problems[0]}{more}")


def print_pairs(pairs: Sequence[Pair], space: LabelSpace) -> None:
    """A table of test pairs by class, their number and SHA-256."""
    print("class            pairs  query line numbers")
    for class_id in dict.fromkeys(pair.class_id for pair in pairs):
        group = [pair for pair in pairs if pair.class_id == class_id]
        lines = " ".join(str(line) for line in dict.fromkeys(pair.query for pair in group))
        print(f"{space.class_name(class_id):<15} {len(group):>6}  {lines}")
    print(f"{len(pairs)} pairs")
    print(f"SHA-256 {sha256_json(pairs)}")


def pairs_command(layout: RawLayout | None, argv: Sequence[str]) -> None:
    """`pairs`: the test pairs of the official support index (--lists) or of a tailored dataset (--data)."""
    parser = _parser("pairs", "Print the fixed test pairs and the SHA-256 of their list.")
    if layout is not None:
        parser.add_argument("--lists", type=Path, help="folder with the authors' list files; no image is needed")
    parser.add_argument("--data", type=Path, help="a tailored dataset")
    parser.add_argument(
        "--out", help="also write the list, [query line, support line, class id] each, as compact JSON (- for stdout)"
    )
    options = parser.parse_args(argv)
    lists: Path | None = getattr(options, "lists", None)
    if (lists is None) == (options.data is None):
        raise UserError("say where the pairs come from: " + ("--lists DIR or " if layout else "") + "--data DIR")
    if options.data is not None:
        dataset = open_dataset(options.data)
        space, pairs = dataset.space, dataset.test_pairs()
    else:
        assert layout is not None
        assert lists is not None
        space = label_space(layout.space)
        stems = official_list(lists, layout, "test")
        index = official_index(lists, layout, "test", len(stems) if stems else sys.maxsize)
        if index is None:
            raise UserError(
                f"no meta_test_{space.key}_supports.pkl in {lists} (nor in its {layout.list_folder}); download it from "
                f"the support files linked in the README of {OFFICIAL}"
            )
        pairs = journal_pairs(index, space.test_order)
    print_pairs(pairs, space)
    if options.out is not None:
        compact = json.dumps(pairs, separators=(",", ":"))  # just the bytes that the SHA-256 is taken of
        if options.out == "-":
            print(compact)
        else:
            write_atomic(options.out, compact.encode())
            print(f"written to {options.out}")


# ----------------------------------------------------------------------------------------------- tailoring


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def raw_command(layout: RawLayout, argv: Sequence[str]) -> None:
    """Tailor ATR, LIP or CIHP."""
    parser = _parser(
        "tailor",
        f"Bring {layout.where} into the one-shot form, as links or copies.",
        "Other commands: verify DIR; pairs --lists DIR | --data DIR; each has --help.",
    )
    parser.add_argument("--root", type=Path, required=True, help="folder with the unpacked raw dataset")
    parser.add_argument("--out", type=Path, required=True, help="the tailored dataset to make")
    parser.add_argument("--lists", type=Path, help="folder with the authors' list files and support indexes")
    parser.add_argument("--copy", action="store_true", help="copy the files instead of linking to them")
    parser.add_argument("--train-split", type=_count, help=f"query photos in training (default {layout.train_split})")
    parser.add_argument("--test-split", type=_count, help="query photos in testing")
    parser.add_argument("--force", action="store_true", help="replace what is at --out")
    options = parser.parse_args(argv)
    report = tailor(layout, **vars(options), progress=bar)
    for note in report.notes:
        print(f"note: {note}")
    _done(report.root, report.counts, report.fresh)


def ccp_command(argv: Sequence[str]) -> None:
    """Tailor CCP."""
    parser = _parser(
        "tailor",
        "Make CCP-OS of a clone of Clothing Co-Parsing: 1,003 street photos, 12 classes.",
        "Other commands: verify DIR; pairs --data DIR; each has --help.",
    )
    parser.add_argument("--root", type=Path, help=f"a clone of {ccp.SOURCE} (default: cloned beside --out)")
    parser.add_argument("--out", type=Path, required=True, help="the tailored dataset to make")
    parser.add_argument("--max-side", type=_count, help="make photos smaller so that no side is longer")
    parser.add_argument("--force", action="store_true", help="replace what is at --out")
    options = parser.parse_args(argv)
    root = options.root
    if root is None:
        root = ccp.clone(options.out.absolute().parent / "clothing-co-parsing")
    report = ccp.tailor(root, options.out, max_side=options.max_side, force=options.force, progress=bar)
    for stem, reason in report.left_out.items():
        print(f"left out: {stem} ({reason})")
    _done(report.root, report.counts, report.fresh)


def raw_main(layout: RawLayout, argv: Sequence[str] | None = None) -> int:
    """Main function of data_scripts/{atr,lip,cihp}.py."""
    commands: dict[str, Command] = {
        "tailor": lambda words: raw_command(layout, words),
        "verify": verify_command,
        "pairs": lambda words: pairs_command(layout, words),
    }
    return run(commands, argv)


def ccp_main(argv: Sequence[str] | None = None) -> int:
    """Main function of data_scripts/ccp.py."""
    commands: dict[str, Command] = {
        "tailor": ccp_command,
        "verify": verify_command,
        "pairs": lambda words: pairs_command(None, words),
    }
    return run(commands, argv)
