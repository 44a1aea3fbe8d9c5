"""A fail-over to a standby that had not received the last commits, on two real servers: streaming replication, a
promotion, and a worker that lives through it with what it knew.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.failover.twins import Twins, asked, until

from fencepost import errors, hook, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.client.client import Client
from fencepost.config import Config
from fencepost.dev.servers import erase
from fencepost.engine.worker import Worker
from fencepost_store.events import EventType
from fencepost_store.migrations import check, migrate
from fencepost_store.postgres import connect


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where both have their data."""
    made = Path(tempfile.mkdtemp(prefix="fencepost-twins-"))
    made.chmod(0o711)
    yield made
    for name in ("first", "second"):
        if (made / name).exists():
            erase(made / name)
    made.rmdir()


@pytest.fixture
async def twins(folder: Path) -> AsyncIterator[Twins]:
    """The first of them; the second is started by the test, when there is something to copy."""
    made = Twins(folder)
    try:
        await made.start_first()
        yield made
    finally:
        await made.close()


def gathering(registry: Registry) -> Any:
    """A workflow that takes payloads until their sum is beyond 1000."""

    @step(registry=registry)
    async def add(*numbers: int) -> int:
        return sum(numbers)

    @workflow(registry=registry)
    async def flow(token: str) -> list[int]:
        taken: list[int] = []
        async with hook(int, token=token) as numbers:
            while sum(taken) < 1_000:
                taken.append(await numbers)
        return [await add(*taken), *taken]

    return flow


async def send(client: Client, token: str, *numbers: int) -> None:
    """Each until it is accepted, under an id of its own."""
    for number in numbers:

        async def accepted(number: int = number) -> bool:
            try:
                await client.resume(token, number, id=f"d{number}")
            except (errors.ServerUnavailable, errors.HookNotFound):
                return False
            return True

        await until(accepted, f"{number} is accepted")


async def seen_by(worker: Worker, run_id: str, client: Client) -> None:
    """Until the worker's live instance has seen all of the log."""

    async def all_of_it() -> bool:
        events = [event async for event in client.run(run_id).events()]
        live = worker.shell.runs.enter(run_id)
        try:
            return live.instance is not None and live.instance.work.seen == events[-1].seq
        finally:
            worker.shell.runs.leave(live)

    await until(all_of_it, "the worker has seen it")


OTHERS = {"as many": (100, 200, 300), "fewer": (100, 200), "more": (100, 200, 300, 50)}
"""What is sent to each run after the fail-over."""


async def test_h190_h191_h192_signals_that_were_accepted_and_lost_are_not_in_the_result(
    twins: Twins, valkey_url: str
) -> None:
    """10, 20 and 30 are committed on the first server alone, and a worker's live instances have taken them. After the
    fail-over other signals come to their positions, as many, fewer or more: the results are those of the logs that
    remain, and nobody parks a run.
    """
    namespace = f"f_{uuid.uuid4().hex[:12]}"
    await migrate(twins.first, namespace)
    await twins.start_second()
    config = Config(database_url=twins.url, redis_url=valkey_url, namespace=namespace, env="test", drain_seconds=0.0)
    registry = Registry()
    flow = gathering(registry)
    async with Client(config) as client, Worker(config, registry) as worker:
        runs = {token: await client.start(flow, token) for token in OTHERS}
        for token, run in runs.items():
            await send(client, token, 1, 2)
            await seen_by(worker, run.id, client)
        await twins.caught_up()
        await twins.cut_off()
        for token, run in runs.items():
            await send(client, token, 10, 20, 30)
            await seen_by(worker, run.id, client)
        await twins.take_over()
        for token, run in runs.items():
            await send(client, token, *OTHERS[token], 1_000)
            taken = [1, 2, *OTHERS[token], 1_000]
            assert await run.result(60) == [sum(taken), *taken], token
            log = [event async for event in run.events()]
            assert [event.type for event in log].count(EventType.hook_received) == len(taken)


async def test_h197_a_promotion_is_another_epoch(twins: Twins, namespace: str) -> None:
    """The store says so as soon as a connection leads there; as long as they lead to one server it says nothing."""
    await migrate(twins.first, namespace)
    await twins.start_second()
    store = await connect(twins.url, namespace, connections=2)
    try:
        await asyncio.gather(*(store.now() for _ in range(5)))
        assert store.epoch == 0
        await twins.caught_up()
        await twins.take_over()

        async def answers() -> bool:
            try:
                await store.writable()
            except Exception:  # noqa: BLE001 - whatever a connection that has broken says
                return False
            return True

        await until(answers, "the second takes writes")
        assert store.epoch == 1
        await asyncio.gather(*(store.now() for _ in range(5)))
        assert store.epoch == 1
    finally:
        await store.close()


async def test_a_standby_that_commits_do_not_wait_for_is_warned_of(twins: Twins, namespace: str) -> None:
    """And one that they wait for is not."""
    await migrate(twins.first, namespace)
    assert await check(twins.first, namespace) == ()
    await twins.start_second()
    (told,) = await check(twins.first, namespace)
    assert told.startswith("1 standby receives commits that nobody waits for (synchronous_standby_names is empty)")
    await asked(twins.first, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    await asked(twins.first, "SELECT pg_reload_conf()")

    async def nothing() -> bool:
        return await check(twins.first, namespace) == ()

    await until(nothing, "the setting is read")
    await asked(twins.first, "ALTER ROLE postgres SET synchronous_commit = local")
    (told,) = await check(twins.first, namespace)
    assert told.startswith("1 standby receives commits that nobody waits for (synchronous_commit = local)")
