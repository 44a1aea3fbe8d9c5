"""Recorded histories: written and read back as they are, and held against code."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from replay_world import Bench, Flow, Script, W, completed

from fencepost import Registry, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.history import History, HistoryError, RunLine, lines, read, recorded
from fencepost.payload import encode
from fencepost.replay.instance import Instance
from fencepost.replay.recorded import fit
from fencepost.testing import HistoryDiffers, replay_history
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.protocol import Run, RunStatus

RUN = Run("run-1", "flow", "mail", RunStatus.running, 2, 2, None, None, None, None, 1, 2)
EVENTS = (
    Event(1, EventType.run_created, "", 0, 10, None, None, None, b"\x01\xff\x00"),
    Event(2, EventType.hook_created, "hook#1", 0, 20, None, "café", None, b""),
    Event(3, EventType.wait_created, "sleep#1", 0, 30, 1_700_000_000_123_456, None, None, b"x"),
    Event(4, EventType.hook_received, "hook#1", 0, 40, None, None, "d-1", b"\x00"),
    Event(5, EventType.step_failed, "s#1", 3, 50, None, None, "worker", b"\x02"),
)


def written(folder: Path, *histories: History) -> Path:
    """A file of histories."""
    file = folder / "runs.jsonl"
    file.write_bytes(b"".join(line + b"\n" for history in histories for line in lines(history)))
    return file


def test_a_history_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Every field of every event, several runs in a file; each line is a JSON document."""
    first, second = recorded(RUN, EVENTS), History(RunLine(1, "run-2", "other", "default", "pending", 1), EVENTS[:1])
    file = written(tmp_path, first, second)
    assert read(file) == [first, second]
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert told[0] == {
        "line": "run", "format": 1, "id": "run-1", "workflow": "flow", "queue": "mail", "status": "running", "of": 5
    }  # fmt: skip
    assert told[1]["payload"] == "Af8A"


Change = Callable[[list[str]], list[str]]

BROKEN: dict[str, tuple[Change, str]] = {
    "cut": (lambda text: text[:-1], r"runs.jsonl:5: run run-1 has 4 events here, and 5 were recorded"),
    "headless": (lambda text: text[1:], r"runs.jsonl:1: event 1 does not follow"),
    "gap": (lambda text: [*text[:2], *text[3:]], r"runs.jsonl:3: event 3 does not follow"),
    "two heads": (lambda text: [*text[:3], text[0]], r"runs.jsonl:4: run run-1 has 2 events here"),
    "no history": (lambda text: ["{}"], r"runs.jsonl:1: not a line of a recorded history"),
    "later": (lambda text: [text[0].replace('"format":1', '"format":2')], r"format 2, and this version reads 1"),
    "unknown": (lambda text: [*text[:5], text[5].replace("step_failed", "burst")], r"knows no event 'burst'"),
    "empty": (lambda text: [], r"holds no run: write one with `fencepost runs export"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, name: str) -> None:
    """With the file, the line and what is wrong."""
    change, words = BROKEN[name]
    file = written(tmp_path, recorded(RUN, EVENTS))
    file.write_text("".join(f"{line}\n" for line in change(file.read_text().splitlines())))
    with pytest.raises(HistoryError, match=words):
        read(file)


async def charges(w: W) -> object:
    return await w.step("charge", 1)


async def refunds(w: W) -> object:
    return await w.step("refund")


async def fails(w: W) -> object:
    raise ValueError("no luck")


async def spins(w: W) -> object:
    while True:  # noqa: ASYNC110 - it is what code must not do
        await asyncio.sleep(0)


async def charges_more(w: W) -> object:
    await w.step("charge", 2)
    return await w.step("ship")


def log_of_charges(*, ended: bool = False) -> list[Event]:
    """Its step has ended; its end is in the log or not."""
    bench = Bench(charges)
    bench.turn()
    bench.land(completed("charge#1"))
    if ended:
        bench.turn()
    return bench.log.events


@pytest.mark.parametrize(
    ("flow", "ended", "asked"),
    [
        (charges, True, None),
        (charges, False, None),
        (charges_more, False, None),
        (charges_more, True, "step_created ship#1 (ship)"),
        (refunds, False, "step_created refund#1 (refund)"),
        (fails, False, "nothing, it has ended, with ValueError: no luck []"),
        (spins, False, "without rest: "),
    ],
)
def test_the_first_difference(flow: Flow, ended: bool, asked: str | None) -> None:
    """What is asked for beyond the log is none."""
    found = fit("run-1", Script(flow), log_of_charges(ended=ended))
    told = found.difference and found.difference.asked
    assert (told or "").startswith(asked or "")
    assert (told is None) == (asked is None)
    assert found.changed == (("charge#1",) if flow is charges_more else ())


def version(name: str) -> Workflow[[], int]:
    """A build of the workflow whose step has that name."""
    registry = Registry()

    @step(registry=registry, name=name)
    async def work() -> int:
        return 1

    @workflow(registry=registry)
    async def flow() -> int:
        return await work()  # the line

    return flow


def history_of(flow: Workflow[[], int]) -> History:
    """One that waits for its step."""
    instance = Instance("run-1", flow)
    created = NewEvent(EventType.run_created, payload=flow.encode_input((), {}))
    events: list[Event] = []
    for new in (created, None):
        event = new or instance.pending()[0]
        events.append(Event(len(events) + 1, event.type, event.entity, 0, 10, None, None, None, event.payload))
        instance.deliver(events[-1:])
    instance.evict()
    events.append(Event(3, EventType.step_completed, "first#1", 1, 20, None, None, None, encode(1)))
    return recorded(RUN, events)


def test_replay_history_in_a_users_test(tmp_path: Path) -> None:
    """A number, or an assertion with all that one needs to know."""
    fits, differs = version("first"), version("second")
    file = written(tmp_path, history_of(fits), History(RunLine(1, "x", "other", "default", "pending", 0), ()))
    assert replay_history(fits, file) == 1
    with pytest.raises(HistoryDiffers, match=r"run run-1 at seq 2: the log has step_created first#1 \(first\)") as told:
        replay_history(differs, str(file))
    assert isinstance(told.value, AssertionError)
    assert (told.value.run, told.value.seq, told.value.asked) == ("run-1", 2, "step_created second#1 (second)")
    line = Path(__file__).read_text().splitlines().index("        return await work()  # the line") + 1
    assert told.value.source == f"{__file__}:{line}"


def test_a_file_without_a_run_of_the_workflow_checks_nothing(tmp_path: Path) -> None:
    """And that is an error."""
    fits = version("first")
    file = written(tmp_path, History(RunLine(1, "x", "other", "default", "pending", 0), ()))
    with pytest.raises(ValueError, match="has no run of flow, only of other: nothing would be checked"):
        replay_history(fits, file)


def test_importing_the_test_package_loads_nothing_heavy() -> None:
    """Not even msgspec, before a name is used; and no server's driver after."""
    script = (
        "import sys, fencepost.testing as t; a = {'asyncio', 'msgspec'} & set(sys.modules); t.replay_history;"
        "print(sorted(a), sorted({'asyncpg', 'redis', 'click'} & set(sys.modules)), t.__all__ == dir(t))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[] [] True\n"
