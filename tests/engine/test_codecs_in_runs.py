"""Encrypted runs on the engine: nothing readable in the log, crashes and replays as ever, missing keys wait."""

from __future__ import annotations

import asyncio
import base64

import pytest
from engine_virtual import run
from engine_world import World
from tests.log_lines import captured

from fencepost import Fatal, RunFailed, StartConflict, hook, step, workflow
from fencepost.config import Config
from fencepost.payload_codecs import NONE, Codecs, install
from fencepost.payload_keys import codecs_of
from fencepost_queue.protocol import Entry, tick_key


def codecs(*ids: str) -> Codecs:
    """Compression and encryption with keys of these ids."""
    keys = ",".join(f"{name}:{base64.b64encode(name.encode().ljust(32)).decode()}" for name in ids)
    return codecs_of(Config(payload_codecs=("zlib", "aes-gcm"), payload_keys=keys))


def test_nothing_of_a_users_values_is_readable_in_the_log() -> None:
    """Arguments, results, signals, and what an error says of them; and each comes back as it was."""

    async def main() -> None:
        install(codecs("k1"))
        world = World()

        @step(registry=world.registry, retries=0)
        async def charge(card: str) -> str:
            raise Fatal(f"{card} was declined", card)

        @step(registry=world.registry)
        async def read(card: str) -> str:
            return card * 20

        @workflow(registry=world.registry)
        async def flow(card: str) -> str:
            assert await read(card) == card * 20
            async with hook(str, token="word") as words:
                assert await words == card
            with pytest.raises(Fatal) as declined:
                await charge(card)
            assert declined.value.args == ("4111 was declined", "4111")
            raise ValueError(f"gave up on {card}") from declined.value

        async with world.worker("A"):
            started = await world.client().start(flow, "4111")
            await asyncio.sleep(1)
            await world.client().resume("word", "4111")
            with pytest.raises(RunFailed, match="gave up on 4111") as caught:
                await started.result(60)
            assert "was declined" in repr(caught.value.__cause__ and caught.value.__cause__.__cause__)
            assert "gave up on 4111" in caught.value.traceback
        loaded = await world.store.load(started.id, 0)
        assert loaded is not None
        assert len(loaded.events) > 8
        assert not [event for event in loaded.events if b"4111" in event.payload]

    run(main)


def test_a_replay_after_a_crash_takes_equal_arguments_for_equal() -> None:
    """Each replay encrypts anew; other bytes are no other arguments, and other arguments still are."""

    async def main() -> None:
        install(codecs("k1"))
        world = World()
        extra = ""

        @step(registry=world.registry)
        async def echo(word: str) -> str:
            return word

        @workflow(registry=world.registry)
        async def flow(word: str) -> str:
            said = await echo(word + extra)
            async with hook(str, token="go") as go:
                return said + await go

        async with world.worker("A"):
            started = await world.client().start(flow, "a")
            await asyncio.sleep(1)
        replayed: list[list[str]] = []
        for name, more in (("B", ""), ("C", "other")):
            extra = more
            async with world.worker(name) as member:
                await world.server.client("x").enqueue([Entry(queue="default", key=tick_key(started.id))])
                await asyncio.sleep(60)
                live = member.shell.runs.enter(started.id)
                assert live.instance is not None
                replayed.append(list(live.instance.changed_arguments))
        assert replayed == [[], ["echo#1"]]
        async with world.worker("D"):
            await world.client().resume("go", "b")
            assert await started.result(60) == "ab"

    run(main)


def test_a_worker_without_the_key_leaves_the_run_to_one_that_has_it() -> None:
    """A missing key is nobody's error: the run and the step wait, and nothing fails."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def echo(word: str) -> str:
            return word

        @workflow(registry=world.registry)
        async def flow(word: str) -> str:
            return await echo(word)

        install(codecs("new"))
        started = await world.client().start(flow, "a")
        for without in (NONE, codecs("old")):
            install(without)
            async with world.worker("without"):
                await asyncio.sleep(30)
                assert (await started.status()).events == 1
        install(codecs("new"))
        async with world.worker("with"):
            assert await started.result(100) == "a"

    run(main)


class Turned:
    """A codec of the user's."""

    name = "turned"

    def encode(self, data: bytes, /) -> bytes:
        """Backwards."""
        return data[::-1]

    decode = encode


@pytest.mark.parametrize("inside", [(), ("aes-gcm",)])
def test_a_worker_without_a_codec_of_yours_leaves_the_run_to_one_that_has_it(inside: tuple[str, ...]) -> None:
    """As with a key, also where the value is encrypted besides and this worker has the key: nothing fails, nothing is
    tried, the run goes on where the codec is."""

    async def main() -> None:
        world = World()
        bodies: list[str] = []

        @step(registry=world.registry)
        async def echo(word: str) -> str:
            bodies.append(word)
            return word

        @workflow(registry=world.registry)
        async def flow(word: str) -> str:
            return await echo(word)

        keys = codecs("k1").keys
        whole = Codecs(("turned", *inside), keys, {"turned": Turned()})
        install(whole)
        started = await world.client().start(flow, "a")
        install(Codecs(inside, keys))
        with captured() as logs:
            async with world.worker("without"):
                await asyncio.sleep(30)
                assert (await started.status()).events == 1
        told = [log for log in logs if log["event"] == "payload_codec_missing"]
        assert told
        assert (told[0]["codec"], told[0]["run"]) == ("turned", started.id)
        assert bodies == []
        install(whole)
        async with world.worker("with"):
            assert await started.result(100) == "a"

    run(main)


def test_a_step_whose_arguments_cannot_be_opened_waits() -> None:
    """The tick was done by a worker with the key, the step's message goes to one without."""

    async def main() -> None:
        world = World(queues=("default",))
        bodies: list[str] = []

        @step(registry=world.registry, queue="other")
        async def echo(word: str) -> str:
            bodies.append(word)
            return word

        @workflow(registry=world.registry)
        async def flow(word: str) -> str:
            return await echo(word)

        install(codecs("new"))
        started = await world.client().start(flow, "a")
        async with world.worker("turns"):
            await asyncio.sleep(5)
            world.config = Config(queues=("other",))
            install(codecs("old"))
            async with world.worker("without"):
                await asyncio.sleep(30)
            assert bodies == []
            install(codecs("new", "old"))
            async with world.worker("with"):
                assert await started.result(100) == "a"
        loaded = await world.store.load(started.id, 0)
        assert loaded is not None
        assert "step_failed" not in [event.type.name for event in loaded.events]

    run(main)


def test_a_strict_start_compares_what_was_meant() -> None:
    """The same arguments under the same key are no conflict, though their bytes differ."""

    async def main() -> None:
        install(codecs("k1"))
        world = World()

        @workflow(registry=world.registry)
        async def flow(word: str) -> str:
            return word

        client = world.client()
        first = await client.start("flow", "a", key="k", strict=True)
        again = await client.start("flow", "a", key="k", strict=True)
        assert (again.id, again.created) == (first.id, False)
        with pytest.raises(StartConflict):
            await client.start("flow", "b", key="k", strict=True)
        async with world.worker("A"):
            assert await client.run(first.id, flow).result(10) == "a"

    run(main)
