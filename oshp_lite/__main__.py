"""`python -m oshp_lite` is `oshp-lite`."""

import sys

from oshp_lite.cli import main

sys.exit(main())
