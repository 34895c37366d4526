"""The command line behind `data_scripts`: tailor (default), verify, pairs. Bad input: one sentence, exit code 2."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from oshp_lite.data.dataset import PairRule, open_dataset
from oshp_lite.data.pairs import pairs_hash
from oshp_lite.data.prepare import Preparation, whole_number
from oshp_lite.data.registry import DATASETS
from oshp_lite.data.verify import verify
from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic
from oshp_lite.labels import one_shot_space
from oshp_lite.script import exit_code

PAIR_OPTIONS = ("rule", "queries", "repeats", "per_class")


@exit_code
def main(name: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run the command for the raw dataset `name` ("atr"), or for the one that the first word names.

    Returns the exit code: 0 done, 2 bad input (one sentence on stderr), 130 interrupted (the same command goes on).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {"tailor": tailor_command, "verify": verify_command, "pairs": pairs_command}
    try:
        families = [spec.family for spec in DATASETS.values() if not spec.synthetic]
        if name is None and not (words and words[0] in families):
            raise UserError(f"name the raw dataset first: one of {', '.join(families)}")
        name = name or words.pop(0)
        command = words.pop(0) if words and words[0] in commands else "tailor"
        commands[command](name, words)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def preparation(family: str) -> Preparation:
    """How the raw dataset of this name is prepared, from the file that the registry names."""
    entry = next(spec.prepare for spec in DATASETS.values() if spec.family == family and spec.prepare)
    module, _, attribute = entry.partition(":")
    made: Preparation = getattr(import_module(f"oshp_lite.data.prepare.{module}"), attribute)
    return made


def _parser(command: str, description: str, others: str = "") -> argparse.ArgumentParser:
    name = f"{Path(sys.argv[0]).name} {command}".strip()
    return argparse.ArgumentParser(prog=name, description=description, epilog=others)


def pair_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that shape the list of test pairs, as a run's `eval` does."""
    rules = get_args(PairRule)
    parser.add_argument("--rule", choices=rules, default=rules[0], help="eval.pairs")
    parser.add_argument("--queries", type=whole_number, help="eval.queries, for the rule spread")
    parser.add_argument("--repeats", type=whole_number, help="eval.repeats, for the rules spread and each")
    parser.add_argument("--per-class", type=whole_number, help="eval.per_class")


def tailor_command(name: str, argv: Sequence[str]) -> None:
    """Make the dataset of raw data."""
    what = preparation(name)
    pairs = "pairs --lists DIR | --data DIR" if what.published_pairs else "pairs --data DIR"
    parser = _parser("", what.about, f"Other commands: verify DIR; {pairs}; each has --help.")
    what.declare(parser)
    parser.add_argument("--out", type=Path, required=True, help="the tailored dataset to make")
    parser.add_argument("--force", action="store_true", help="replace the dataset that is at --out")
    report = what.run(parser.parse_args(argv))
    for note in report.notes:
        print(f"note: {note}")
    state = "made" if report.fresh else "already there, nothing to do"
    print(f"{report.root}: {report.counts['train']} training and {report.counts['test']} test photos ({state})")


def verify_command(_: str, argv: Sequence[str]) -> None:
    """`verify DIR`: count, check sizes, ids and pairs, print a table."""
    parser = _parser("verify", "Look through a tailored dataset and print what is there.")
    parser.add_argument("folder", type=Path, help="the tailored dataset")
    parser.add_argument("--quick", action="store_true", help="read only the photos' headers")
    pair_options(parser)
    print_verified(**vars(parser.parse_args(argv)))


def print_verified(folder: Path, *, quick: bool = False, **pairs: Any) -> None:
    """Print what `verify` sees (`pairs` as there). Raises UserError with the first fault when there is any."""
    report = verify(folder, decode=not quick, progress=True, **pairs)
    print(report.table())
    if not report.ok:
        more = f" (and {len(report.problems) - 1} more faults)" if len(report.problems) > 1 else ""
        for problem in report.problems[1:20]:
            print(f"also: {problem}", file=sys.stderr)
        raise UserError(f"{report.problems[0]}{more}")


def pairs_command(name: str, argv: Sequence[str]) -> None:
    """`pairs`: the test pairs of the official support index (--lists) or of a tailored dataset (--data)."""
    what = preparation(name)
    parser = _parser("pairs", "Print the test pairs and the SHA-256 of their list.")
    if what.published_pairs:
        parser.add_argument("--lists", type=Path, help="folder with the authors' list files; no image is needed")
    parser.add_argument("--data", type=Path, help="a tailored dataset")
    parser.add_argument(
        "--out", help="also write the list, [query line, support line, class id] each, as compact JSON (- for stdout)"
    )
    pair_options(parser)
    options = parser.parse_args(argv)
    lists, shape = getattr(options, "lists", None), {key: getattr(options, key) for key in PAIR_OPTIONS}
    if (lists is None) == (options.data is None):
        first = "--lists DIR or " if what.published_pairs else ""
        raise UserError(f"say where the pairs come from: {first}--data DIR")
    if lists is not None:
        changed = next((key for key, value in shape.items() if value not in (None, "dataset")), None)
        if changed:
            raise UserError(f"the published pairs of --lists have no choice of --{changed}; leave it out")
        space, pairs = one_shot_space(name), what.official_pairs(lists)
    else:
        dataset = open_dataset(options.data)
        space, pairs = dataset.space, dataset.test_pairs(**shape)
    print("class            pairs  query line numbers")
    for class_id in dict.fromkeys(pair.class_id for pair in pairs):
        group = [pair for pair in pairs if pair.class_id == class_id]
        lines = " ".join(str(line) for line in dict.fromkeys(pair.query for pair in group))
        print(f"{space.class_name(class_id):<15} {len(group):>6}  {lines}")
    print(f"{len(pairs)} pairs\nSHA-256 {pairs_hash(pairs)}")
    compact = json.dumps(pairs, separators=(",", ":"))  # just the bytes that the SHA-256 is taken of
    if options.out == "-":
        print(compact)
    elif options.out is not None:
        write_atomic(options.out, compact.encode())
        print(f"written to {options.out}")
