"""The webhooks app mounted in FastAPI as the page says: by its path, the client open in FastAPI's own lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World
from tests.web.asgi import request

from fencepost import hook, workflow
from fencepost.web.webhooks import webhooks


def test_mounted_in_fastapi_it_takes_signals_beside_other_routes() -> None:
    """202 for a hook with http=True, 404 for a token that nobody has; FastAPI's own routes answer as ever."""

    async def main() -> None:
        world = World()
        client = world.client()
        opened: list[bool] = []

        @workflow(registry=world.registry)
        async def paid() -> str:
            async with hook(dict[str, str], token="payment", http=True) as payment:
                return (await payment)["state"]

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
            opened.append(True)
            yield
            opened.append(False)

        app = FastAPI(lifespan=lifespan)
        app.mount("/hooks", webhooks(client))

        @app.get("/orders/{number}")
        async def order(number: int) -> dict[str, int]:  # pyright: ignore[reportUnusedFunction]  # FastAPI has it
            return {"number": number}

        async with world.worker("A"), app.router.lifespan_context(app):
            assert opened == [True]
            started = await world.start(paid)
            await asyncio.sleep(1)
            assert (await request(app, "/hooks/nobody", b"{}")).status == 404
            assert (await request(app, "/orders/7", b"", method="GET")).text == '{"number":7}'
            assert (await request(app, "/hooks/payment", b'{"state": "settled"}')).status == 202
            assert await started.result(10) == "settled"
        assert opened == [True, False]

    run(main)
