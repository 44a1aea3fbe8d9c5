"""Bodies of webhooks as senders make them: with a byte order mark, compressed, too large, under an id that was used."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World
from tests.web.asgi import request

from fencepost import hook, workflow
from fencepost.web.webhooks import BODY_BYTES_MAX, webhooks


def collecting(main: Callable[[World, Any, list[Any]], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` beside a run that keeps what its hook gets."""

    async def begin() -> None:
        world = World()
        got: list[Any] = []

        @workflow(registry=world.registry)
        async def collect() -> None:
            async with hook(token="t", http=True) as payloads:
                async for payload in payloads:
                    got.append(payload)

        async with world.worker("A"):
            await world.start(collect)
            await asyncio.sleep(1)
            await main(world, webhooks(world.client()), got)

    run(begin)


def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    """Some senders begin with one; a body of nothing else is empty."""

    async def main(world: World, app: Any, got: list[Any]) -> None:
        assert (await request(app, "/t", b'\xef\xbb\xbf{"a": 1}')).status == 202
        assert (await request(app, "/t", b"\xef\xbb\xbf")).status == 202
        await asyncio.sleep(1)
        assert got == [{"a": 1}, None]

    collecting(main)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "identity, gzip"])
def test_gzip_is_decompressed(encoding: str) -> None:
    async def main(world: World, app: Any, got: list[Any]) -> None:
        body = gzip.compress(b'{"a": 1}')
        assert (await request(app, "/t", body, {"content-encoding": encoding})).status == 202
        await asyncio.sleep(1)
        assert got == [{"a": 1}]

    collecting(main)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b" " * (BODY_BYTES_MAX + 1)), "gzip", 413),
        (gzip.compress(gzip.compress(b" " * (BODY_BYTES_MAX + 1))), "gzip, gzip", 413),
        (b"{}", "br", 415),
        (b"{}", "deflate", 415),
        (b"{}", "gzip, br", 415),
        (b"no gzip", "gzip", 400),
        (gzip.compress(b'{"a": 1}')[:-12], "gzip", 400),
        (b"{}", "gzip", 400),
    ],
    ids=["bomb", "bomb in a bomb", "br", "deflate", "gzip in br", "none", "cut", "json"],
)
def test_what_cannot_be_decompressed_is_refused(body: bytes, encoding: str, status: int) -> None:
    """A bomb is never in memory as a whole, and nothing of it is recorded."""

    async def main(world: World, app: Any, got: list[Any]) -> None:
        assert (await request(app, "/t", body, {"content-encoding": encoding})).status == status
        await asyncio.sleep(1)
        assert got == []

    collecting(main)


def test_h179_a_webhook_id_with_another_body_is_a_conflict() -> None:
    """It is no duplicate: nobody is told that the second body was accepted."""

    async def main(world: World, app: Any, got: list[Any]) -> None:
        headers = {"webhook-id": "one"}
        assert (await request(app, "/t", b"[1, 2]", headers)).status == 202
        assert (await request(app, "/t", b"[1,2]", headers)).status == 202, "the same value"
        assert (await request(app, "/t", b"[1,3]", headers)).status == 409
        await asyncio.sleep(1)
        assert got == [[1, 2]]

    collecting(main)


@pytest.mark.parametrize("path", ["/%00", "/a%00b", "/" + "x" * 1_025])
def test_a_token_that_no_hook_can_have_is_not_found(path: str) -> None:
    async def main(world: World, app: Any, got: list[Any]) -> None:
        from urllib.parse import unquote

        assert (await request(app, unquote(path), b"1")).status == 404

    collecting(main)
