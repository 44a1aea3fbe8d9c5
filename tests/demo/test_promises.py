"""The judge can say no: each promise, broken alone, is found, and the exit code is 1."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from fencepost.dev.demo.facts import Facts, IndexFacts, Kill, OrderFacts
from fencepost.dev.demo.index import Function, Imported, Report
from fencepost.dev.demo.order import Order, expected
from fencepost.dev.demo.promises import judge
from fencepost.dev.demo.screen import Screen
from fencepost.dev.demo.verdict import Document, conclude

REPORT = Report(600, 12_000, Function(300, "a.b", "C.d"), (Imported("sys", 200),))
WRONG = replace(REPORT, functions=12_001)
IN_FLIGHT = ("parse_module#7", "parse_module#9")


def kept() -> Facts:
    """Facts of a demo in which all went well."""
    kill = Kill("worker 2", 42, -9, 1_000_000, 230, IN_FLIGHT, 3, 40.0)
    index = IndexFacts(
        run="r",
        steps=620,
        events=1900,
        seconds=5.0,
        commits=400,
        kill=kill,
        begun_before_kill={"worker 1": 120, "worker 2": 118},
        lost=IN_FLIGHT,
        begun_again=dict.fromkeys(IN_FLIGHT, ("worker 2", "worker 1")),
        ran_twice=IN_FLIGHT[:1],
        not_ended_once=(),
        recovery_ms=60.0,
        before_them=3,
        report=REPORT,
        direct=REPORT,
    )
    shipped = expected(Order("A-1", ("x", "y"), 9.0), "Ada")
    refunded = expected(Order("A-2", ("x", "y"), 1.0), None)
    orders = (
        OrderFacts("r1", "A-1", 4, 2.0, shipped, shipped, retries=2, overlap=2, slept_seconds=0.51),
        OrderFacts("r2", "A-2", 4, 2.0, refunded, refunded, retries=2, overlap=2, slept_seconds=None),
    )
    return Facts(
        index=index,
        orders=orders,
        order_commits=20,
        unrecorded=(),
        exit_codes={"worker 1": 0, "worker 3": 0},
        left_in_queue=0,
        lease_seconds=10.0,
        seconds=20.0,
    )


def with_index(**changes: Any) -> Facts:
    """With other facts of the index run."""
    facts = kept()
    return replace(facts, index=replace(facts.index, **changes))


def with_kill(**changes: Any) -> Facts:
    """With other facts of the kill."""
    return with_index(kill=replace(kept().index.kill, **changes))


def with_order(number: int, **changes: Any) -> Facts:
    """With other facts of one order."""
    orders = list(kept().orders)
    orders[number] = replace(orders[number], **changes)
    return replace(kept(), orders=tuple(orders))


AGAIN = kept().index.begun_again
MIDDLE, BOTH, BEGUN, LEASE, ONCE, BODIES, EQUAL, A1, A1_WAY, A2, A2_WAY, END = range(12)
"""Where each promise stands in the judge's list."""
BROKEN: dict[str, tuple[int, Facts]] = {
    "the report is wrong": (EQUAL, with_index(report=WRONG)),
    "the direct report differs": (EQUAL, with_index(direct=WRONG)),
    "killed before the first step ended": (MIDDLE, with_kill(completed_before=0)),
    "killed after the last": (MIDDLE, with_kill(completed_before=620)),
    "the victim ended well": (MIDDLE, with_kill(exit_code=0)),
    "one worker did nothing": (BOTH, with_index(begun_before_kill={"worker 1": 238, "worker 2": 0})),
    "there was one worker only": (BOTH, with_index(begun_before_kill={"worker 2": 238})),
    "nothing was begun again": (BEGUN, with_index(begun_again={}, lost=(), ran_twice=())),
    "a lost step was not begun again": (BEGUN, with_index(lost=(*IN_FLIGHT, "parse_module#8"))),
    "a step was begun again without need": (
        BEGUN,
        with_index(begun_again={**AGAIN, "merge#1": ("worker 1", "worker 1")}),
    ),
    "a body ran twice without a start": (BEGUN, with_index(ran_twice=("merge#1",))),
    "the dead begin again": (BEGUN, with_index(begun_again={**AGAIN, IN_FLIGHT[0]: ("worker 2", "worker 2")})),
    "nothing of what was in flight was lost": (BEGUN, with_kill(in_flight=("parse_module#1",))),
    "the lease ran out": (LEASE, with_kill(handed_on_ms=10_020.0)),
    "nothing was ever recovered": (LEASE, with_index(recovery_ms=None)),
    "a step has two ends, or none": (ONCE, with_index(not_ended_once=("merge#3",))),
    "a body without its start": (BODIES, replace(kept(), unrecorded=("r merge#1 2",))),
    "the approved order was refunded": (A1, with_order(0, outcome=kept().orders[1].outcome)),
    "no sleep": (A1_WAY, with_order(0, slept_seconds=None)),
    "a short sleep": (A1_WAY, with_order(0, slept_seconds=0.4)),
    "no retry": (A1_WAY, with_order(0, retries=0)),
    "one step after the other": (A2_WAY, with_order(1, overlap=1)),
    "the forgotten order was shipped": (A2, with_order(1, outcome=kept().orders[0].outcome)),
    "the forgotten order slept": (A2_WAY, with_order(1, slept_seconds=0.6)),
    "a worker hung": (END, replace(kept(), exit_codes={"worker 1": 0, "worker 3": -9})),
    "no worker was told to end": (END, replace(kept(), exit_codes={})),
    "the queue is not empty": (END, replace(kept(), left_in_queue=1)),
}


def test_all_is_well() -> None:
    """Exit code 0, one document in JSON."""
    screen, document = io.StringIO(), io.StringIO()
    assert conclude(kept(), Screen(screen), json=document) == 0
    read = msgspec.json.decode(document.getvalue(), type=Document)
    assert read.ok
    assert read.facts == kept()
    assert "BROKEN" not in screen.getvalue()
    assert "all 12 promises were kept" in screen.getvalue()


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_promise_is_told_and_fails(why: str) -> None:
    """Exactly that one; what was promised and what was seen are on the screen; exit code 1."""
    place, facts = BROKEN[why]
    promises = judge(facts)
    assert [number for number, promise in enumerate(promises) if not promise.kept] == [place]
    screen, document = io.StringIO(), io.StringIO()
    assert conclude(facts, Screen(screen), json=document) == 1
    assert f"BROKEN  {promises[place].promise}" in screen.getvalue()
    assert f"seen: {promises[place].seen}" in screen.getvalue()
    assert not msgspec.json.decode(document.getvalue(), type=Document).ok


def test_every_promise_can_be_broken() -> None:
    """A promise without a plant here would be one that cannot fail."""
    assert {place for place, _ in BROKEN.values()} == set(range(len(judge(kept()))))
