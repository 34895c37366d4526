"""One run of the matrix in a process of its own, without a notebook; the matrix starts it (`execute.run_child`).

Exit codes: 0 made or found; 2 refused with a sentence; 75 another process is making it.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.lock import Busy
from oshp_lite.study.execute import leave_with_parent

BUSY = 75
"""Exit code for "try again later" (EX_TEMPFAIL)."""


def obey(order: dict[str, Any]) -> int:
    """Make the run of `order["config"]` in the folder of runs `order["runs"]`, data in `order["data"]`."""
    from oshp_lite.engine.config import from_dict
    from oshp_lite.engine.runs import RunStore

    try:
        config = from_dict(order["config"], where="configuration")
        run = RunStore(order["runs"]).ensure(config, order["data"], wait=False, progress=False)
    except Busy as error:
        print(error)
        return BUSY
    except UserError as error:
        print(f"Error: {error}")
        return 2
    print(run.folder.name)
    return 0


def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.matrix_worker", description=__doc__)
    parser.add_argument("--order", required=True)
    chosen = parser.parse_args(words)
    leave_with_parent()
    return obey(json.loads(chosen.order))


if __name__ == "__main__":
    sys.exit(main())
