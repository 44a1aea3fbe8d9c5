"""An order as a saga: whatever went through is undone, in reverse, if a later part fails or the customer cancels.

In this folder, in one terminal:   fencepost dev saga
In this folder, in another one:    python saga.py

The shop is a SQLite file, shop.sqlite. Kill the worker with kill -9 as often as you like: what the shop has done twice
it has booked once, because each effect carries the step's idempotency key.
"""

import asyncio
import os
import sqlite3
import uuid
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from fencepost import Client, Fatal, current, step, workflow
from fencepost.errors import RunFailed

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS books (
    key TEXT PRIMARY KEY, order_id TEXT NOT NULL, what TEXT NOT NULL, cents INTEGER NOT NULL
);
INSERT OR IGNORE INTO stock VALUES ('lamp', 10);
"""


@dataclass
class Order:
    id: str
    pieces: int
    cents: int
    city: str


class NoCourier(Exception):
    """Nobody drives there."""


@contextmanager
def shop() -> Generator[sqlite3.Connection]:
    """One transaction on the shop's file."""
    connection = sqlite3.connect(os.environ.get("SHOP_FILE", "shop.sqlite"), timeout=30, isolation_level=None)
    try:
        connection.executescript(SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()


def book(connection: sqlite3.Connection, order: Order, what: str, cents: int = 0) -> bool:
    """Write an effect into the books, once. False: an earlier attempt of this step has done it."""
    entry = (current().idempotency_key, order.id, what, cents)
    return connection.execute("INSERT OR IGNORE INTO books VALUES (?, ?, ?, ?)", entry).rowcount == 1


def booked(connection: sqlite3.Connection, order: Order, what: str) -> bool:
    """Whether there is anything to undo."""
    found = connection.execute("SELECT 1 FROM books WHERE order_id = ? AND what = ?", (order.id, what))
    return found.fetchone() is not None


@step
def reserve(order: Order) -> None:
    with shop() as connection:
        if book(connection, order, "reserved"):
            (left,) = connection.execute("SELECT pieces FROM stock WHERE item = 'lamp'").fetchone()
            if left < order.pieces:
                raise Fatal(f"{left} lamps left, {order.pieces} were ordered")
            connection.execute("UPDATE stock SET pieces = pieces - ? WHERE item = 'lamp'", (order.pieces,))


@step
def put_back(order: Order) -> None:
    with shop() as connection:
        if booked(connection, order, "reserved") and book(connection, order, "put back"):
            connection.execute("UPDATE stock SET pieces = pieces + ? WHERE item = 'lamp'", (order.pieces,))


@step
def pay(order: Order) -> None:
    with shop() as connection:
        book(connection, order, "paid", order.cents)


@step
def refund(order: Order) -> None:
    with shop() as connection:
        if booked(connection, order, "paid"):
            book(connection, order, "refunded", -order.cents)


@step(retries=2, first_delay=0.1)
def call_courier(order: Order) -> str:
    if order.city == "Atlantis":
        raise NoCourier(f"nobody drives to {order.city}")
    return f"courier to {order.city}"


@workflow
async def buy(order: Order) -> str:
    async with AsyncExitStack() as undo:
        # What undoes a step is noted before the step: one that failed half-way may have had its effect.
        undo.push_async_callback(put_back, order)
        await reserve(order)
        undo.push_async_callback(refund, order)
        await pay(order)
        courier = await call_courier(order)
        undo.pop_all()  # from here on it stays
    return courier


async def main() -> None:
    tag = uuid.uuid4().hex[:8]
    async with Client() as client:
        good = await client.start(buy, Order(f"{tag}-1", 2, 9900, "Oslo"))
        bad = await client.start(buy, Order(f"{tag}-2", 3, 14850, "Atlantis"))
        print(await good.result(timeout=120))
        try:
            await bad.result(timeout=120)
        except RunFailed as failed:
            print(f"undone: {failed.__cause__}")
    with shop() as connection:
        (taken,) = connection.execute(
            "SELECT sum(cents) FROM books WHERE order_id IN (?, ?)", (f"{tag}-1", f"{tag}-2")
        ).fetchone()
        print(f"taken in: {taken / 100:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
