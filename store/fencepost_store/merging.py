"""Merging the facts of one run into one batch, and taking the verdict apart again. Pure."""

from __future__ import annotations

import asyncio

import msgspec

from fencepost_store.protocol import Batch, FactOutcome, Outcome, Verdict

EVENT_BYTES = 100
"""What an event costs beside its payload, roughly: for the cap of a call, which needs no more precision."""


class Waiting(msgspec.Struct):
    """A batch and who waits for its verdict. ``size``: bytes, roughly."""

    batch: Batch
    answer: asyncio.Future[Verdict]
    size: int

    @staticmethod
    def of(batch: Batch, answer: asyncio.Future[Verdict]) -> Waiting:
        """With the size counted."""
        return Waiting(batch, answer, sum(len(event.payload) + EVENT_BYTES for event in batch.events))


class Group:
    """What goes into a call as one batch: one member, or several that all bring facts of one run."""

    def __init__(self, members: list[Waiting]) -> None:
        assert members, "a group without members"
        self.members = members
        self.batch: Batch = members[0].batch

    def merges(self, waiting: Waiting) -> bool:
        """Whether the batch may join: facts only, which rest on nothing, and the same idea of grace."""
        batch = waiting.batch
        mine = self.batch
        facts = (mine.fence, batch.fence, mine.stamp, batch.stamp) == (None, None, None, None)
        return facts and mine.grace == batch.grace

    def add(self, waiting: Waiting) -> None:
        """Join. The order of joining is the order in the log."""
        assert self.merges(waiting), "only facts of one run can be merged"
        self.members.append(waiting)
        self.batch = msgspec.structs.replace(self.batch, events=self.batch.events + waiting.batch.events)

    def resolve(self, verdict: Verdict) -> None:
        """Answer every member with its part."""
        for member, part in zip(self.members, split(verdict, [member.batch for member in self.members]), strict=True):
            if not member.answer.done():
                member.answer.set_result(part)

    def fail(self, error: BaseException) -> None:
        """Answer every member with the error."""
        for member in self.members:
            if member.answer.done():
                continue
            if isinstance(error, asyncio.CancelledError):
                member.answer.cancel()
            else:
                member.answer.set_exception(error)


def split(verdict: Verdict, batches: list[Batch]) -> list[Verdict]:
    """The verdict of a merged batch as one for each of its parts. ``last_seq``, ``fence`` and ``status`` are the run's
    after the whole call."""
    if len(batches) == 1:
        return [verdict]
    parts: list[Verdict] = []
    start = 0
    for batch in batches:
        facts = verdict.facts[start : start + len(batch.events)]
        start += len(batch.events)
        landed = {fact.seq for fact in facts if fact.outcome is FactOutcome.landed}
        good = any(fact.outcome in (FactOutcome.landed, FactOutcome.already) for fact in facts)
        events = tuple(event for event in verdict.events if event.seq in landed)
        outcome = Outcome.ok if good else Outcome.refused
        parts.append(msgspec.structs.replace(verdict, outcome=outcome, events=events, facts=facts))
    assert start == len(verdict.facts), f"{len(verdict.facts)} verdicts for {start} facts"
    return parts
