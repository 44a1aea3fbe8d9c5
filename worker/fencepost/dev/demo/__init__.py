"""``fencepost demo``: see it work. Embedded servers, two worker processes, a workflow of several hundred parallel steps
of which one worker is killed in the middle, and an order workflow with retries, a race and a sleep. It checks what it
promises, and leaves nothing behind, however it ends.
"""

from __future__ import annotations


def main(*, json: bool = False, keep: bool = False) -> int:
    """Play the demo; returns the exit code: 0 all promises kept, 1 one was broken or something failed, 130 for Ctrl-C
    (128 + n for signal n). Blocks, in the main thread.

    ``json``: one JSON document to standard output (see verdict.Document), and all the rest to standard error. ``keep``:
    leave the temporary folder, with servers' data and workers' logs.
    """
    from fencepost.dev.demo.front import run

    return run(json=json, keep=keep)


__all__ = ["main"]
