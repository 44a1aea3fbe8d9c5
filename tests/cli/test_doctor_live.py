"""``fencepost doctor`` beside workers: traffic is no finding, and what ``--repair`` mends goes on."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path

import pytest
from tests.cli.audited import Patient
from tests.cli.terminal import Terminal, stop, write_flows

from fencepost.audit.doctor import Doctor, Scope
from fencepost.audit.repair import Repairs
from fencepost.audit.report import Report
from fencepost.audit.run_checks import Thresholds
from fencepost.client import Client
from fencepost.config import Config
from fencepost.connections import open_inspection, open_queue, open_store
from fencepost.errors import HookNotFound
from fencepost_queue.protocol import Entry, tick_key

NOBODY = "11111111-1111-4111-8111-111111111111"

BUSY = """
import asyncio

from fencepost import Retry, current, hook, sleep, step, workflow


@step
async def add(n: int) -> int:
    if n == 3 and current().attempt == 1:
        raise Retry("once more", after=0.05)
    return n + 1


@workflow
async def busy(name: str) -> int:
    total = 0
    for n in range(5):
        total += sum(await asyncio.gather(add(n), add(n + 1)))
        async with hook(int, token=f"{name}:{n}") as signal:
            try:
                async with asyncio.timeout(0.2):
                    total += await signal
            except TimeoutError:
                await sleep(0.01)
    return total
"""


async def test_live_traffic_is_no_finding(terminal: Terminal, tmp_path: Path) -> None:
    """Runs start, race, retry, time out, take signals and end while the doctor looks again and again."""
    flows = write_flows(tmp_path, BUSY)
    live = terminal.start("worker", flows, "--processes", "2")
    patient = Patient(terminal, flows)
    stopped = asyncio.Event()
    done = 0

    async def traffic() -> None:
        nonlocal done
        async with Client(_config(terminal)) as client:
            while not stopped.is_set():
                names = [uuid.uuid4().hex for _ in range(10)]
                runs = [await client.start("busy", name) for name in names]
                for name in names:
                    with contextlib.suppress(HookNotFound):  # its hook is not open yet, or has timed out
                        await client.resume(f"{name}:0", 1)
                for run in runs:
                    await run.result(60)
                done += len(runs)

    load = asyncio.ensure_future(traffic())
    seen: list[dict[str, int]] = []
    while done < 40:
        assert not load.done(), load.result()
        document = await asyncio.to_thread(patient.audit)
        assert document["findings"] == []
        seen.append(document["audited"])
    stopped.set()
    await load
    assert max(audited["open_runs"] for audited in seen) > 0
    assert max(audited["messages"] for audited in seen) > 0
    assert (await asyncio.to_thread(patient.audit))["audited"]["open_runs"] == 0
    await asyncio.to_thread(stop, live)


@pytest.mark.parametrize("heals", [True, False])
async def test_what_is_over_at_the_second_look_is_no_finding(terminal: Terminal, flows: str, heals: bool) -> None:
    """A run, and a message, that look wrong once; ``heals`` False shows that the first look does see them."""
    patient = Patient(terminal, flows)
    run = await asyncio.to_thread(patient.start, "fulfil", '{"id": 1}')
    await patient.sql("UPDATE {s}.runs SET wake_at = NULL WHERE run_id = $1", uuid.UUID(run))
    config = _config(terminal)
    inspection, queue = await open_inspection(config), await open_queue(config)
    await queue.enqueue([Entry("default", tick_key(NOBODY))])

    async def pause(seconds: float) -> None:
        if heals:
            await patient.sql(
                "UPDATE {s}.runs SET wake_after = NULL, wake_at = {s}.clock() WHERE run_id = $1", uuid.UUID(run)
            )
            await queue.withdraw("default", [tick_key(NOBODY)])

    report = Report()
    await Doctor(inspection, queue, Thresholds(), suspect_crashes=2, sleep=pause).audit(Scope(), report)
    assert dict(report.counts) == ({} if heals else {"no_deadline": 1, "message_without_run": 1})
    await inspection.close()
    await queue.close()


async def test_repair_heals_what_it_can_and_says_so(terminal: Terminal, flows: str) -> None:
    """Without it nothing is touched. With it: deadline and tick for a run that has neither, a tick for one that stands
    still, a place for a message that has none, and messages of nobody go; a worker then ends every run.
    """
    patient = Patient(terminal, flows)
    for name in ("lost", "still", "mislaid", "done"):
        patient.runs[name] = await asyncio.to_thread(patient.start, "fulfil", '{"id": 4}')
    queue = await open_queue(_config(terminal))
    await queue.withdraw("default", [tick_key(patient.runs[name]) for name in ("lost", "still", "done")])
    await queue.enqueue([Entry("default", tick_key(NOBODY)), Entry("default", "nonsense")])
    await patient.sql("UPDATE {s}.runs SET wake_at = NULL WHERE run_id = $1", uuid.UUID(patient.runs["lost"]))
    overdue = "UPDATE {s}.runs SET wake_after = NULL, wake_at = {s}.clock() - 3600000000 WHERE run_id = $1"
    await patient.sql(overdue, uuid.UUID(patient.runs["still"]))
    assert (await asyncio.to_thread(terminal, "runs", "terminate", patient.runs["done"])).exit_code == 0
    await queue.withdraw("default", [tick_key(patient.runs["done"])])
    await patient.sql(overdue, uuid.UUID(patient.runs["done"]))
    await patient.redis("ZREM", patient.lane.declared[1], tick_key(patient.runs["mislaid"]))

    wrong = {
        ("no_deadline", "lost"),
        ("overdue_without_message", "still"),
        ("end_not_done", "done"),
        ("message_mislaid", "mislaid"),
        ("message_without_run", NOBODY),
        ("message_without_run", None),
    }
    assert await asyncio.to_thread(patient.found) == wrong
    assert await asyncio.to_thread(patient.found) == wrong, "reading has changed something"
    document = await asyncio.to_thread(patient.audit, "--repair")
    assert sorted(repair["done"] for repair in document["repairs"]) == [
        "placed a recovering tick (ready)",
        "placed a recovering tick (ready)",
        "placed it again (absorbed)",
        "set a deadline, and placed a recovering tick (ready)",
        "withdrew it",
        "withdrew it",
    ]
    assert {code for code, _ in await asyncio.to_thread(patient.found)} <= {"overdue", "end_not_done"}
    live = terminal.start("worker", flows, "--no-supervisor")
    for name in ("lost", "still", "mislaid"):
        done = await asyncio.to_thread(terminal, "runs", "result", patient.runs[name], "--timeout", "30")
        assert done.output.strip() == "8", done.output
    await asyncio.to_thread(stop, live)
    assert await asyncio.to_thread(patient.found) == set()
    await queue.close()


async def test_repair_leaves_alone_what_is_not_its_own(terminal: Terminal, flows: str) -> None:
    """A run that has moved on since it was looked at; a message that a worker has; an open run's; an end to be done."""
    patient = Patient(terminal, flows)
    run = await asyncio.to_thread(patient.start, "fulfil", '{"id": 4}')
    config = _config(terminal)
    inspection, queue, store = await open_inspection(config), await open_queue(config), await open_store(config)
    repairs = Repairs(store, inspection, queue, queue, 1)
    from fencepost.audit.findings import Finding

    async def done(code: str, key: str) -> str:
        (message,) = await queue.look("default", [key])
        repaired = await repairs.message(Finding(code, "", None, key), message)
        assert repaired is not None
        return repaired.done

    (stale,) = await inspection.runs([run])
    assert (await asyncio.to_thread(terminal, "runs", "cancel", run)).exit_code == 0
    moved = await repairs.run(Finding("no_deadline", "", run), stale)
    assert moved is not None
    assert moved.done == "nothing: the run has moved on"
    assert (await repairs.run(Finding("row_disagrees", "", run), stale)) is None
    assert await done("message_of_ended_run", tick_key(run)) == "nothing: its run is open"
    (taken,) = (await queue.claim("default", 1, 60_000)).deliveries
    await queue.enqueue([Entry("default", tick_key(NOBODY))])
    (other,) = (await queue.claim("default", 1, 60_000)).deliveries
    assert (taken.key, other.key) == (tick_key(run), tick_key(NOBODY))
    assert await done("message_without_run", tick_key(NOBODY)) == "nothing: a worker has it, and will settle it"
    assert (await asyncio.to_thread(terminal, "runs", "terminate", run)).exit_code == 0
    await patient.sql("UPDATE {s}.runs SET wake_after = NULL, wake_at = 1 WHERE run_id = $1", uuid.UUID(run))
    assert "still to be done" in await done("message_of_ended_run", tick_key(run))
    for each in (inspection, queue, store):
        await each.close()


def _config(terminal: Terminal) -> Config:
    return Config(
        database_url=terminal.environ["FENCEPOST_DATABASE_URL"],
        redis_url=terminal.environ["FENCEPOST_REDIS_URL"],
        namespace=terminal.environ["FENCEPOST_NAMESPACE"],
    )
