"""Steps with a bound on all their attempts, or on the wait for the first: when they may fail, and when they must."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from tests.simulate.plan import Node

from fencepost import errors
from fencepost.records import StepCreated, StepEnded, unpack
from fencepost_store.events import Event, EventType

CLOCKS_SECONDS = 0.1
"""How far the clocks of workers may be off: see ``timing.AHEAD_SECONDS``."""

BOUNDED = frozenset({"close", "begin"})
"""Flavours of such steps."""


def check_bounded(log: Sequence[Event], node: Node) -> Generator[str]:
    """Violations, in words. ``log``: what it holds of one step that has failed, its creation first."""
    policy = unpack(log[0].payload, StepCreated).policy
    ended = log[-1]
    error = unpack(ended.payload, StepEnded).error
    retried = sum(event.type is EventType.step_retrying for event in log)
    bound = policy.schedule_to_close if node.flavour == "close" else policy.schedule_to_start
    assert bound is not None
    rest = bound - (ended.at - log[0].at) / 1e6
    if error.code == errors.STEP_TIMEOUT:
        if rest > CLOCKS_SECONDS:
            yield f"bound: its time was over {rest:.3f} s too early"
        if node.flavour == "begin" and ended.attempt:
            yield "bound: it had been started in time"
    elif error.code != errors.USER_ERROR or node.fails < ended.attempt:
        yield f"bound: {error.code}, and neither its body failed nor its time was over"
    elif retried != policy.retries:
        longest = min(policy.cap, policy.first_delay * policy.factor**retried)
        if node.flavour != "close" or longest + CLOCKS_SECONDS < rest:
            yield f"bound: it failed after {retried} retries with {rest:.3f} s left"
