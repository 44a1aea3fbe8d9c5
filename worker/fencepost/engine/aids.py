"""What a worker lends to a step's body for one attempt: its context, its heartbeats' way to the store, its
transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fencepost import payload_codecs
from fencepost.authoring.context import Abandoned, StepContext
from fencepost.authoring.step import Step
from fencepost.engine.joining import Joining
from fencepost.engine.patience import Patience
from fencepost.engine.ports import Ports
from fencepost.engine.pulse import Pulse, Write
from fencepost.engine.streams import AttemptStreams
from fencepost.errors import TransactionMisuse
from fencepost_store.protocol import StoreTrouble

if TYPE_CHECKING:
    from fencepost.engine.bodies import Attempt

CENTURIES = 1e10
"""Seconds. What is later than that no datetime can say, and nobody waits for."""


@dataclass(slots=True, eq=False)
class Aids:
    """``queue``: of the step's message. ``now``: the database clock at the attempt's begin, microseconds.
    ``made``: the same, monotonic. ``write``: keeps details in the store. ``streams``: what it writes there.
    ``joining``: the body's transaction. ``raised``: what the attempt has failed with, until that is logged.
    """

    ports: Ports
    queue: str
    now: int
    write: Write
    write_seconds: float
    streams: AttemptStreams | None = None
    joining: Joining | None = None
    pulse: Pulse | None = None
    made: float = 0.0
    raised: BaseException | None = None

    def __post_init__(self) -> None:
        self.made = self.ports.monotonic()

    def context(self, step: Step[..., Any], attempt: Attempt, patience: Patience) -> StepContext:
        """The attempt's context. What needs this process is not for a body in another one."""
        here = step.mode != "process"
        abandoned = Abandoned()

        def zombie() -> None:
            abandoned.raised = True

        if here:
            self.pulse = Pulse(self.ports, patience, self.write, zombie, self.write_seconds)
        return StepContext(
            run_id=attempt.run_id,
            step_id=attempt.entity,
            workflow=attempt.workflow,
            attempt=attempt.number,
            abandoned=abandoned,
            queue=self.queue,
            deadline=self.deadline(patience),
            pulse=self.pulse,
            previous=attempt.previous,
            transactions=self.joining if step.mode == "async" else None,
            streams=self.streams if here else None,
            codecs=payload_codecs.current() if here else None,
        )

    def deadline(self, patience: Patience) -> datetime | None:
        """When the attempt's time is over, for a body that begins now."""
        left = patience.left()
        if left is None:
            return None
        began = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.now)
        waited = self.ports.monotonic() - self.made
        return began + timedelta(seconds=min(waited + left, CENTURIES))

    async def seal(self) -> None:
        """The body has returned and its result is encoded."""
        if self.joining is not None:
            await self.joining.seal()

    def trouble(self) -> StoreTrouble | None:
        """Why the body could not have its transaction or its stream: no failure of its own, whatever it made of it."""
        lost = None if self.streams is None else self.streams.trouble
        return lost if self.joining is None or lost is not None else self.joining.trouble

    def misuse(self) -> TransactionMisuse | None:
        """What the body did to its transaction that no retry may repeat, whatever it made of that."""
        return None if self.joining is None else self.joining.misuse

    async def close(self) -> None:
        """The attempt is over and dealt with."""
        if self.streams is not None:
            self.streams.stop()
        if self.joining is not None:
            self.joining.close()
        if self.pulse is not None:
            await self.pulse.close()
