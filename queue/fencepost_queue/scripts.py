"""The Lua scripts: read from ``lua/``, the prelude and the limits put in front, known to the server by their hash."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

import msgspec

from fencepost_queue.limits import (
    BELL_TOKENS_MAX,
    COMPANY_MAX,
    EXPIRE_SCAN_COUNT,
    FORGIVEN_MAX,
    FRONT,
    REFUSALS_MAX,
    REFUSED_BY_ALL_MS,
    REFUSED_RINGS,
    ROUNDS_MAX,
    WORK_PER_CLAIM,
    YOUNG_MS,
)

NAMES = (
    *("claim", "depth", "enqueue", "expire", "inspect", "peek", "refuse", "release", "renew", "settle", "sweep"),
    "withdraw",
)

LIMITS = (
    f"local ROUNDS_MAX, WORK_PER_CLAIM, FRONT = {ROUNDS_MAX}, {WORK_PER_CLAIM}, {FRONT}\n"
    f"local BELL_TOKENS_MAX, EXPIRE_SCAN_COUNT = {BELL_TOKENS_MAX}, {EXPIRE_SCAN_COUNT}\n"
    f"local COMPANY_MAX, YOUNG_MS, FORGIVEN_MAX = {COMPANY_MAX}, {YOUNG_MS}, {FORGIVEN_MAX}\n"
    f"local REFUSALS_MAX, REFUSED_BY_ALL_MS, REFUSED_RINGS = {REFUSALS_MAX}, {REFUSED_BY_ALL_MS}, {REFUSED_RINGS}\n"
)


class Script(msgspec.Struct, frozen=True):
    """One script, as the server is given it."""

    name: str
    source: str
    digest: str


@cache
def script(name: str) -> Script:
    """The script of ``lua/<name>.lua``. EVALSHA over functions: it needs no library kept current on each primary."""
    folder = files("fencepost_queue") / "lua"
    source = LIMITS + (folder / "prelude.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
