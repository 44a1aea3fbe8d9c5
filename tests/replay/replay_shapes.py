"""Workflow shapes, as users write them. Each returns what it observed, so that an order that differs shows in its
output.
"""

from __future__ import annotations

import replay_shapes_anyio
import replay_shapes_asyncio
import replay_shapes_children
import replay_shapes_made
import replay_shapes_races
from replay_catalogue import CANCELLED, SHAPES, check

PARTS = (
    replay_shapes_asyncio,
    replay_shapes_races,
    replay_shapes_anyio,
    replay_shapes_children,
    replay_shapes_made,
)
"""Importing them fills the table."""

__all__ = ["CANCELLED", "PARTS", "SHAPES", "check"]
