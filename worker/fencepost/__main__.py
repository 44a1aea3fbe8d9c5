"""``python -m fencepost``: the same as the ``fencepost`` command."""

from __future__ import annotations

from fencepost.cli.main import main

if __name__ == "__main__":
    main()
