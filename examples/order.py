"""An order that waits for a person: retries, a hook, a timeout that survives restarts, a sleep.

In this folder, in one terminal:   fencepost dev order
In this folder, in another one:    python order.py

Stop the first one with Ctrl-C while the order waits, start it again, and the order goes on where it was. See
quickstart.py for servers of your own.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from fencepost import Client, HookNotFound, current, hook, sleep, step, workflow


@dataclass
class Order:
    id: str
    amount: int


@dataclass
class Approval:
    by: str


@step(retries=5, first_delay=0.1)
async def charge(order: Order) -> str:
    """Fails at its first attempt, as networks do. The key is the same for every attempt: services can use it."""
    if current().attempt == 1:
        raise ConnectionError("the payment service is away")
    return f"receipt for {order.amount}, key {current().idempotency_key}"


@step
def ship(order: Order, receipt: str) -> str:
    """A plain function runs in a thread."""
    return f"{order.id} shipped, {receipt.partition(',')[0]}"


@workflow
async def fulfil(order: Order) -> str:
    receipt = await charge(order)
    async with hook(Approval, token=f"approve:{order.id}") as approval:
        try:
            async with asyncio.timeout(48 * 3600):
                decision = await approval
        except TimeoutError:
            return f"{order.id}: nobody approved it"
    await sleep(timedelta(milliseconds=200))
    return f"{await ship(order, receipt)}, approved by {decision.by}"


async def approve(client: Client, order: Order) -> None:
    """Until the workflow has come to its hook, the token is not known."""
    while True:
        try:
            await client.resume(f"approve:{order.id}", Approval(by="Ada"))
        except HookNotFound:
            await asyncio.sleep(0.1)
        else:
            return


async def main() -> None:
    order = Order(f"order-{uuid.uuid4().hex[:8]}", 1200)
    async with Client() as client:
        run = await client.start(fulfil, order, key=order.id)
        async with asyncio.timeout(60):
            await approve(client, order)
        print(await run.result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
