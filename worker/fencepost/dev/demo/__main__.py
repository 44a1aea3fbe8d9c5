"""``python -m fencepost.dev.demo``: as ``fencepost demo``."""

from __future__ import annotations

import sys

from fencepost.dev.demo import main

if __name__ == "__main__":
    sys.exit(main(json="--json" in sys.argv[1:], keep="--keep" in sys.argv[1:]))
