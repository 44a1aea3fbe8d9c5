"""Names that users give to workflows, steps and queues: what the log and the queue can hold, refused where they are
written and not when something is to be sent there.
"""

from __future__ import annotations

import re

NAME_CHARS_MAX = 200
"""Of a workflow or a step: it stands in every event's entity."""

QUEUE = re.compile(r"[^{}\x00-\x20\x7f]{1,200}")
"""As ``fencepost_queue.keys.QUEUE``, which this room does not know; a test holds them together."""


def checked_queue(queue: object, field: str = "queue") -> str:
    """The queue's name. Raises TypeError, ValueError naming field, value and bound."""
    if not isinstance(queue, str):
        raise TypeError(f"{field} = {queue!r}: a queue's name is a text, not {type(queue).__name__}")
    if QUEUE.fullmatch(queue) is None:
        raise ValueError(
            f"{field} = {_cut(queue)!r}: a queue's name has 1 to 200 characters, without braces, spaces and control"
            " characters"
        )
    return queue


def checked_name(name: object, kind: str) -> str:
    """The name of a workflow or a step. Raises TypeError, ValueError naming value and bound."""
    if not isinstance(name, str):
        raise TypeError(f"@{kind}(name={name!r}): a name is a text, not {type(name).__name__}")
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise ValueError(
            f"@{kind}(name={_cut(name)!r}): a name has 1 to {NAME_CHARS_MAX} printable characters,"
            f" this one has {len(name)}"
        )
    return name


def _cut(text: str) -> str:
    return text if len(text) <= NAME_CHARS_MAX else f"{text[:NAME_CHARS_MAX]}…"
