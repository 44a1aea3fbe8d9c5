"""``fencepost db prune`` on a real namespace: every table is empty of what went, and a reader between two pages is told
that the run is gone."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import asyncpg
import pytest
from tests.cli.audited import Patient
from tests.cli.terminal import Terminal

from fencepost_store import postgres
from fencepost_store.events import EventType, NewEvent
from fencepost_store.migrations import migrate
from fencepost_store.protocol import Batch, NewRun
from fencepost_store.pruning import Candidate, PruneOutcome

TABLES = ("runs", "events", "hooks", "run_attributes", "heartbeats", "streams", "stream_writers", "stream_chunks")


async def test_what_ended_long_ago_goes_and_nothing_else(terminal: Terminal, flows: str) -> None:
    """Dry run, run, run again; then the doctor finds nothing."""
    patient = Patient(terminal, flows)
    await asyncio.to_thread(patient.fill)
    done = uuid.UUID(patient.runs["done"])
    await patient.sql("INSERT INTO {s}.streams VALUES (1, 1, 1, $1, 1, NULL, NULL, 'out')", done)
    await patient.sql("INSERT INTO {s}.stream_writers VALUES ($1, 1, 1, 1, 'out', 'double#1')", done)
    await patient.sql("INSERT INTO {s}.stream_chunks VALUES (1, $1, 0, 1, 'out', 'double#1', 'x')", done)
    await patient.sql("INSERT INTO {s}.heartbeats VALUES (1, $1, 1, 'double#1', '')", done)
    await patient.sql("INSERT INTO {s}.hooks VALUES ($1, 'hook#1', 'stray')", done)
    await patient.sql("INSERT INTO {s}.run_attributes VALUES ($1, 'n', 'i1')", done)

    async def command(*args: str) -> Any:
        answer = await asyncio.to_thread(terminal, "db", "prune", *args, FENCEPOST_REDIS_URL="unix:///nowhere/at/all")
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout) if "--json" in args else answer.output

    assert (await command("--older-than", "30d", "--json"))["runs"] == 0
    await patient.sql("UPDATE {s}.runs SET updated_at = updated_at - 31 * 86400000000")
    assert (await command("--older-than", "30d", "--status", "failed,cancelled", "--json"))["runs"] == 0
    assert (await command("--older-than", "30d", "--workflow", "naps", "--json"))["runs"] == 0
    dry = await command("--older-than", "30d", "--dry-run", "--json")
    assert (dry["runs"], dry["dry_run"]) == (1, True)
    assert "would delete 1 runs" in await command("--older-than", "30d", "--dry-run")
    told = await command("--older-than", "30d", "--status", "completed", "--batch", "1")
    assert told.startswith("deleted 1 runs, ")
    connection: Any = await asyncpg.connect(terminal.environ["FENCEPOST_DATABASE_URL"])
    try:
        for table in TABLES:
            count = await connection.fetchval(
                f'SELECT count(*) FROM "{patient.namespace}".{table} WHERE run_id = $1', done
            )
            assert count == 0, table
        assert await connection.fetchval(f'SELECT count(*) FROM "{patient.namespace}".pruned_runs') == 0
        assert await connection.fetchval(f'SELECT count(*) FROM "{patient.namespace}".runs') == 4
    finally:
        await connection.close()
    assert await asyncio.to_thread(patient.found) == set()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--older-than", "30"], "'30' is no age: write a number and s, m, h, d or w, as 30d"),
        (["--older-than", "30m"], "older_than = 1800 s: must be at least 3600 s"),
        (["--older-than", "1d", "--status", "running"], "'running': only runs that have ended go"),
        ([], "--older-than"),
    ],
)
async def test_bad_input_is_refused(terminal: Terminal, args: list[str], said: str) -> None:
    assert (await asyncio.to_thread(terminal, "db", "migrate")).exit_code == 0
    answer = await asyncio.to_thread(terminal, "db", "prune", *args)
    assert answer.exit_code == 2
    assert said in " ".join(answer.output.split())


async def test_a_run_that_goes_between_two_pages_of_its_log_is_not_there(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is no corrupt log."""
    monkeypatch.setattr(postgres, "PAGE_EVENTS", 2)
    namespace = f"t_{uuid.uuid4().hex[:16]}"
    await migrate(postgres_url, namespace)
    store = await postgres.connect(postgres_url, namespace)
    try:
        run_id = "01912345-6789-7abc-8def-0123456789ab"
        await store.start(NewRun(run_id, "flow", "default", b"\x01", 10_000_000))
        events = tuple(NewEvent(EventType.marker, f"m#{n}") for n in range(5))
        await store.append([Batch(run_id, 1, (*events, NewEvent(EventType.run_completed)), seen=1)])
        assert (loaded := await store.load(run_id)) is not None
        assert len(loaded.events) == 7
        real = postgres.page_of
        outcomes: list[PruneOutcome] = []

        def first_page(*args: Any) -> Any:
            monkeypatch.setattr(postgres, "page_of", real)
            loop.call_soon(lambda: pruning.append(loop.create_task(go())))
            return real(*args)

        async def go() -> None:
            outcomes.extend(await store.prune([Candidate(run_id)], 0))
            while (await store.sweep(100)).left:
                pass
            gone.set()

        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        pruning: list[asyncio.Task[None]] = []
        monkeypatch.setattr(postgres, "page_of", first_page)
        held_fetch = postgres.Held.fetch

        async def fetch(self: Any, query: str, *args: Any) -> Any:
            if args[1:2] == (2,):  # the second page waits until the run is gone
                await gone.wait()
            return await held_fetch(self, query, *args)

        monkeypatch.setattr(postgres.Held, "fetch", fetch)
        assert await store.load(run_id) is None
        assert outcomes == [PruneOutcome.pruned]
    finally:
        await store.close()
