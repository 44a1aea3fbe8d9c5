"""The smallest durable program.

In this folder, in one terminal:   fencepost dev quickstart
In this folder, in another one:    python quickstart.py

The client finds the dev servers of the folder; or name servers of your own in FENCEPOST_DATABASE_URL and
FENCEPOST_REDIS_URL, for both commands, and run `fencepost worker quickstart` in place of the first.
"""

import asyncio

from fencepost import Client, step, workflow


@step
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow
async def welcome(names: list[str]) -> list[str]:
    return list(await asyncio.gather(*(greet(name) for name in names)))


async def main() -> None:
    async with Client() as client:
        run = await client.start(welcome, ["Ada", "Grace"])
        print(await run.result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
