"""``patched``: new code for new runs, old code for runs that are under way."""

from __future__ import annotations

import re
from typing import cast

from fencepost.replay import interface

ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


def patched(id: str, *, retired: bool = False) -> bool:
    """Whether this run takes part in the change ``id`` of the workflow's code.

    True for runs that come to this point for the first time, and it is recorded; False for runs whose log went past
    this point before the change. Every later call with the id answers the same. Outside a workflow it is True.

    ``retired``: True always, and nothing is recorded: for code that has no old branch any more, while runs that have
    recorded the change are open. Raises ValueError for an id that is not 1 to 100 letters, digits, ``_``, ``.``, ``:``
    or ``-``.
    """
    if not isinstance(cast(object, id), str):
        raise TypeError(f"patched({id!r}): the id is a text, not {type(id).__name__}")
    if ID.fullmatch(id) is None:
        raise ValueError(f"patched({id!r}): the id must be 1 to 100 letters, digits, '_', '.', ':' or '-'")
    asking = interface.current()
    return True if asking is None else asking.patched(id, retired=retired)
