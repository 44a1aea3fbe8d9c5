"""Attributes: set by the code as it goes, once each, whatever crashes; seen by who lists runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import BadAttribute, NotInWorkflow, hook, set_attributes, step, workflow
from fencepost.attributes import ATTRIBUTES_MAX, TEXT_BYTES_MAX, AttributeValue, candidates, text_of, value_of
from fencepost.authoring.workflow import Workflow
from fencepost_store.events import EventType

NOON = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=1)))


def order_flow(world: World) -> Workflow[[int], str]:
    """Attributes before, between and after steps; the last ones right before the return."""

    @step(registry=world.registry)
    async def charge(n: int) -> int:
        return n

    @workflow(registry=world.registry)
    async def order(n: int) -> str:
        set_attributes(stage="new", customer="x", at=NOON, part=0.5, test=True)
        set_attributes({"n.1": n}, stage="new")
        await charge(n)
        set_attributes(stage="paid", test=None)
        async with hook(str, token="t") as go:
            told = await go
        set_attributes(stage="done")
        return told

    return order


def test_attributes_are_seen_as_set_and_stay() -> None:
    async def main() -> None:
        world = World()
        order = order_flow(world)
        client = world.client()
        async with world.worker("A"):
            started = await client.start(order, 7, attributes={"customer": "nobody", "shop": "west"})
            assert (await started.status()).attributes == {"customer": "nobody", "shop": "west"}
            while (await started.status()).attributes.get("stage") != "paid":
                await world.settle()
            (found,) = await client.list(attributes={"stage": "paid", "shop": "west"}, status="running")
            assert dict(found.attributes) == {
                "at": NOON.astimezone(UTC), "customer": "x", "n.1": 7, "part": 0.5, "shop": "west", "stage": "paid",
            }  # fmt: skip
            assert await client.list(attributes={"n.1": "7"}) == [], "a text is no number"
            await client.resume("t", "bye")
            assert await started.result(60) == "bye"
            assert (await client.get(started.id)).attributes["stage"] == "done"
            assert await client.list(attributes={"stage": "paid"}) == []
            changed = [event for event in await world.log(started) if event.type is EventType.attributes_set]
            assert [event.entity for event in changed] == [f"attributes#{n}" for n in (1, 2, 3, 4)]
            assert b"stage" not in changed[1].payload, "what is set already is not set again"

    run(main)


def test_i10_a_worker_that_replays_sets_nothing_twice() -> None:
    """The first worker dies right after its append; the second replays and goes on."""

    async def main() -> None:
        world = World()
        order = order_flow(world)
        async with world.worker("A") as a:
            a.crash_at("append.after", 2)
            started = await world.start(order, 1)
            await a.crashed.wait()
        async with world.worker("B"):
            while (await started.status()).attributes.get("stage") != "paid":
                await world.settle()
            await world.client().resume("t", "bye")
            assert await started.result(60) == "bye"
        assert (await world.shape(started)).count("attributes_set attributes#3") == 1

    run(main)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n": 2**63}, "attribute 'n': 9223372036854775808 is beyond 64 bits"),
        ({"n": float("nan")}, "attribute 'n': nan is no finite number"),
        ({"n": b"x"}, "bytes is not among str, int, float, bool and datetime"),
        ({"n": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - naive on purpose
        ({"n": "x" * (TEXT_BYTES_MAX + 1)}, "the text has 257 bytes, at most 256"),
        ({"n": "\0"}, "NUL"),
        ({"n": "\ud800"}, "not valid Unicode"),
        ({"1n": 1}, "attribute '1n': a name is a letter"),
        ({"n" * 65: 1}, "a name is a letter"),
        ({f"n{i}": i for i in range(ATTRIBUTES_MAX + 1)}, "attributes of one run, at most 32"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_name_and_bound(values: dict[str, AttributeValue], words: str) -> None:
    """At the start before anything is written; in the code as an error that it can catch, and nothing is changed."""

    async def main() -> None:
        world = World()
        caught: list[str] = []

        @workflow(registry=world.registry)
        async def flow() -> None:
            set_attributes(stage="fine")
            try:
                set_attributes(values)
            except BadAttribute as error:
                caught.append(str(error))

        with pytest.raises(BadAttribute, match=words):
            await world.client().start(flow, attributes=values)
        async with world.worker("A"):
            started = await world.start(flow)
            await started.result(60)
        assert words in caught[0]
        assert (await started.status()).attributes == {"stage": "fine"}

    run(main)


def test_the_bound_counts_what_there_is_and_not_what_was() -> None:
    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            for n in range(3 * ATTRIBUTES_MAX):
                set_attributes({f"n{n}": n, f"n{n - 1}": None})

        async with world.worker("A"):
            started = await world.start(flow)
            await started.result(60)
        assert (await started.status()).attributes == {"n95": 95}

    run(main)


def test_elsewhere_the_error_names_the_way_out() -> None:
    with pytest.raises(NotInWorkflow, match="attributes="):
        set_attributes(stage="paid")


@pytest.mark.parametrize("value", ["", "s", "42", 42, -(2**63) + 1, 0.5, 1e300, True, False, NOON])
def test_a_value_comes_back_with_its_type_and_people_find_it_by_its_words(value: AttributeValue) -> None:
    text = text_of("n", value)
    assert (value_of(text), type(value_of(text))) == (value, type(value))
    words = str(value).lower() if isinstance(value, bool) else str(value)
    assert text in candidates("n", words)
