"""The random bytes that a client draws for each run, and records in its first event.

The default tokens of the run's hooks are derived from them (``replay.identity.secret_of``). Drawn here, once, because a
replay must see the same tokens and draws nothing; recorded in run_created, because a token is known to the code before
its own event is in the log, and may be used before that.
"""

from __future__ import annotations

import secrets

import msgspec

from fencepost.records import RunCreated, pack, unpack

SECRET_BYTES = 16
"""128 bits: as much as a token has."""


def with_secret(created: bytes) -> bytes:
    """The run_created payload with a fresh secret."""
    return pack(msgspec.structs.replace(unpack(created, RunCreated), secret=secrets.token_hex(SECRET_BYTES)))
