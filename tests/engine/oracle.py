"""What every log must look like, whatever happened: the audit's second opinion, used after each timeline."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost.audit.legality import illegal
from fencepost_store.events import KINDS, Event


def check(log: Sequence[Event], *, ended: bool = True) -> None:
    """Dense and legal by the event table; with ``ended``, up to the run's end."""
    assert [str(problem) for problem in illegal(log)] == []
    assert log, "an empty log"
    assert not ended or KINDS[log[-1].type].ends_run, "no end"
