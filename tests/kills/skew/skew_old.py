"""The code before a deploy."""

from __future__ import annotations

import dataclasses

from fencepost import hook, step, workflow


@dataclasses.dataclass
class Order:
    number: int


@step
async def reserve(order: Order) -> int:
    return order.number


@step
async def removed(number: int) -> str:
    return f"removed {number}"


@step(process=True)
def counted(number: int) -> int:
    return number


@step(name="old_name")
async def named(text: str) -> str:
    return f"old {text}"


@workflow
async def child(number: int) -> int:
    return number


@workflow
async def order(number: int) -> str:
    got = await reserve(Order(number))
    text = await removed(got)
    got = await child(await counted(got))
    async with hook(str, token=f"go:{number}") as go:
        text = f"{text} {await go} {got}"
    return await named(text)


@workflow
async def only_old(number: int) -> str:
    return await removed(number)
