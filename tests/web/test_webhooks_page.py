"""What docs/webhooks.md shows works as it stands."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import Any

import pytest
from tests.docs.markdown import blocks, read
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World
from tests.web.asgi import request

from fencepost.authoring import registry
from fencepost.web.signatures import key_of, sign
from fencepost.web.webhooks import webhooks

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


def test_the_page_s_programs_take_a_signed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app and the workflow, letter by letter; the step is given a URL that works."""
    hooks_app, payments, _ = blocks(read("docs/webhooks.md"), "python")
    monkeypatch.setitem(os.environ, "WEBHOOK_SECRET", SECRET)

    async def main() -> None:
        world = World()
        monkeypatch.setattr(registry, "default", world.registry)
        app: dict[str, Any] = {"__name__": "hooks_app"}
        flows: dict[str, Any] = {"__name__": "payments"}
        exec(hooks_app, app)
        exec(payments, flows)
        app["client"]._connected = world.client()._connected  # pyright: ignore[reportPrivateUsage]  # instead of real servers
        async with world.worker("A"):
            started = await world.start(flows["paid"], 7)
            await asyncio.sleep(1)
            log = await world.log(started)
            (token,) = [event.token for event in log if event.token is not None]
            assert (await app["client"].hook(token)).metadata == {"order": 7}
            now = int(time.time())
            body = b'{"state": "settled"}'
            headers = {"webhook-id": "m", "webhook-timestamp": str(now)}
            refused = await request(app["app"], f"/hooks/{token}", body, headers)
            assert refused.status == 401
            headers["webhook-signature"] = sign(key_of(SECRET), "m", now, body)
            assert (await request(app["app"], f"/hooks/{token}", body, headers)).status == 202
            assert await started.result(10) == "settled"

    run(main)


def test_the_page_s_workflow_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, prices = blocks(read("docs/webhooks.md"), "python")

    async def main() -> None:
        world = World()
        monkeypatch.setattr(registry, "default", world.registry)
        flows: dict[str, Any] = {"__name__": "prices"}
        exec(prices, flows)
        async with world.worker("A"):
            await world.start(flows["prices"])
            await asyncio.sleep(1)
            answer = await request(webhooks(world.client()), "/prices", b'"abc"')
            assert (answer.status, answer.text) == (200, '{"sku":"abc","price":3}')

    run(main)
