"""Shapes with child runs: called, started, raced, cancelled, given up; and runs that continue as new."""

from __future__ import annotations

import asyncio

from replay_catalogue import first, shape
from replay_world import ChildError, W

from fencepost.replay.limits import ContinueAsNew


@shape("completed", events=6)
async def child_in_sequence(w: W) -> object:
    return [await w.child("one"), await w.step("a"), await w.child("one")]


@shape("completed", events=8)
async def children_gathered(w: W) -> object:
    return await asyncio.gather(w.child("a"), w.child("b"), w.step("s"), w.child("a"), return_exceptions=False)


@shape("completed", events=5)
async def child_fails(w: W) -> object:
    try:
        return await w.child("bad")
    except ChildError as error:
        return [str(error), await w.step("after")]


@shape("completed", events=8)
async def child_raced(w: W) -> object:
    won = await first(w.child("a"), w.child("b"), w.step("c"))
    return [won[0], await w.step("after")]


@shape("completed", events=5)
async def child_timed_out(w: W) -> object:
    try:
        async with asyncio.timeout(0.5):
            return await w.child("slow")
    except TimeoutError:
        return await w.step("late")


@shape("completed", events=5)
async def child_abandoned(w: W) -> object:
    try:
        async with asyncio.timeout(0.5):
            return await w.child("slow", parent_close="abandon")
    except TimeoutError:
        return await w.step("late")


@shape("completed", events=7)
async def child_handles(w: W) -> object:
    kept, cancelled, left = w.start("a"), w.start("b"), w.start("c", parent_close="abandon")
    await w.step("between")
    cancelled.cancel("no")
    try:
        async with asyncio.timeout(0.5):
            await kept.end()
    except TimeoutError:
        await w.step("late")
    return [(await kept.end()).type.name, (await cancelled.end()).type.name, left.run_id[14]]


@shape("cancelled", "completed", events=6)
async def child_cancel_requested(w: W) -> object:
    """Its run is asked to cancel on the way."""
    try:
        return await w.child("a") + await w.child("b")
    finally:
        await w.step("undo")


@shape("completed", events=6)
async def child_in_a_group(w: W) -> object:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(w.child("slow"))
            group.create_task(w.child("bad"))
    except* ChildError:
        pass
    return await w.step("after")


@shape("continued", events=6)
async def continues(w: W) -> object:
    try:
        await w.child("a")
        w.start("left", parent_close="abandon")
        raise ContinueAsNew(b"\x02\x92\x90\x80")
    finally:
        await w.step("undo")
