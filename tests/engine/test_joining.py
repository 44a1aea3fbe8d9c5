"""What a step's transaction does with each verdict on the step's end: committed only if exactly that has landed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from fencepost.engine.joining import Joining
from fencepost.log import RunLog
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.joint import Joint
from fencepost_store.protocol import (
    Batch,
    FactOutcome,
    FactVerdict,
    Outcome,
    Reason,
    RunStatus,
    StoreTrouble,
    Verdict,
)

END = NewEvent(EventType.step_completed, "work#1", attempt=1)
LANDED = (Event(4, EventType.step_completed, "work#1", 1, 0, None, None, None, b""),)
BATCH = Batch(run_id="r", fence=None, events=(END,), grace=0)


class Recorded:
    """A transaction whose append is answered with ``verdict``."""

    def __init__(self, verdict: Verdict | None = None, clean: bool = True) -> None:
        self.calls: list[str] = []
        self._verdict = verdict
        self._clean = clean

    def lend(self, ended: Callable[[], Exception]) -> None:
        """Nothing is written here."""

    def revoke(self) -> bool:
        return False

    async def append(self, batch: Batch) -> Verdict:
        assert self._verdict is not None
        return self._verdict

    async def commit(self) -> None:
        self.calls.append("commit")

    async def roll_back(self) -> None:
        self.calls.append("roll back")

    async def clean(self) -> None:
        self.calls.append("clean")
        if not self._clean:
            raise StoreTrouble("gone")

    def close(self) -> None:
        self.calls.append("close")


async def filled(joint: Recorded) -> Joining:
    """A body's transactions, of which this one is to be committed."""

    async def join() -> Joint:
        return cast(Any, joint)

    joining = Joining(join, lambda _: None)
    async with joining.begin():
        pass
    return joining


def verdict(outcome: Outcome, *facts: FactVerdict, events: tuple[Event, ...] = ()) -> Verdict:
    return Verdict(outcome, 4, 4, 99, RunStatus.running, events, facts)


def ended(joint: Recorded) -> tuple[FactVerdict, int]:
    async def end() -> tuple[FactVerdict, int]:
        return await (await filled(joint)).end(RunLog(cast(Any, None), cast(Any, None)), BATCH)

    return asyncio.run(end())


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (verdict(Outcome.ok, FactVerdict(FactOutcome.landed, 4), events=LANDED), ["commit"]),
        (verdict(Outcome.ok, FactVerdict(FactOutcome.already, 4)), ["roll back"]),
        (verdict(Outcome.refused, FactVerdict(FactOutcome.refused, reason=Reason.other_attempt)), ["roll back"]),
        (verdict(Outcome.refused, FactVerdict(FactOutcome.early, rest=1)), ["roll back"]),
    ],
)
def test_only_what_has_landed_is_committed(answer: Verdict, calls: list[str]) -> None:
    """``already``: an earlier commit has carried the end, with what was written in it."""
    joint = Recorded(answer)
    assert ended(joint) == (answer.facts[0], 99)
    assert joint.calls == calls


@pytest.mark.parametrize(
    "answer",
    [
        verdict(Outcome.conflict),
        verdict(Outcome.busy),
        verdict(Outcome.ok, events=LANDED),
        verdict(Outcome.refused),
        verdict(Outcome.refused, *[FactVerdict(FactOutcome.landed, 4)] * 2),
        verdict(Outcome.ok, FactVerdict(FactOutcome.landed, 4)),
    ],
)
def test_h18_a_reply_that_is_none_is_trouble_and_commits_nothing(answer: Verdict) -> None:
    """The log tells, to whoever gets the message next."""
    joint = Recorded(answer)
    with pytest.raises(StoreTrouble):
        ended(joint)
    assert joint.calls == []


def test_a_session_that_cannot_be_cleaned_is_given_back_as_it_is() -> None:
    """The end is in the log: that is no trouble of the step's. The pool throws away what was not cleaned."""

    async def main() -> None:
        joint = Recorded(clean=False)
        joining = await filled(joint)
        await joining.clean()
        assert joint.calls == ["clean", "close"]
        joining.close()
        assert joint.calls == ["clean", "close"], "once"

    asyncio.run(main())
