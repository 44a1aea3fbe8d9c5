"""Whose child a run is, as ``runs.parent`` keeps it: the parent's id, a slash, the child's entity in the parent's log.

One text and no two columns: it is looked up whole (which run is this child) and by its beginning (the children of a
run), and one index serves both.
"""

from __future__ import annotations

from typing import NamedTuple

_ID_CHARS = 36


class Parent(NamedTuple):
    """A parent. ``entity``: the child's id in the parent's log."""

    run_id: str
    entity: str


def parent_text(run_id: str, entity: str) -> str:
    """The parent as ``runs.parent`` keeps it; with an empty entity, what the text of each child begins with."""
    return f"{run_id}/{entity}"


def parent_of(text: str) -> Parent:
    """The reverse."""
    return Parent(text[:_ID_CHARS], text[_ID_CHARS + 1 :])
