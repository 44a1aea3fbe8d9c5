"""The code after it: a step added, one removed and one renamed behind ``patched``; signatures and classes changed."""

from __future__ import annotations

import dataclasses

from fencepost import hook, patched, step, workflow


@dataclasses.dataclass
class Order:
    number: int
    currency: str


@step
async def reserve(order: Order, urgent: bool = False) -> int:
    return order.number


@step
async def added(number: int, note: str) -> str:
    return f"added {number}{note}"


@step
async def removed(number: int) -> str:
    return f"removed {number}"


@step(process=True)
def counted(number: int, by: int = 1) -> int:
    return number * by


@step(name="old_name")
async def named(text: str) -> str:
    return f"old {text}"


@step(name="new_name")
async def renamed(text: str, end: str = "") -> str:
    return f"new {text}{end}"


@workflow
async def child(number: int, by: int = 1) -> int:
    return number * by


@workflow
async def order(number: int, currency: str = "EUR") -> str:
    got = await reserve(Order(number, currency), currency == "USD")
    text = await added(got, "!") if patched("added") else await removed(got)
    got = await child(await counted(got, 2), 3)
    async with hook(str, token=f"go:{number}") as go:
        text = f"{text} {await go} {got}"
    return await renamed(text, ".") if patched("renamed") else await named(text)


@workflow
async def only_new(number: int) -> str:
    return await added(number, "")
