"""The second act: two orders at once, one of which gets its approval, while the other's patience ends."""

from __future__ import annotations

import asyncio

from fencepost.client import Run
from fencepost.dev.demo.act_index import LOOK_SECONDS, RUN_SECONDS, Missed
from fencepost.dev.demo.facts import OrderFacts
from fencepost.dev.demo.history import History, StepHistory
from fencepost.dev.demo.order import Approval, Order, Outcome, approval_token, charge, expected, fulfil, reserve
from fencepost.dev.demo.stage import Stage
from fencepost.records import WaitCreated, unpack
from fencepost_store.events import EventType

APPROVED = Order("A-1", ("tent", "lamp", "rope"), patience=60.0)
FORGOTTEN = Order("A-2", ("boots", "socks"), patience=1.0)
APPROVER = "Ada"


async def play(stage: Stage) -> list[tuple[OrderFacts, History]]:
    """Run both to their ends. Raises Missed, TimeoutError and what the client raises."""
    async with asyncio.timeout(RUN_SECONDS), asyncio.TaskGroup() as group:
        first = group.create_task(_order(stage, APPROVED, APPROVER))
        second = group.create_task(_order(stage, FORGOTTEN, None))
    return [first.result(), second.result()]


async def _order(stage: Stage, order: Order, approved_by: str | None) -> tuple[OrderFacts, History]:
    run = await stage.client.start(fulfil, order, key=order.id)
    stage.screen.step(f"run {run.id}: order {order.id}, approval within {order.patience:g} s")
    history = History(run)
    if approved_by is not None:
        await _until_hook(history)
        await stage.client.resume(approval_token(order.id), Approval(approved_by))
        stage.screen.step(f"order {order.id} is approved by {approved_by}")
    return await _watch(stage, run, order, history, approved_by)


async def _until_hook(history: History) -> None:
    """Until the workflow listens."""
    while not any(event.type is EventType.hook_created for event in history.events):
        if history.ended:
            raise Missed("the order ended before it asked for its approval")
        await asyncio.sleep(LOOK_SECONDS)
        await history.read()


async def _watch(
    stage: Stage, run: Run[Outcome], order: Order, history: History, approved_by: str | None
) -> tuple[OrderFacts, History]:
    outcome = await run.result()
    await history.read()
    stage.screen.step(f"order {order.id} is {outcome.status}, decided by {outcome.decided_by}")
    facts = OrderFacts(
        run=run.id,
        order=order.id,
        steps=len(history.steps),
        seconds=round((history.events[-1].at - history.events[0].at) / 1e6, 3),
        outcome=outcome,
        expected=expected(order, approved_by),
        retries=sum(step.retries for step in history.named(charge.name)),
        overlap=overlap(history.named(reserve.name)),
        slept_seconds=slept(history),
    )
    return facts, history


def overlap(steps: list[StepHistory]) -> int:
    """How many of the steps were between start and end at one moment, at most."""
    spans = [(s.starts[0].at, s.ended_at) for s in steps if s.starts and s.ended_at is not None]
    return max((sum(begin <= at < end for begin, end in spans) for at, _ in spans), default=0)


def slept(history: History) -> float | None:
    """Seconds of the run's sleep, by the log: from the signal after which the code fell asleep to the waking.

    Not from the sleep's own creation: the workflow's clock is the time of what it was told last, and the record of what
    it then asked for is written a moment later.
    """
    told: int | None = None
    sleeps: dict[str, int] = {}
    for event in history.events:
        if event.type is EventType.hook_received:
            told = event.at
        elif event.type is EventType.wait_created and unpack(event.payload, WaitCreated).name == "sleep":
            sleeps[event.entity] = event.at if told is None else told
        elif event.type is EventType.wait_completed and event.entity in sleeps:
            return (event.at - sleeps[event.entity]) / 1e6
    return None
