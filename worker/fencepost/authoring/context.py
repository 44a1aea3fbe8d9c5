"""What a step's body can know about itself."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from fencepost.errors import NotInWorkflow


class Abandoned:
    """A flag that is raised once, from any thread: nobody waits for the attempt's result any more."""

    __slots__ = ("raised",)

    def __init__(self) -> None:
        self.raised: bool = False


@dataclass(frozen=True, slots=True)
class StepContext:
    """The attempt that is running. ``attempt`` counts starts of the body: 1, 2, ..."""

    run_id: str
    step_id: str
    workflow: str
    attempt: int
    abandoned: Abandoned = field(default_factory=Abandoned, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for this attempt's result any more: its run was cancelled or has ended, the workflow
        gave the step up, its timeout is over, or the worker has lost it. A ``def`` body runs in a thread that nothing
        can stop: look here between two pieces of work, and return. An ``async def`` body gets a CancelledError where it
        waits, a ``process=True`` body's process is killed.
        """
        return self.abandoned.raised

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step, and for no other step: hand it to services that can recognise a
        repeated request.
        """
        return f"{self.run_id}:{self.step_id}"


_context: ContextVar[StepContext | None] = ContextVar("fencepost_step", default=None)


def current() -> StepContext:
    """The running step's context, in its body, in tasks it starts and in threads started by asyncio.to_thread.

    Raises NotInWorkflow elsewhere.
    """
    found = _context.get()
    if found is None:
        raise NotInWorkflow(
            "current() is for the body of a step that runs for a workflow: "
            "in a workflow or a test there is none (fencepost.authoring.context.use_step_context sets one)"
        )
    return found


@contextmanager
def use_step_context(context: StepContext) -> Generator[StepContext]:
    """Make the context current inside the block: for executors, and for tests of step bodies."""
    token = _context.set(context)
    try:
        yield context
    finally:
        _context.reset(token)
