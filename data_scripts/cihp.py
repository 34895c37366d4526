"""CIHP -> CIHP-OS: tailor, verify, pairs. `python data_scripts/cihp.py --help` says how."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oshp_lite.data.prepare.command import main

if __name__ == "__main__":
    sys.exit(main("cihp"))
