"""Webhooks over the reference models: what is answered, and what is in the log by then."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World
from tests.web.asgi import request

from fencepost import hook, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.web.signatures import key_of, sign
from fencepost.web.webhooks import DELIVERY_CHARS_MAX, webhooks
from fencepost_store.events import EventType
from fencepost_store.protocol import StoreTrouble

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def collecting(world: World) -> Workflow[..., Any]:
    """Takes ``count`` payloads through a hook that webhooks reach, or do not."""

    @workflow(registry=world.registry)
    async def collect(token: str, count: int, http: bool = True) -> list[Any]:
        async with hook(token=token, http=http) as payloads:
            return [await payloads for _ in range(count)]

    return collect


def listening(
    main: Callable[[World, Any], Coroutine[Any, Any, None]], token: str = "t", count: int = 1, **more: Any
) -> None:
    """Run ``main`` with a world in which a run listens."""

    async def begin() -> None:
        world = World()
        async with world.worker("A"):
            started = await world.client().start(collecting(world), token, count, **more)
            await asyncio.sleep(1)
            await main(world, started)

    run(begin)


async def received(world: World, started: Any) -> int:
    """How many signals the run's log has."""
    return sum(event.type is EventType.hook_received for event in await world.log(started))


def test_a_post_is_in_the_log_when_it_is_answered() -> None:
    """And its JSON is what the workflow gets."""

    async def main(world: World, started: Any) -> None:
        answer = await request(webhooks(world.client()), "/t", b'{"ok": [1, "two", null]}')
        assert (answer.status, answer.text) == (202, "accepted\n")
        assert await received(world, started) == 1
        assert await started.result(10) == [{"ok": [1, "two", None]}]

    listening(main)


def test_an_empty_body_is_none_and_tokens_may_hold_anything() -> None:
    """Slashes and colons too."""

    async def main(world: World, started: Any) -> None:
        assert (await request(webhooks(world.client()), "/approve:7/now")).status == 202
        assert await started.result(10) == [None]

    listening(main, token="approve:7/now")


def test_it_mounts_in_an_app_and_answers_as_it_is_told() -> None:
    """Below a path, with a static response."""

    async def main(world: World, started: Any) -> None:
        inner = webhooks(world.client(), response=JSONResponse({"thanks": True}, 200, {"x-ours": "1"}))
        app = Starlette(routes=[Mount("/hooks", inner)])
        for n in range(2):
            answer = await request(app, "/hooks/t", str(n).encode())
            assert (answer.status, answer.text, answer.headers["x-ours"]) == (200, '{"thanks":true}', "1")
        assert (await request(app, "/t", b"3")).status == 404
        assert await started.result(10) == [0, 1]

    listening(main, count=2)


def test_h103_the_same_webhook_id_is_taken_in_once_also_after_the_end() -> None:
    """The sender repeats itself until it hears 202."""

    async def main(world: World, started: Any) -> None:
        app = webhooks(world.client())
        for body in (b"1", b"1", b"2"):
            assert (await request(app, "/t", body, {"webhook-id": f"m{body.decode()}"})).status == 202
        assert await started.result(10) == [1, 2]
        assert (await request(app, "/t", b"1", {"webhook-id": "m1"})).status == 202
        assert (await request(app, "/t", b"3", {"webhook-id": "m3"})).status == 404
        assert await received(world, started) == 2

    listening(main, count=2)


def test_a_hook_that_is_not_declared_is_not_found_like_one_that_is_not_there() -> None:
    """Tokens that people choose can be guessed: nothing tells the two apart, also not once it has gone."""

    async def main(world: World, started: Any) -> None:
        app = webhooks(world.client())
        plain, none = await request(app, "/t", b"1"), await request(app, "/nobody", b"1")
        assert (plain.status, plain.text) == (none.status, none.text) == (404, "nobody listens here\n")
        assert (await request(app, "/", b"1")).status == 404
        await world.client().resume("t", "inside", id="d")
        assert await started.result(10) == ["inside"]
        assert (await request(app, "/t", b"1", {"webhook-id": "d"})).text == none.text

    listening(main, http=False)


def test_a_signature_is_asked_for_where_a_secret_is_configured() -> None:
    """By our clock; nothing is written before it is checked."""

    async def main(world: World, started: Any) -> None:
        app = webhooks(world.client(), secrets=SECRET, clock=lambda: 1_000_000.0)

        def signed(at: int, body: bytes = b"7", secret: str = SECRET) -> dict[str, str]:
            signature = sign(key_of(secret), "m", at, body)
            return {"webhook-id": "m", "webhook-timestamp": str(at), "webhook-signature": signature}

        other = "whsec_" + base64.b64encode(bytes(32)).decode()
        for headers in ({}, signed(1_000_000 - 301), signed(1_000_000, secret=other), signed(1_000_000, b"8")):
            answer = await request(app, "/t", b"7", headers)
            assert (answer.status, answer.text) == (401, "the signature does not fit\n")
            assert (await request(app, "/nobody", b"7", headers)).status == 401
        assert await received(world, started) == 0
        assert (await request(app, "/t", b"7", signed(1_000_000 - 300))).status == 202
        assert (await request(app, "/t", b"7", signed(1_000_000))).status == 202
        assert await received(world, started) == 1
        assert await started.result(10) == [7]

    listening(main)


def test_a_body_that_is_too_large_is_refused_without_being_read() -> None:
    """By its announced length, or when it has grown too long."""

    async def main(world: World, started: Any) -> None:
        app = webhooks(world.client(), body_bytes_max=10)
        announced = await request(app, "/t", b'"' + b"x" * 9 + b'"')
        assert (announced.status, announced.read) == (413, 0)
        grown = await request(app, "/t", [b'"xxxx', b"xxxxxx", b"x", b"x", b'"'])
        assert (grown.status, grown.read) == (413, 2)
        assert (await request(app, "/t", [b'"xxxx', b'xxxx"'])).status == 202
        assert await started.result(10) == ["xxxxxxxx"]

    listening(main)


def test_a_body_beyond_the_limit_of_payloads_is_too_large_too() -> None:
    """Whatever this app would take."""

    async def begin() -> None:
        world = World(payload_bytes_max=1024)
        async with world.worker("A"):
            await world.client().start(collecting(world), "t", 1)
            await asyncio.sleep(1)
            body = b'"' + b"x" * 2000 + b'"'
            assert (await request(webhooks(world.client()), "/t", body)).status == 413

    run(begin)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b"1 2", b'"\xed\xa0\x80"'])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    """Nothing of it reaches the log."""

    async def main(world: World, started: Any) -> None:
        answer = await request(webhooks(world.client()), "/t", body)
        assert (answer.status, answer.text) == (400, "the body is not JSON\n")
        assert await received(world, started) == 0

    listening(main)


@pytest.mark.parametrize("delivery", ["m" * (DELIVERY_CHARS_MAX + 1), "m\0"])
def test_a_webhook_id_that_cannot_be_kept_is_refused(delivery: str) -> None:
    """It stands in an index."""

    async def main(world: World, started: Any) -> None:
        app = webhooks(world.client())
        assert (await request(app, "/t", b"1", {"webhook-id": delivery})).status == 400
        longest = {"webhook-id": "\u00e9" * DELIVERY_CHARS_MAX}
        assert (await request(app, "/t", b"1", longest)).status == 202

    listening(main)


def test_only_post_is_answered() -> None:
    """A link that a mail scanner opens approves nothing."""

    async def main(world: World, started: Any) -> None:
        app = webhooks(world.client())
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            assert (await request(app, "/t", method=method)).status == 405
        assert await received(world, started) == 0

    listening(main)


def test_trouble_with_postgres_asks_the_sender_to_come_again() -> None:
    """Never 202, and a request that broke off is no signal."""

    async def main(world: World, started: Any) -> None:
        client = world.client()
        app = webhooks(client)

        async def away(*_: object) -> None:
            raise StoreTrouble("away")

        append, world.memory.append = world.memory.append, away  # type: ignore[method-assign,assignment]
        answer = await request(app, "/t", b"1", {"webhook-id": "m"})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        world.memory.append = append  # type: ignore[method-assign]
        assert (await request(app, "/t", [])).status == 400
        assert await received(world, started) == 0
        assert (await request(app, "/t", b"1", {"webhook-id": "m"})).status == 202

    listening(main)


def test_a_bug_of_ours_is_not_hidden() -> None:
    """It goes to the server's own log."""

    async def main(world: World, started: Any) -> None:
        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        world.memory.trace_token = broken  # type: ignore[method-assign,assignment]
        with pytest.raises(ZeroDivisionError):
            await request(webhooks(world.client()), "/t", b"1")

    listening(main)
