"""``set_attributes``: what a run says of itself, for those who look runs up."""

from __future__ import annotations

from collections.abc import Mapping

from fencepost.attributes import AttributeValue, check_mapping, texts_of
from fencepost.errors import NotInWorkflow
from fencepost.replay import interface


def set_attributes(
    changes: Mapping[str, AttributeValue | None] | None = None, /, **named: AttributeValue | None
) -> None:
    """Set attributes of this run: texts, numbers, truth values, aware datetimes. None takes one away.

    They are written with what the code asks for next, stay when the run has ended, and are seen in
    ``client.list(attributes={...})``, ``fencepost runs list --where`` and ``RunInfo.attributes``. They are not
    encrypted. What is set already costs nothing.

    Raises BadAttribute (nothing is changed) for what cannot be kept: at most 32 attributes, texts of 256 bytes, names
    of 64 letters, digits, ``_``, ``.`` or ``-``. Raises NotInWorkflow elsewhere: in a step return what the workflow is
    to set.
    """
    asking = interface.current()
    if asking is None:
        raise NotInWorkflow(
            "set_attributes() is for workflow code; a step returns what its workflow is to set, and a client gives"
            " attributes at the start: client.start(..., attributes={...})"
        )
    if changes is not None:
        check_mapping(changes)
    asking.set_attributes(texts_of({**(changes or {}), **named}))
