"""Webhooks that the workflow answers: what it said is in the log before it is sent, and is said again on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from tests.engine.engine_virtual import run
from tests.engine.engine_world import Member, World
from tests.web.asgi import Answer, request

from fencepost import hook, sleep, step, workflow
from fencepost.web.webhooks import webhooks
from fencepost_store.events import EventType


def answering(
    main: Callable[[World, Member, Any], Coroutine[Any, Any, None]], *, think: float = 0.0, seconds: float = 10
) -> None:
    """Run ``main`` with a world whose run squares what it gets, after ``think`` seconds, until it gets 0."""

    async def begin() -> None:
        world = World()

        @step(registry=world.registry)
        async def square(n: int) -> int:
            await asyncio.sleep(think)
            return n * n

        @workflow(registry=world.registry)
        async def flow() -> list[int]:
            told: list[int] = []
            async with hook(int, "t", http=True, respond=timedelta(seconds=seconds)) as numbers:
                async for n in numbers:
                    if n == 0:
                        numbers.respond(status=204)
                        return told
                    told.append(n)
                    if n > 0:
                        numbers.respond({"square": await square(n), "n": n}, status=201)
            return told

        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(1)
            await main(world, a, started)

    run(begin)


async def post(world: World, body: bytes, delivery: str = "d") -> Answer:
    return await request(webhooks(world.client()), "/t", body, {"webhook-id": delivery})


def test_the_sender_gets_what_the_workflow_says_when_it_is_in_the_log() -> None:
    """By hint, not by the poll: at once."""

    async def main(world: World, worker: Member, started: Any) -> None:
        begun = asyncio.get_running_loop().time()
        answer = await post(world, b"7")
        assert asyncio.get_running_loop().time() - begun < 0.2
        assert (answer.status, answer.text) == (201, '{"square":49,"n":7}')
        assert answer.headers["content-type"] == "application/json"
        assert "marker answer:d" in await world.shape(started)
        last = await post(world, b"0", "e")
        assert (last.status, last.text) == (204, "")
        assert await started.result(10) == [7]

    answering(main)


def test_a_hint_that_is_lost_costs_a_poll() -> None:
    async def main(world: World, worker: Member, started: Any) -> None:
        async def deaf(channel: str, message: bytes) -> None:
            return

        worker.shell.queue.publish = deaf  # type: ignore[method-assign]
        assert (await post(world, b"7")).status == 201

    answering(main)


def test_who_sends_again_gets_the_same_answer_also_when_the_hook_and_the_run_have_gone() -> None:
    """And the code never sees the second."""

    async def main(world: World, worker: Member, started: Any) -> None:
        first = await post(world, b"7")
        assert (await post(world, b"7")).text == first.text
        other = await post(world, b"8")
        assert (other.status, other.text) == (409, "this webhook-id was accepted with another body\n")
        await post(world, b"0", "e")
        assert await started.result(10) == [7]
        again = await post(world, b"7")
        assert (again.status, again.text) == (first.status, first.text)
        assert (await post(world, b"7", "new")).status == 404

    answering(main)


def test_who_is_late_hears_504_and_gets_the_answer_under_the_same_id() -> None:
    async def main(world: World, worker: Member, started: Any) -> None:
        begun = asyncio.get_running_loop().time()
        late = await post(world, b"7")
        assert (late.status, late.headers["retry-after"]) == (504, "5")
        assert 2 <= asyncio.get_running_loop().time() - begun < 2.1
        await sleep(10)
        assert (await post(world, b"7")).text == '{"square":49,"n":7}'
        received = [e for e in await world.log(started) if e.type is EventType.hook_received]
        assert len(received) == 1

    answering(main, think=10, seconds=2)


def test_h180_a_payload_that_does_not_fit_is_passed_over_and_its_sender_hears_422() -> None:
    """The run goes on, and answers the next one. It used to fail."""

    async def main(world: World, worker: Member, started: Any) -> None:
        begun = asyncio.get_running_loop().time()
        refused = await post(world, b'"no number"', "bad")
        assert (refused.status, refused.text) == (422, '"the payload does not fit what is expected here"')
        assert asyncio.get_running_loop().time() - begun < 3
        assert (await post(world, b"7")).status == 201
        await post(world, b"0", "e")
        assert await started.result(10) == [7]

    answering(main, seconds=50)


def _ends(how: str) -> Callable[[Any], Coroutine[Any, Any, None]]:
    async def end(numbers: Any) -> None:
        n = await numbers
        if how == "fails":
            raise ValueError("no answer")
        if how == "answers too much":
            numbers.respond("x" * 2_000_000)
        if how == "answers nan":
            numbers.respond({"price": [1.0, float("nan")]})
        if how == "answers no status":
            numbers.respond(n, status=1_000)
        if how == "closes":
            await numbers  # the second one stays in the hook
            await sleep(3)
            numbers.close()
            await sleep(100)

    return end


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("fails", 500),
        ("returns", 410),
        ("answers too much", 500),
        ("answers nan", 500),
        ("answers no status", 500),
        ("closes", 410),
        ("is terminated", 410),
    ],
)
def test_h178_who_waits_for_an_answer_that_cannot_come_hears_so_at_once(how: str, status: int) -> None:
    """The run has failed, ended, or closed its hook: no deadline is waited for."""

    async def main() -> None:
        world = World()
        end = _ends(how)

        @workflow(registry=world.registry)
        async def flow() -> None:
            numbers = hook(int, "t", http=True, respond=50)
            if how == "is terminated":
                await sleep(100)
            await end(numbers)

        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            begun = loop.time()
            if how == "closes":
                await world.client().resume("t", 1)
                await world.client().resume("t", 2)
            if how == "is terminated":
                loop.call_later(2, lambda: asyncio.ensure_future(started.terminate("stuck")))
            answer = await post(world, b"3")
            assert answer.status == status, answer.text
            assert loop.time() - begun < 6
            again = await post(world, b"3")
            assert again.status == status

    run(main)


def test_an_answer_survives_the_worker_that_gave_it() -> None:
    """It dies between the append and the settle: the sender hears the answer all the same, and the next worker does not
    answer twice."""

    async def main(world: World, worker: Member, started: Any) -> None:
        appends = worker.seen["append.after"]
        worker.crash_at("append.after", appends + 2)  # the step's creation, then its end with the answer
        assert (await post(world, b"7")).status == 201
        await worker.crashed.wait()
        async with world.worker("B"):
            assert (await post(world, b"0", "e")).status == 204
            assert await started.result(60) == [7]
        assert (await world.shape(started)).count("marker answer:d") == 1

    answering(main)


def test_who_asks_in_python_gets_the_value_and_who_does_not_ask_does_not_wait() -> None:
    async def main(world: World, worker: Member, started: Any) -> None:
        reply = await world.client().ask("t", 3)
        assert (reply.run_id, reply.expected, reply.status) == (started.id, True, 201)
        assert reply.value == {"square": 9, "n": 3}
        assert await world.client().resume("t", 0) == started.id
        assert await started.result(10) == [3]

    answering(main)


def test_what_cannot_be_answered_is_an_error_in_the_code() -> None:
    async def main() -> None:
        world = World()
        errors: list[str] = []

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(int, "t", http=True, respond=5) as numbers:
                for given in ((1, 200), (object(), 200), (1, 99), (1, 200), (1, 200)):
                    try:
                        if len(errors) == 1:
                            await numbers
                        numbers.respond(given[0], status=given[1])
                    except ValueError as error:
                        errors.append(str(error))
            try:
                hook(int, respond=61)
            except ValueError as error:
                errors.append(str(error))

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            long = "x" * 250
            assert (await request(webhooks(world.client()), "/t", b"1", {"webhook-id": long})).text == "1"
            await started.result(10)
        assert [error[:31] for error in errors] == [
            "hook 't': no payload to answer:", "answer of hook 't': object cann", "hook 't': status=99 is no statu",
            "hook 't': no payload to answer:", "hook(respond)=61: must be more ",
        ]  # fmt: skip

    run(main)


@pytest.mark.parametrize(("value", "body", "kind"), [(b"\0\1", "\0\1", "application/octet-stream"), (None, "", None)])
def test_bytes_and_nothing_are_sent_as_they_are(value: object, body: str, kind: str | None) -> None:
    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(int, "t", http=True, respond=5) as numbers:
                await numbers
                numbers.respond(value)

        async with world.worker("A"):
            await world.start(flow)
            await asyncio.sleep(1)
            answer = await post(world, b"1")
        assert (answer.status, answer.text, answer.headers.get("content-type")) == (200, body, kind)

    run(main)
