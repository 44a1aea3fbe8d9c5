"""What tells one append from any other, on whatever server it was made: a random number that its events carry.

A position is no identity. A server that has lost its last commits gives their positions out again, and its clock may
say again what it has said, so a decision that was derived from what is lost would fit what came in its place. A number
that was drawn once in 2^62 is carried by one commit only; and a log that holds a commit holds all that was before it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

Stamps = Callable[[], int]

BITS = 62
"""A bigint's, without its sign. Zero is kept for what was written before there were stamps."""


def draw_stamp() -> int:
    """A number that nobody has had, and nobody can foresee."""
    return secrets.randbits(BITS) + 1
