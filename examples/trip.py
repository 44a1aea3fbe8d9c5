"""A workflow that is cancelled from outside and cleans up after itself. In this folder, with `fencepost dev trip` in
another terminal: python trip.py
"""

from __future__ import annotations

import asyncio

from fencepost import Client, step, workflow
from fencepost.errors import RunCancelled


@step
async def book(city: str) -> str:
    return f"a room in {city}"


@step
async def pay(booking: str) -> None:
    await asyncio.sleep(3600)  # somebody has to look at it


@step
async def release(booking: str) -> None:
    print(f"released {booking}", flush=True)


@workflow
async def trip(city: str) -> str:
    booking = await book(city)
    try:
        await pay(booking)
    except asyncio.CancelledError:
        await release(booking)
        raise
    return f"{booking}, paid"


async def main() -> None:
    async with Client() as client:
        run = await client.start(trip, "Oslo")
        await asyncio.sleep(2)  # it has booked by now, and waits for the payment
        await run.cancel("customer asked", grace=60)
        try:
            await run.result(timeout=60)
        except RunCancelled as cancelled:
            print(f"cancelled: {cancelled.detail}")


if __name__ == "__main__":
    asyncio.run(main())
