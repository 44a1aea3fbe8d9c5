"""The engine's own lock.

What a workflow does with asyncio's locks is looked at in each of their methods (``replay/shared_primitives.py``), and
those are everybody's in the process. A run's lock is taken for each step, and no workflow ever sees it.
"""

from __future__ import annotations

import asyncio
import inspect


class EngineLock(asyncio.Lock):
    """asyncio's, with the methods that asyncio gave it."""


for _name in ("acquire", "release", "locked"):
    setattr(EngineLock, _name, inspect.unwrap(getattr(asyncio.Lock, _name)))
