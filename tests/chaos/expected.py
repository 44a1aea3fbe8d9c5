"""What a run of the mixed load must end with: computed from its arguments and the winners in its log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from tests.chaos.chaos_flows import BEATS
from tests.stress import winners

from fencepost import payload
from fencepost.records import RunCreated, RunStopped, unpack
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Run

E = EventType


def check(run: Run, log: Sequence[Event]) -> str | None:
    """What is wrong with the run's end; None: nothing."""
    args: list[object] = payload.decode(unpack(log[0].payload, RunCreated).input)[0]
    called = f"{run.workflow}{args}"
    end = log[-1]
    if run.workflow == "cancelled":
        if end.type is not E.run_cancelled:
            return f"{called} ended as {end.type.name}"
        reason = unpack(end.payload, RunStopped).reason
        tidied = sum(event.type is E.step_completed for event in log)
        return None if (reason, tidied) == (f"enough of {args[1]}", 1) else f"{called}: {reason!r}, {tidied} tidied up"
    if run.workflow == "dawdler" and end.type is E.run_cancelled:
        return None if run.parent is not None else f"{called} was cancelled by nobody"
    if end.type is not E.run_completed:
        return f"{called} ended as {end.type.name}: {msgspec.json.encode(str(end.payload)).decode()[:500]}"
    try:
        expected = _expected(run, args, log)
    except (AssertionError, ValueError, IndexError) as error:
        return f"{called}: its log leads to no result: {type(error).__name__}: {error}"
    result: object = payload.decode(end.payload)
    return None if result == expected else f"{called} returned {result!r}, expected {expected!r}"


def _expected(run: Run, args: list[object], log: Sequence[Event]) -> object:
    match run.workflow, args:
        case "sequence", [int(n)]:
            return n * (n - 1) // 2
        case "fan", [int(n)]:
            return sum(i * i for i in range(n))
        case "retried", [int(n), _]:
            return f"{n}, {n} is hopeless"
        case "timed", [int(n), _]:
            first = next(event.type for event in log if event.type in (E.step_completed, E.wait_completed))
            return "in time" if first is E.step_completed else f"late, {n}"
        case "booked", [int(places)]:
            return list(range(places))
        case "counted", [int(n)]:
            return BEATS + n
        case "tree", [int(depth)]:
            return 2 ** (depth + 1) - 1
        case "dawdler", _:
            return "in time"
        case "hasty", [int(n), _]:
            return "in time" if any(event.type is E.child_completed for event in log) else f"late, {n}"
        case "sleeper", [int(n), _]:
            return n + 2
        case "mailbox", [_, int(count)]:
            received = [payload.decode(event.payload) for event in log if event.type is E.hook_received]
            assert sorted(received) == list(range(count)), f"received {received}, {count} were sent"
            return received
        case "storm", [_, int(loops), _]:
            return winners.trail(log, loops)
        case _:
            raise AssertionError(f"unknown workflow {run.workflow}{args}")
