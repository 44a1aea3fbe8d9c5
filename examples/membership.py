"""A club's books in the Postgres that fencepost uses: a member is never there without the run that collects the fees,
and no fee is collected twice.

In this folder, in one terminal:   fencepost dev membership
In this folder, in another one:    python membership.py

Signing up writes the member's row and starts the run in one transaction of the program's. Each fee is a step that
writes in fencepost's transaction: the rows and the step's end are one commit, so it needs no idempotency key. A letter
of thanks goes out later, by a run whose start is put off.

The logs hold people's addresses. With `pip install 'fencepost[crypto]'` and a fencepost.toml in this folder they are
encrypted (docs/codecs.md):

    payload_codecs = ["aes-gcm"]
    payload_key_file = "payload.keys"       # (umask 077; echo "2026:$(openssl rand -base64 32)" > payload.keys)
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from fencepost import Client, now, sleep, step, transaction, workflow
from fencepost.client.run import Run

MONTH = timedelta(seconds=0.4)  # they are short in an example
LATER = timedelta(seconds=2)
SCHEMA = """
CREATE SCHEMA IF NOT EXISTS club;
CREATE TABLE IF NOT EXISTS club.members (
    id text PRIMARY KEY, email text NOT NULL UNIQUE, balance integer NOT NULL, run text NOT NULL
);
CREATE TABLE IF NOT EXISTS club.fees (member text REFERENCES club.members, month integer, cents integer NOT NULL);
"""


@dataclass
class Member:
    id: str
    email: str
    cents: int


@step
async def collect(member: Member, month: int) -> int:
    """What is left. The two writes and the step's result are one commit."""
    async with transaction() as connection:
        await connection.execute("INSERT INTO club.fees VALUES ($1, $2, $3)", member.id, month, member.cents)
        left: int = await connection.fetchval(
            "UPDATE club.members SET balance = balance - $2 WHERE id = $1 RETURNING balance", member.id, member.cents
        )
        return left


@workflow
async def membership(member: Member, months: int) -> str:
    left = 0
    for month in range(months):
        left = await collect(member, month)
        await sleep(MONTH)
    return f"{member.email} has paid {months} fees, {left / 100:.2f} are left"


@step
async def send(email: str) -> str:
    return f"thanks, {email}"


@workflow
async def thank(member: Member) -> tuple[datetime, str]:
    return now(), await send(member.email)


async def sign_up(client: Client, connection: Any, member: Member) -> tuple[Run[str], datetime]:
    """The run of a new member, and when they came. Raises UniqueViolationError if the address is known."""
    async with connection.transaction():
        run = await client.start(membership, member, 3, key=member.id, connection=connection)
        await connection.execute("INSERT INTO club.members VALUES ($1, $2, 10000, $3)", member.id, member.email, run.id)
        came: datetime = await connection.fetchval("SELECT now()")
    await run.committed()
    return run, came


async def main() -> None:
    tag = uuid.uuid4().hex[:8]
    ada = Member(f"{tag}-1", f"ada-{tag}@example.com", 1250)
    async with Client() as client:
        connection: Any = await asyncpg.connect(client.config.database_url)  # the driver has no types
        try:
            await connection.execute(SCHEMA)
            run, came = await sign_up(client, connection, ada)
            thanks = await client.start(thank, ada, delay=LATER)
            twin = Member(f"{tag}-2", ada.email, 1250)
            try:
                await sign_up(client, connection, twin)
            except asyncpg.UniqueViolationError:
                print("this address is known")
            print(await run.result(timeout=120))
            at, letter = await thanks.result(timeout=120)
            print(letter if at - came >= LATER else f"too early: {came} {at}")
            paid, left = await connection.fetchrow(
                "SELECT count(*), min(balance) FROM club.members JOIN club.fees ON member = id WHERE id = $1", ada.id
            )
            print(f"the books: {paid} fees, {left / 100:.2f} left")
        finally:
            await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
