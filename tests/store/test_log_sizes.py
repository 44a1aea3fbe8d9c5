"""Logs near their limits: pages end by their bytes, and what the server has against a read is nobody's fault."""

from __future__ import annotations

import inspect
from typing import Any

import asyncpg
import pytest
from worlds import World, new_run_id, postgres_store

from fencepost_store import postgres
from fencepost_store.admission import Unstorable
from fencepost_store.connections import Held
from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.parked import Parked
from fencepost_store.protocol import Batch, NewRun, RunFilter, Store, StoreTrouble
from fencepost_store.pruning import Candidate, PruneFilter
from fencepost_store.streams import StreamWrite


async def test_h211_a_page_of_a_log_ends_by_its_bytes(postgres_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So no row is larger than the server can make, however large payloads are; one that is larger comes alone."""
    sizes = [10, 400, 400, 400, 2_000, 10, 10, 999, 1]
    run_id = await postgres_world.run(
        *(NewEvent(E.step_created, f"a#{n}", payload=b"\1" * size) for n, size in enumerate(sizes))
    )
    pages: list[int] = []
    rows = Held.fetch

    async def fetch(self: Held, sql: str, *args: Any) -> Any:
        answer = await rows(self, sql, *args)
        if "array_agg(p.payload)" in sql:
            pages.append(sum(len(payload) for payload in answer[0]["payloads"]))
        return answer

    monkeypatch.setattr(Held, "fetch", fetch)
    monkeypatch.setattr(postgres, "PAGE_BYTES", 1_000)
    events = await postgres_world.log(run_id)
    assert [len(event.payload) for event in events[2:]] == sizes
    assert [event.seq for event in events] == list(range(1, len(sizes) + 3))
    assert pages == [813, 400, 2_000, 20, 1_000]


async def test_a_step_is_looked_up_without_the_errors_of_its_retries(world: World) -> None:
    """It may have a thousand of them, and an executor reads none."""
    run = await world.run(NewEvent(E.step_created, "s#1", payload=b"\1in"))
    await world.fact(run, NewEvent(E.step_started, "s#1", attempt=1, payload=b"\1by"))
    await world.fact(run, NewEvent(E.step_retrying, "s#1", attempt=1, due_in=0, payload=b"\1" * 1_000))
    found = await world.store.load_entity(run, "s#1")
    assert found is not None
    assert [event.payload for event in found.events] == [b"\1in", b"\1by", b""]


RUN = new_run_id()
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "start": ((NewRun(RUN, "w", "q", b"\1", 1),), {}),
    "append": (([Batch(RUN, None, (NewEvent(E.run_terminated, payload=b"\1"),), grace=1)],), {}),
    "load": ((RUN,), {}),
    "load_entity": ((RUN, "a#1"), {}),
    "beat": ((RUN, "a#1", 1, b"\1"), {}),
    "last_beat": ((RUN, "a#1"), {}),
    "forget_beat": ((RUN, "a#1"), {}),
    "touch": ((RUN, 1, 1, None), {}),
    "park": ((RUN, 1, Parked("b", 1, "r", "a", "s")), {}),
    "find_hook": (("t",), {}),
    "trace_token": (("t",), {}),
    "get": ((RUN,), {}),
    "find_key": (("w", "k"), {}),
    "newest_child": (("p",), {}),
    "list_runs": ((RunFilter(), 1), {}),
    "details": (([RUN],), {}),
    "take_due": ((1, 1), {}),
    "scan_deadlines": ((None, 1), {}),
    "take_parked": (("b", 1), {}),
    "now": ((), {}),
    "writable": ((), {}),
    "write_stream": ((StreamWrite(RUN, "s", "a#1", 1, 0, (b"\1",), False, 10),), {}),
    "read_stream": ((RUN, "s", 0), {"limit": 1, "bytes_max": 1}),
    "settle_stream": ((RUN, "s"), {}),
    "list_streams": ((RUN,), {}),
    "old_runs": ((PruneFilter(1), None, 1), {}),
    "prune": (([Candidate(RUN, None)], 1), {}),
    "sweep": ((1,), {}),
}
WRITES = frozenset({"start", "append", "beat", "touch", "park", "write_stream"})
"""Calls that bring a caller's values."""
NO_STATEMENT = frozenset({"close", "locked"})


@pytest.mark.parametrize("state", ["54000", "22003", "23514"])
async def test_h211_an_error_of_a_read_is_trouble(
    postgres_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """A turn that is told that something can never be stored fails its run; so no read may say so."""
    methods = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert methods - NO_STATEMENT == set(CALLS), "a call of the store without a line here"
    store = await postgres_store(postgres_url, namespace)

    async def refuses(self: Held, sql: str, *args: object) -> Any:
        raise asyncpg.PostgresError.new({"C": state, "M": "array size exceeds the maximum allowed", "V": "ERROR"})

    monkeypatch.setattr(Held, "_rows", refuses)
    try:
        for name, (args, named) in CALLS.items():
            with pytest.raises((StoreTrouble, Unstorable)) as caught:
                await getattr(store, name)(*args, **named)
            assert isinstance(caught.value, Unstorable) == (name in WRITES), name
    finally:
        await store.close()
