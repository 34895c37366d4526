"""`python -m oshp_lite` is `oshp-lite`."""

import sys

from oshp_lite.cli import main

if __name__ == "__main__":  # processes that draw scenes import this module again
    sys.exit(main())
