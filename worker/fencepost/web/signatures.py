"""Signed webhooks as standardwebhooks.com has them: an HMAC-SHA256 over id, time and body. Pure.

The headers are webhook-id, webhook-timestamp (seconds since the epoch) and webhook-signature, which holds one or more
of ``v1,BASE64``, separated by spaces. A secret is ``whsec_`` and the key in base64.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

TOLERANCE_SECONDS = 300
"""How far a timestamp may be from our clock, either way: longer, and what was recorded on the way could be played
again; shorter, and honest clocks and slow networks would be refused."""

KEY_BYTES_MIN = 24
"""What the standard asks of a key."""

_PREFIX = "whsec_"


class BadSignature(Exception):
    """The request is not from who it should be from, or not from now. The message is for our side's log only."""


def key_of(secret: str) -> bytes:
    """The key in a secret. Raises ValueError, without the secret, for what is none."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(
            f"a webhook secret must be {_PREFIX!r} and at least {KEY_BYTES_MIN} bytes in base64; make one with"
            f" `echo {_PREFIX}$(head -c 32 /dev/urandom | base64)`"
        )
    return key


def sign(key: bytes, delivery: str, timestamp: int, body: bytes) -> str:
    """The signature, as it stands in the header."""
    signed = f"{delivery}.{timestamp}.".encode("latin-1") + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The delivery id, if one of the signatures was made with one of the keys and the time is within
    TOLERANCE_SECONDS of ``now``. Raises BadSignature. Takes equally long wherever a signature differs."""
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not headers.get(name)]
    if missing:
        raise BadSignature(f"without {', '.join(missing)}")
    delivery, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise BadSignature("webhook-timestamp is no number of seconds")
    timestamp = int(stamp)
    if abs(now - timestamp) > TOLERANCE_SECONDS:
        raise BadSignature(f"webhook-timestamp is {now - timestamp:+.0f} s off, {TOLERANCE_SECONDS} s are allowed")
    given = [word.encode("latin-1") for word in headers["webhook-signature"].split(" ")]
    wanted = [sign(key, delivery, timestamp, body).encode("ascii") for key in keys]
    if sum(hmac.compare_digest(one, other) for one in given for other in wanted) == 0:  # any() would stop early
        raise BadSignature("no signature fits")
    return delivery
