"""``fencepost doctor``: each finding by damage done with SQL and Redis commands, and none where nothing is wrong."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from tests.cli.audited import Patient
from tests.cli.terminal import Terminal

from fencepost.audit import doctor
from fencepost.audit.findings import CATALOGUE
from fencepost.audit.servers import Clock
from fencepost_queue.protocol import Entry, step_key, tick_key

NOBODY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(autouse=True)
def _a_short_pause(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """Nothing moves here between the two looks."""
    monkeypatch.setattr(doctor, "PAUSE_SECONDS", 0.01)


@pytest.fixture
async def patient(terminal: Terminal, flows: str) -> Patient:
    """See Patient."""
    made = Patient(terminal, flows)
    await asyncio.to_thread(made.fill)
    return made


DAMAGE: list[tuple[str, str, str]] = [
    # what is done to which run, and what is to be found
    ("log_illegal", "done", "DELETE FROM {s}.events WHERE run_id = $1 AND seq = 3"),
    ("log_illegal", "hook", "DELETE FROM {s}.events WHERE run_id = $1"),
    ("log_illegal", "done", "UPDATE {s}.events SET type = 13, ordinal = 32767 WHERE run_id = $1 AND type = 3"),
    ("log_unknown", "done", "UPDATE {s}.events SET type = 99 WHERE run_id = $1 AND seq = 3"),
    ("row_disagrees", "done", "UPDATE {s}.runs SET status = 11 WHERE run_id = $1"),
    ("row_disagrees", "done", "UPDATE {s}.runs SET status = 77 WHERE run_id = $1"),
    ("row_disagrees", "hook", "UPDATE {s}.runs SET status = 0 WHERE run_id = $1"),
    ("row_disagrees", "hook", "UPDATE {s}.runs SET status = 10 WHERE run_id = $1"),
    ("row_disagrees", "nap", "UPDATE {s}.runs SET fence = 1 WHERE run_id = $1"),
    ("row_disagrees", "nap", "UPDATE {s}.runs SET last_seq = last_seq + 1 WHERE run_id = $1"),
    ("hook_without_token", "hook", "DELETE FROM {s}.hooks WHERE run_id = $1"),
    ("token_without_hook", "done", "INSERT INTO {s}.hooks (run_id, entity, token) VALUES ($1, 'hook#9', 'stale')"),
    ("no_deadline", "nap", "UPDATE {s}.runs SET wake_at = NULL WHERE run_id = $1"),
    ("no_deadline", "step", "UPDATE {s}.runs SET wake_at = NULL WHERE run_id = $1"),
    ("no_deadline", "fresh", "UPDATE {s}.runs SET wake_at = NULL WHERE run_id = $1"),
    (
        "overdue_without_message",
        "nap",
        "UPDATE {s}.runs SET wake_after = NULL, wake_at = {s}.clock() - 3600000000 WHERE run_id = $1",
    ),
    ("overdue", "fresh", "UPDATE {s}.runs SET wake_after = NULL, wake_at = {s}.clock() - 3600000000 WHERE run_id = $1"),
    (
        "end_not_done",
        "done",
        "UPDATE {s}.runs SET wake_after = NULL, wake_at = {s}.clock() - 3600000000 WHERE run_id = $1",
    ),
]


async def test_each_damage_to_a_run_is_found_and_nothing_else(patient: Patient) -> None:
    """One at a time: planted, found, undone. Before the first and after the last nothing is found."""
    assert await asyncio.to_thread(patient.found) == set()
    await patient.sql("CREATE TABLE {s}.kept_runs AS TABLE {s}.runs")
    await patient.sql("CREATE TABLE {s}.kept_events AS TABLE {s}.events")
    await patient.sql("CREATE TABLE {s}.kept_hooks AS TABLE {s}.hooks")
    for code, name, damage in DAMAGE:
        await patient.sql(damage, uuid.UUID(patient.runs[name]))
        assert await asyncio.to_thread(patient.found) == {(code, name)}, damage
        assert await asyncio.to_thread(patient.found, "--run", patient.runs[name]) == {(code, name)}, damage
        for table in ("runs", "events", "hooks"):
            await patient.sql(f"TRUNCATE {{s}}.{table}")
            await patient.sql(f"INSERT INTO {{s}}.{table} SELECT * FROM {{s}}.kept_{table}")
    assert await asyncio.to_thread(patient.found) == set()


async def test_a_token_of_no_run_is_found(patient: Patient) -> None:
    """Nobody else can have the token."""
    await patient.sql("INSERT INTO {s}.hooks (run_id, entity, token) VALUES ($1, 'hook#1', 't')", uuid.UUID(NOBODY))
    assert await asyncio.to_thread(patient.found) == {("token_without_run", NOBODY)}


async def test_a_run_that_nothing_can_move_is_found(patient: Patient) -> None:
    """Its only hook was disposed, and it asks for nothing more."""
    run = uuid.UUID(patient.runs["hook"])
    await patient.sql("DELETE FROM {s}.hooks WHERE run_id = $1", run)
    await patient.sql(
        "INSERT INTO {s}.events SELECT at, due, run_id, seq + 1, 33, 32767, 0, entity, NULL, NULL, ''::bytea"
        " FROM {s}.events WHERE run_id = $1 AND type = 30",
        run,
    )
    await patient.sql("UPDATE {s}.runs SET last_seq = last_seq + 1, fence = last_seq + 1 WHERE run_id = $1", run)
    assert await asyncio.to_thread(patient.found) == {("waits_for_nothing", "hook")}


async def test_messages_that_should_not_be_are_found(patient: Patient) -> None:
    """Of no run; of an ended run, ready for longer than --overdue; out of their place; too often crashed; and queues
    that nobody serves.
    """
    queue = patient.queue()
    await queue.enqueue([Entry("default", tick_key(NOBODY)), Entry("default", "nonsense")])
    assert await asyncio.to_thread(patient.found) == {("message_without_run", NOBODY), ("message_without_run", None)}
    await queue.withdraw("default", [tick_key(NOBODY), "nonsense"])

    await queue.enqueue([Entry("other", step_key(patient.runs["done"], "double#1"))])
    assert await asyncio.to_thread(patient.found) == set()
    await asyncio.sleep(1.1)  # what is told is an age
    aged = await asyncio.to_thread(patient.found, "--overdue", "1")
    assert {("message_of_ended_run", "done"), ("ready_too_long", None)} <= aged
    await queue.withdraw("other", [step_key(patient.runs["done"], "double#1")])

    await patient.redis("ZREM", patient.lane.declared[1], tick_key(patient.runs["fresh"]))
    assert await asyncio.to_thread(patient.found) == {("message_mislaid", "fresh")}
    await queue.enqueue([Entry("default", tick_key(patient.runs["fresh"]))])
    assert await asyncio.to_thread(patient.found) == set()

    for _ in range(2):
        (taken,) = (await queue.claim("default", 1, 60_000)).deliveries
        assert taken.key == tick_key(patient.runs["fresh"])
        await queue.renew([taken], 60_000, begin=True)
        assert await queue.expire(queue.owner) == 1
    (taken,) = (await queue.claim("default", 1, 60_000)).deliveries
    assert await asyncio.to_thread(patient.found) == {("suspect", "fresh")}
    await queue.settle(taken, lease_ms=1)
    await queue.close()


async def test_a_lease_that_nobody_takes_over_is_found(patient: Patient) -> None:
    """The clock of the queue is moved by giving the lease an end in the past."""
    queue = patient.queue()
    now = await queue.clock_ms()
    await queue.close()
    early = patient.queue()
    early._clock_ms = lambda: now - 100_000  # pyright: ignore[reportPrivateUsage] - as if claimed then
    (taken,) = (await early.claim("default", 1, 10_000)).deliveries
    assert taken.key == tick_key(patient.runs["fresh"])
    assert await asyncio.to_thread(patient.found) == {("lease_over", None)}
    await early.close()


async def test_a_redis_that_may_drop_keys_is_found(patient: Patient) -> None:
    """And Postgres is audited all the same; as it is where Redis is away."""
    await patient.sql("UPDATE {s}.runs SET wake_at = NULL WHERE run_id = $1", uuid.UUID(patient.runs["nap"]))
    await patient.redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert await asyncio.to_thread(patient.found) == {("queue_refused", None), ("no_deadline", "nap")}
    finally:
        await patient.redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    document = await asyncio.to_thread(patient.audit, FENCEPOST_REDIS_URL="unix:///nowhere/at/all")
    assert {finding["code"] for finding in document["findings"]} == {"queue_unreachable", "no_deadline"}


async def test_a_clock_that_differs_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis' is asked as Postgres' is, and either may be the one."""
    for wrong in ("Postgres", "Redis"):

        async def read(server: str, now_ms: Any, wrong: str = wrong) -> Clock:
            assert await now_ms() > 1e12, "milliseconds"
            return Clock(server, 7_000.0 if server == wrong else 0.0, 1.0)

        monkeypatch.setattr(doctor, "read_clock", read)
        (finding,) = (await asyncio.to_thread(patient.audit))["findings"]
        assert (finding["code"], finding["subject"]) == ("clocks_differ", wrong)


async def test_the_document_and_the_text(patient: Patient) -> None:
    """Figures, clocks, queues, parked runs by reason; words that name the way out."""
    parked = '{"build": "b1", "seq": 3, "recorded": "step a", "asked": "step b", "source": "f.py:1"}'
    await patient.sql(
        "UPDATE {s}.runs SET status = 2, wake_at = NULL, parked = $2 WHERE run_id = $1",
        uuid.UUID(patient.runs["nap"]),
        parked,
    )
    document = await asyncio.to_thread(patient.audit)
    assert document["clean"] is True
    assert document["audited"]["runs"] == 5
    assert document["audited"]["open_runs"] == 4
    assert document["audited"]["tokens"] == 1
    assert document["audited"]["messages"] == 2
    assert {clock["server"] for clock in document["clocks"]} == {"Postgres", "Redis"}
    assert all(abs(clock["ahead_ms"]) < 1_000 for clock in document["clocks"])
    (lane,) = document["queues"]
    assert (lane["queue"], lane["ready"], lane["leased"], lane["delayed"]) == ("default", 1, 0, 1)
    (reason,) = document["parked"]
    assert (reason["workflow"], reason["build"], reason["runs"]) == ("naps", "b1", 1)
    assert (await asyncio.to_thread(patient.audit, "--open"))["audited"]["runs"] == 4
    assert (await asyncio.to_thread(patient.audit, "--limit", "2"))["audited"]["runs"] == 2
    text = (await asyncio.to_thread(patient.terminal, "doctor")).output
    assert "nothing found" in text
    assert "parked: 1 of workflow naps by build 'b1'" in text
    await patient.sql("UPDATE {s}.runs SET wake_at = NULL WHERE run_id = $1", uuid.UUID(patient.runs["step"]))
    done = await asyncio.to_thread(patient.terminal, "doctor")
    assert done.exit_code == 1
    assert f"error no_deadline run {patient.runs['step']}: it waits for step flaky" in done.output
    assert f"way out  {CATALOGUE['no_deadline'].way_out}" in done.output
    gone = await asyncio.to_thread(patient.terminal, "doctor", "--run", NOBODY)
    assert gone.exit_code == 3
    assert NOBODY in gone.output
