"""Parents, children, and runs that go on as others, on each implementation."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from worlds import GRACE, World, new_run_id, postgres_store

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.lineage import parent_of, parent_text
from fencepost_store.migrations import migration_files
from fencepost_store.protocol import Batch, NewRun, RunFilter, RunStatus
from fencepost_store.statements import rendered


async def child(world: World, parent: str, entity: str, **options: Any) -> str:
    """A run of that parent."""
    run_id = new_run_id()
    fields: dict[str, Any] = {"workflow": "child", "queue": "default", **options}
    await world.store.start(
        NewRun(run_id, payload=b"\x01in", grace=GRACE, parent=parent_text(parent, entity), **fields)
    )
    return run_id


async def test_children_are_listed_by_parent_newest_first(world: World) -> None:
    """And by nothing that only looks like it: a longer id of an entity, another run."""
    parent, other = await world.run(), await world.run()
    first, second = await child(world, parent, "c#1"), await child(world, parent, "c#10", queue="q")
    await child(world, other, "c#1")
    where = RunFilter(parent=parent)
    assert [run.run_id for run in await world.store.list_runs(where, 10)] == [second, first]
    assert [run.run_id for run in await world.store.list_runs(where, 1)] == [second]
    assert [run.run_id for run in await world.store.list_runs(where, 10, second)] == [first]
    only = RunFilter(parent=parent, queue="q", workflow="child", statuses=(RunStatus.pending,))
    assert [run.run_id for run in await world.store.list_runs(only, 10)] == [second]
    assert await world.store.list_runs(RunFilter(parent=first), 10) == []


async def test_children_are_listed_by_attributes_too(world: World) -> None:
    parent = await world.run()
    await child(world, parent, "c#1", attributes={"stage": "snew"})
    paid = await child(world, parent, "c#2", attributes={"stage": "spaid"})
    found = await world.store.list_runs(RunFilter(parent=parent, attributes={"stage": ("spaid", "sold")}), 10)
    assert [run.run_id for run in found] == [paid]


async def test_the_newest_run_of_one_child(world: World) -> None:
    """A child that was continued is several runs under one parent's entity."""
    parent = await world.run()
    await child(world, parent, "c#1")
    newest = await child(world, parent, "c#1")
    await child(world, parent, "c#10")
    found = await world.store.newest_child(parent_text(parent, "c#1"))
    assert found is not None
    assert found.run_id == newest
    assert parent_of(found.parent or "") == (parent, "c#1")
    assert await world.store.newest_child(parent_text(parent, "c#2")) is None
    assert await world.store.newest_child("\0") is None


async def test_a_run_that_continues_has_ended(world: World) -> None:
    """With its own status; its tokens are free, and nothing may follow."""
    run = await world.run(NewEvent(E.hook_created, "h#1", token="t"))
    verdict = await world.turn(run, NewEvent(E.run_continued))
    assert verdict.status is RunStatus.continued
    assert verdict.status.ended
    assert await world.store.find_hook("t") is None
    late = await world.fact(run, NewEvent(E.cancel_requested, dedupe="d"))
    assert [fact.reason.name for fact in late.facts if fact.reason] == ["run_ended"]


@pytest.mark.parametrize("version", [28])
async def test_functions_of_an_older_schema_learn_the_new_end(postgres_url: str, namespace: str, version: int) -> None:
    """As they were made before run_continued was there, they take it for nothing; the migration makes them anew."""
    store = await postgres_store(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    try:
        newer = await admin.fetchval(
            "SELECT p.oid::regprocedure FROM pg_proc p"
            " WHERE p.pronamespace = $1::regnamespace AND p.proname = 'append' AND p.pronargs = 17",
            namespace,
        )
        await admin.execute(f"DROP FUNCTION {newer}")  # there was one append in those schemas
        for name in ("append", "token_changes"):
            where = "p.pronamespace = $1::regnamespace AND p.proname = $2"
            text = await admin.fetchval(
                f"SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE {where}", namespace, name
            )
            assert "3, 4, 5, 6, 7" in text
            await admin.execute(text.replace("3, 4, 5, 6, 7", "3, 4, 5, 6"))
        run_id = new_run_id()
        await store.start(NewRun(run_id, "flow", "default", b"\x01", GRACE))
        batch = Batch(run_id, 1, (NewEvent(E.run_continued),), seen=1)
        (text,) = [text for number, _, text in migration_files() if number == version]
        await admin.execute(rendered(text, f'"{namespace}"'))
        await admin.execute(rendered(text, f'"{namespace}"'))  # a second time changes nothing
        (verdict,) = await store.append([batch])
        assert verdict.status is RunStatus.continued
    finally:
        await store.close()
        await admin.close()


async def test_children_are_found_by_index(postgres_url: str, namespace: str) -> None:
    """Whatever the statistics say: the two statements read the range of one parent."""
    store = await postgres_store(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    try:
        await admin.execute("SET enable_seqscan = off")
        for condition in (
            "r.parent COLLATE \"C\" = 'x/c#1'",
            "r.parent COLLATE \"C\" > 'x' || '/' AND r.parent COLLATE \"C\" < 'x' || '0'",
        ):
            plan = await admin.fetch(f"EXPLAIN SELECT * FROM {namespace}.runs r WHERE {condition}")
            assert "runs_parent" in "\n".join(row[0] for row in plan)
    finally:
        await store.close()
        await admin.close()
