# type: ignore  # wrong on purpose: checked by test_typing_cases.py
"""Calls of steps: argument and result types are those of the function. Read by test_typing_cases.py, never imported."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type

from fencepost import Step, current, now, random, sleep, step, uuid4


@dataclass
class Order:
    id: int


@dataclass
class Receipt:
    total: int


@step
async def charge(order: Order, *, currency: str = "EUR") -> Receipt:
    return Receipt(order.id)


@step(retries=5, timeout=timedelta(seconds=30), queue="payments")
async def refund(receipt: Receipt) -> None: ...


@step(
    schedule_to_start=60,
    schedule_to_close=timedelta(hours=1),
    heartbeat_timeout=10,
    non_retryable=(ValueError, "stripe.error.CardError"),
    first_delay=1,
    factor=1.5,
    cap=60,
)
async def bounded(order: Order) -> int:
    assert_type(current().heartbeat_details(int), int | None)
    current().heartbeat({"line": 1})
    assert_type(current().deadline, datetime | None)
    assert_type(current().cancelled, bool)
    current().heartbeat(1, 2)  # expect-error
    done: str = current().heartbeat_details(int)  # expect-error
    print(done)
    return order.id


@step
def label(order: Order) -> str:
    return "x"


@step(process=True)
def crunch(numbers: list[int]) -> int:
    return sum(numbers)


async def right() -> None:
    assert_type(charge, Step[..., Receipt])  # expect-error
    assert_type(await bounded(Order(1)), int)
    assert_type(await charge.with_options(schedule_to_close=timedelta(hours=1))(Order(1)), Receipt)
    assert_type(await charge(Order(1)), Receipt)
    assert_type(await charge(Order(1), currency="USD"), Receipt)
    assert_type(await refund(Receipt(1)), None)
    assert_type(await label(Order(1)), str)
    assert_type(await crunch([1]), int)
    call: Coroutine[Any, Any, str] = label(Order(1))
    assert_type(await call, str)
    assert_type(await charge.with_options(retries=0, timeout=None)(Order(1)), Receipt)
    assert_type(await asyncio.gather(charge(Order(1)), label(Order(1))), tuple[Receipt, str])
    assert_type(await asyncio.gather(*[label(Order(n)) for n in range(3)]), list[str])
    first, second = await asyncio.gather(charge(Order(1)), label(Order(1)), return_exceptions=True)
    assert_type(first, Receipt | BaseException)
    assert_type(second, str | BaseException)
    done, _ = await asyncio.wait([asyncio.create_task(label(Order(1)))])
    assert_type(done.pop().result(), str)
    assert_type(await asyncio.wait_for(charge(Order(1)), 1), Receipt)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(label(Order(1)))
    assert_type(task.result(), str)
    assert_type(current().attempt, int)
    assert_type(current().idempotency_key, str)
    await sleep(1)
    await sleep(timedelta(days=1))
    await sleep(now())
    assert_type(random().random(), float)
    print(uuid4().hex)


async def wrong() -> None:
    await charge()  # expect-error
    await charge(1)  # expect-error
    await charge(Order(1), "USD")  # expect-error
    await charge(Order(1), curency="USD")  # expect-error
    await charge(Order(1), currency=1)  # expect-error
    await label(Receipt(1))  # expect-error
    await crunch(["1"])  # expect-error
    await refund(charge(Order(1)))  # expect-error
    total: int = await label(Order(1))  # expect-error
    print((await charge(Order(1))).totl)  # expect-error
    label(Order(1)).upper()  # expect-error
    charge.with_options(retry=1)  # expect-error
    charge.with_options(timeout=b"1s")  # expect-error
    charge.with_options(queue=1)  # expect-error
    charge.with_options(schedule_to_close=b"1h")  # expect-error
    await bounded(Receipt(1))  # expect-error
    name: str = await bounded(Order(1))  # expect-error
    await charge.with_options(retries=1)(1)  # expect-error
    await charge.with_options(retries=1)()  # expect-error
    other: str = await charge.with_options(retries=1)(Order(1))  # expect-error
    await asyncio.gather(charge(1), label(Order(1)))  # expect-error
    receipt, text = await asyncio.gather(charge(Order(1)), label(Order(1)))
    receipt.upper()  # expect-error
    print(text.total)  # expect-error
    async with asyncio.TaskGroup() as group:
        task = group.create_task(label(Order(1)))
        group.create_task(label)  # expect-error
    print(task.result().total)  # expect-error
    await sleep(b"1s")  # expect-error
    print(total, other, name)


@step(retry=3)  # expect-error
async def misspelt() -> None: ...


@step(schedule_to_start=b"1m")  # expect-error
async def scheduled() -> None: ...


@step(schedule_to_close=b"1m")  # expect-error
async def closed() -> None: ...


@step(heartbeat_timeout=b"1s")  # expect-error
async def silent() -> None: ...


@step(non_retryable=ValueError)  # expect-error
async def one_class() -> None: ...


@step(timeout=b"30s")  # expect-error
async def worded() -> None: ...
