"""The second workflow of the demo: an order with parallel steps, a flaky step, an approval that races a timeout, and a
sleep.
"""

from __future__ import annotations

import asyncio

import msgspec

from fencepost.authoring.context import current
from fencepost.authoring.hook import hook
from fencepost.authoring.step import step
from fencepost.authoring.time import sleep
from fencepost.authoring.workflow import workflow
from fencepost.dev.demo.bodies import begin

FAILURES = 2
"""How often the payment service is away before it answers."""
BODY_SECONDS = 0.1
REST_SECONDS = 0.5


class Order(msgspec.Struct, frozen=True):
    """``patience``: seconds to wait for an approval."""

    id: str
    items: tuple[str, ...]
    patience: float


class Approval(msgspec.Struct, frozen=True):
    """What the hook is sent."""

    by: str


class Outcome(msgspec.Struct, frozen=True):
    """How an order ended. ``decided_by``: who approved it, or ``timeout``."""

    status: str
    reserved: tuple[str, ...]
    payment: str
    decided_by: str


def approval_token(order_id: str) -> str:
    """The token that the approval of an order is sent to."""
    return f"approve:{order_id}"


@workflow
async def fulfil(order: Order) -> Outcome:
    """Reserve every item, take the money, wait for a nod, rest, ship; give the money back if nobody nods in time."""
    reserved = tuple(await asyncio.gather(*(reserve(item) for item in order.items)))
    payment = await charge(order.id)
    async with hook(Approval, token=approval_token(order.id)) as approval:
        try:
            async with asyncio.timeout(order.patience):
                decision = await approval
        except TimeoutError:
            return Outcome(await refund(payment), reserved, payment, "timeout")
    await sleep(REST_SECONDS)
    return Outcome(await ship(order.id), reserved, payment, decision.by)


@step
async def reserve(item: str) -> str:
    """Some network service."""
    begin()
    await asyncio.sleep(BODY_SECONDS)
    return f"{item} reserved"


@step(retries=FAILURES + 1, first_delay=0.2)
async def charge(order_id: str) -> str:
    """A service that is away at first."""
    begin()
    attempt = current().attempt
    if attempt <= FAILURES:
        raise ConnectionError(f"the payment service is away (attempt {attempt})")
    await asyncio.sleep(BODY_SECONDS)
    return f"payment of {order_id}"


@step
async def ship(order_id: str) -> str:
    """The good end."""
    begin()
    await asyncio.sleep(BODY_SECONDS)
    return "shipped"


@step
async def refund(payment: str) -> str:
    """The other end."""
    begin()
    await asyncio.sleep(BODY_SECONDS)
    return "refunded"


def expected(order: Order, approved_by: str | None) -> Outcome:
    """What must come out, said without the engine."""
    return Outcome(
        status="refunded" if approved_by is None else "shipped",
        reserved=tuple(f"{item} reserved" for item in order.items),
        payment=f"payment of {order.id}",
        decided_by=approved_by or "timeout",
    )
