"""Where a delivery stands that was taken in through a token."""

from __future__ import annotations

import msgspec


class Taken(msgspec.Struct, frozen=True):
    """The newest hook_received of a delivery: its run, hook, seq and payload. After continue_as_new that is the copy in
    the log of the run that goes on."""

    run_id: str
    entity: str
    seq: int
    payload: bytes
