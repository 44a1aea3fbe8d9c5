# type: ignore  # wrong on purpose: checked by test_typing_cases.py
"""Clients, async and blocking: what is started with what, and what comes back. Read by test_typing_cases.py, never
imported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from fencepost import Client, HookInfo, sync, workflow
from fencepost.client import Run, RunInfo


@dataclass
class Order:
    id: int


@dataclass
class Shipment:
    id: int


@workflow
async def fulfil(order: Order, rush: bool = False, *, note: str = "") -> Shipment:
    return Shipment(order.id)


@workflow
async def count() -> int:
    return 1


async def right(client: Client) -> None:
    run = await client.start(fulfil, Order(1))
    assert_type(run, Run[Shipment])
    assert_type(await run.result(timeout=60), Shipment)
    assert_type(await client.start(fulfil, Order(1), rush=True, note="x"), Run[Shipment])
    assert_type(await client.start(fulfil, Order(1), True, key="order-1", queue="q", strict=True), Run[Shipment])
    assert_type(await client.start(count), Run[int])
    assert_type(await client.start(count, key="once"), Run[int])
    assert_type(await client.start("fulfil", 1, two=2, key="k"), Run[Any])
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert_type(await client.start(count, attributes={"stage": "new", "n": 1}, delay=1), Run[int])
    assert_type(await client.start("count", attributes={"at": at}, start_at=at), Run[Any])
    assert_type(client.run("id"), Run[Any])
    assert_type(client.run("id", fulfil), Run[Shipment])
    assert_type(run.id, str)
    assert_type(run.created, bool)
    assert_type(await run.status(), RunInfo)
    assert_type(await client.list(status="running", limit=10), list[RunInfo])
    assert_type(await client.resume("token", Order(1), id="delivery"), str)
    assert_type(await client.hook("token"), HookInfo)
    async for event in run.events():
        assert_type(event.payload, bytes)
    await run.cancel("asked", grace=timedelta(minutes=1))
    await run.terminate()


async def wrong(client: Client, run: Run[Shipment]) -> None:
    await client.start(fulfil)  # expect-error
    await client.start(fulfil, 1)  # expect-error
    await client.start(fulfil, Order(1), "yes")  # expect-error
    await client.start(fulfil, Order(1), note=1)  # expect-error
    await client.start(fulfil, Order(1), urgent=True)  # expect-error
    await client.start(fulfil, 1, key="k")  # expect-error
    await client.start(fulfil, Order(1), key=1)  # expect-error
    await client.start(fulfil, Order(1), key="k", strict="yes")  # expect-error
    await client.start(count, 1)  # expect-error
    await client.start(count, attributes={"n": b"x"})  # expect-error
    await client.start(count, start_at=1)  # expect-error
    await client.start(1)  # expect-error
    number: int = await run.result()  # expect-error
    other: Run[int] = await client.start(fulfil, Order(1))  # expect-error
    print((await run.result()).identity)  # expect-error
    print(run.result().id)  # expect-error
    await run.cancel(grace=b"1m")  # expect-error
    await client.resume(1)  # expect-error
    await client.resume("token", id=1)  # expect-error
    await client.list(state="running")  # expect-error
    Client(database="x")  # expect-error
    print(number, other)


def right_blocking(client: sync.Client) -> None:
    run = client.start(fulfil, Order(1))
    assert_type(run, sync.Run[Shipment])
    assert_type(run.result(60), Shipment)
    assert_type(client.start(fulfil, Order(1), True, key="order-1", queue="q", strict=True), sync.Run[Shipment])
    assert_type(client.start("fulfil", 1, two=2, key="k"), sync.Run[Any])
    assert_type(client.run("id"), sync.Run[Any])
    assert_type(client.run("id", fulfil), sync.Run[Shipment])
    assert_type(client.start(count, attributes={"n": 1}, delay=timedelta(days=1)), sync.Run[int])
    assert_type(client.list(workflow="fulfil", attributes={"n": 1}), list[RunInfo])
    assert_type(client.list(parent="id", limit=1), list[RunInfo])
    assert_type(client.resume("token", Order(1)), str)
    with sync.Client(database_url="x", redis_url="y", namespace="z", config_file=Path("f")) as opened:
        assert_type(opened, sync.Client)


def wrong_blocking(client: sync.Client, run: sync.Run[Shipment]) -> None:
    client.start(fulfil)  # expect-error
    client.start(fulfil, 1)  # expect-error
    client.start(fulfil, Order(1), urgent=True)  # expect-error
    client.start(fulfil, Order(1), key=1)  # expect-error
    client.start("fulfil", key=1)  # expect-error
    number: int = run.result()  # expect-error
    client.list(state="running")  # expect-error
    client.start(count, delay=b"1s")  # expect-error
    sync.Client(database="x")  # expect-error
    client.run(1)  # expect-error
    print(number)
