"""Hooks: one payload or many, in order, typed; conflicts; tokens; closing."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from fencepost import errors
from fencepost.authoring.hook import Hook, hook
from fencepost.authoring.registry import Registry
from fencepost.authoring.workflow import workflow
from fencepost.records import HookCreated, unpack
from fencepost_store.events import EventType

registry = Registry()


@dataclasses.dataclass
class Approval:
    ok: bool
    by: str = ""


def test_one_payload_is_awaited_and_the_hook_disposed(start: Any) -> None:
    """Converted by type; leaving the block ends the hook in the log."""

    @workflow(registry=registry)
    async def waits() -> Approval:
        async with hook(Approval, token="approve:1") as approval:
            return await approval

    run = start(waits)
    created = run.log[1]
    assert (created.type, created.token) == (EventType.hook_created, "approve:1")
    assert unpack(created.payload, HookCreated).name.endswith("Approval")
    run.send("hook#1", Approval(True, "ann"))
    assert run.result == Approval(True, "ann")


def test_many_payloads_come_in_order_each_once(start: Any) -> None:
    """By iterating, by awaiting again, and from before anybody awaited."""

    @workflow(registry=registry)
    async def collects() -> list[int]:
        numbers = hook(int, token="n")
        await asyncio.sleep(60)
        seen = [await numbers, await numbers]
        async for number in numbers:
            seen.append(number)
            if number == 4:
                numbers.close()
        return seen

    run = start(collects)
    for number in (1, 2, 3):
        run.send("hook#1", number)
    run.wake("sleep#1")
    run.send("hook#1", 4)
    assert run.result == [1, 2, 3, 4]


def test_a_conflict_is_raised_where_the_hook_is_awaited_and_names_the_owner(start: Any) -> None:
    """Every time, and it can be caught."""

    @workflow(registry=registry)
    async def collides() -> list[str]:
        owners: list[str] = []
        async with hook(int, token="taken") as mine:
            await asyncio.sleep(1)
            for _ in range(2):
                try:
                    await mine
                except errors.HookConflict as conflict:
                    owners.append(f"{conflict.token} {conflict.owner}")
        return owners

    run = start(collides, tokens_held_by="run-0")
    assert "hook_created" not in run.types()
    run.wake("sleep#1")
    assert run.result == ["taken run-0", "taken run-0"]


def test_the_default_token_is_the_same_in_every_replay_and_no_other_runs(start: Any) -> None:
    """128 bits, derived from the run and the place in the code."""

    @workflow(registry=registry)
    async def listens() -> list[str]:
        return [hook(int).token, hook(int).token]

    first, again = start(listens).result, start(listens).result
    other = start(listens, run_id="run-2").result
    assert first == again
    assert len({*first, *other}) == 4
    assert all(len(bytes.fromhex(token)) == 16 for token in first)


def test_a_payload_of_the_wrong_type_is_catchable_and_the_next_one_comes(start: Any) -> None:
    """With the token and the path."""

    @workflow(registry=registry)
    async def listens_again() -> str:
        async with hook(Approval, token="a") as approval:
            try:
                await approval
            except errors.PayloadError as error:
                return f"{error} {(await approval).ok}"
        return ""

    run = start(listens_again)
    run.send("hook#1", {"ok": "perhaps"})
    run.send("hook#1", Approval(True))
    assert run.result.startswith("payload of hook 'a'.ok: the recorded value does not fit")
    assert run.result.endswith("True")


def test_a_closed_hook_says_so(start: Any) -> None:
    """Awaiting it is a mistake, iterating it ends."""

    @workflow(registry=registry)
    async def late() -> list[str]:
        async with hook(int, token="a") as numbers:
            pass
        with pytest.raises(errors.NotInWorkflow, match="closed"):
            await numbers
        assert isinstance(numbers, Hook)
        return [str(n) async for n in numbers] + [repr(numbers)]

    (text,) = start(late).result
    assert text == "<hook 'a' for int, closed>"


def test_a_type_that_cannot_be_decoded_is_refused_before_anybody_sends(start: Any) -> None:
    """At the hook, not at the payload."""

    @dataclasses.dataclass
    class Other:
        n: int

    @workflow(registry=registry)
    async def listens_for_two() -> None:
        hook(Approval | Other, token="a")

    run = start(listens_for_two)
    assert "no way to decode the type" in run.failure.message
    assert "hook_created" not in run.types()


def test_a_timeout_around_an_awaited_hook_leaves_the_payload_to_the_next(start: Any) -> None:
    """A cancelled awaiter swallows nothing."""

    @workflow(registry=registry)
    async def patient() -> int:
        async with hook(int, token="a") as numbers:
            try:
                async with asyncio.timeout(10):
                    await numbers
            except TimeoutError:
                return await numbers
        return 0

    run = start(patient)
    run.wake("timeout#1")
    run.send("hook#1", 7)
    assert run.result == 7


def test_outside_a_workflow_a_hook_names_client_resume() -> None:
    """It only listens in workflows."""
    with pytest.raises(errors.NotInWorkflow, match=r"client\.resume"):
        hook(int)
