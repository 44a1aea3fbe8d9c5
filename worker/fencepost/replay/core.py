"""What the parts of a live run share: its state, workflow time, coming to rest, and the check of the log against the
code.

The parts are ``facts.py`` and ``decisions.py`` (what each event does), and ``instance.py`` (what the engine calls).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fencepost import payload_codecs
from fencepost.replay import asyncio_patches, handover
from fencepost.replay.asking import RETURNED, AskingFace
from fencepost.replay.asks import Ask, fingerprint_in, same_call, same_code_other_arguments, same_name
from fencepost.replay.children import ChildLink
from fencepost.replay.divergence import changed_call, diverged
from fencepost.replay.endings import ending_of
from fencepost.replay.fold import OpenWork
from fencepost.replay.glances import CREATIONS
from fencepost.replay.hooks import Channel
from fencepost.replay.interface import Program, ReplayDivergence
from fencepost.replay.tasks import WorkflowTask
from fencepost_store.events import Event, NewEvent

CHANGED_MAX = 100
"""How many entities with changed arguments are remembered: enough to tell a deploy from an accident."""


@dataclass(slots=True)
class Inherited:
    """A token that the run before has handed over, until the run opens a hook of it; with its payloads."""

    token: str
    events: list[Event] = field(default_factory=list[Event])


class Core(AskingFace):
    """The state of one live run. ``drain_limit``: callbacks that one event may lead to (ReplayLimit). ``builds``: which
    starters by name have meant this very code.
    """

    def __init__(
        self,
        run_id: str,
        program: Program,
        *,
        queue: str = "default",
        drain_limit: int = 100_000,
        builds: frozenset[str] = frozenset(),
    ) -> None:
        asyncio_patches.install()
        super().__init__(run_id, program, drain_limit)
        self.codecs: payload_codecs.Codecs = payload_codecs.current()
        self.work: OpenWork = OpenWork()
        self.queue = queue
        self.builds = builds
        self.changed_arguments: list[str] = []
        self.first_change: ReplayDivergence | None = None
        self.abandoned: list[str] = []
        self._usable = True
        self._cancelled_for: str | None = None  # the first request's reason, once there is one
        self._root: WorkflowTask | None = None
        self._ending: NewEvent | None = None
        self._anticipated: deque[NewEvent] = deque()
        self._due: list[tuple[int, int, Ask]] = []
        self._due_count = 0
        self._news: deque[tuple[Ask | None, Channel, Event]] = deque()
        self._inherited: dict[str, Inherited] = {}

    def _drive(self, action: Callable[..., None], *args: object) -> None:
        self._refuse_unusable()
        self._usable = False  # until the call has gone through
        self.codecs = payload_codecs.current()
        self.loop.within(action, *args)
        self._usable = True

    def _refuse_unusable(self) -> None:
        if not self._usable:
            raise RuntimeError(f"run {self._run_id}: this instance has failed or was evicted")

    def _advance(self, at: int, seconds: float = 0.0) -> None:
        if at > self._now:
            self._now = at
        self.loop.seconds = max(self.loop.seconds, self._now / 1e6, seconds)

    def _rest(self) -> None:
        self.loop.drain()
        if self._lack is not None:
            raise self._lack
        if self._closed == RETURNED and self._ending is None:
            self._finish()

    def _returned(self, root: asyncio.Task[bytes]) -> None:
        """The workflow's function is over: leftover tasks are cancelled, and may ask for nothing more."""
        if self._closed:
            return
        self._closed = RETURNED
        for task in self.loop.live_tasks():
            task.cancel()

    def _finish(self) -> None:
        assert self._root is not None
        for ask in self._outstanding:
            if ask.type in CREATIONS and not (isinstance(ask.owner, ChildLink) and ask.owner.kept):
                ask.dropped = True  # nobody is left to await it
                self.unborn.add(ask.token or "")
                self._open.pop(ask.entity).finish()
        self._ending = ending_of(self, self._root, self._program, cancelled_for=self._cancelled_for)
        handover.at_the_end(self)

    @property
    def raised(self) -> BaseException | None:
        """What the code has ended in, if that is an error."""
        root = self._root
        return None if root is None or not root.done() or root.cancelled() else root.exception()

    def _landed(self, event: Event) -> bool:
        """True if this is the landed copy of the first anticipated event, which is then forgotten."""
        if not self._anticipated:
            return False
        first = self._anticipated[0]
        if (first.type, first.entity, first.at) != (event.type, event.entity, event.at):
            raise self._overtaken(event)
        self._anticipated.popleft()
        return True

    def _overtaken(self, event: Event) -> RuntimeError:
        first = self._anticipated[0]
        return RuntimeError(
            f"run {self._run_id}: seq {event.seq} is {event.type.name} {event.entity} at {event.at}, but "
            f"{first.type.name} {first.entity} at {first.at} was anticipated; after a conflict, drop the instance"
        )

    def _expect(self, event: Event) -> Ask:
        ask = self._outstanding.first()
        if ask is None or ask.type is not event.type or ask.entity != event.entity:
            raise self._diverged(event)
        return ask

    def _compare(self, event: Event, ask: Ask) -> None:
        if not same_name(ask, event):
            raise self._diverged(event)
        writer = fingerprint_in(event)
        if writer is not None:
            self._writers[event.entity, 0] = writer
        if same_call(ask, event):
            return  # encrypted anew, or called by other code: other bytes, the same arguments
        if len(self.changed_arguments) < CHANGED_MAX:
            if self.first_change is None and same_code_other_arguments(ask, event):
                self.first_change = changed_call(event, ask)
            self.changed_arguments.append(event.entity)

    def _diverged(self, event: Event) -> ReplayDivergence:
        waiting = None if self._root is None or self._root.done() else self._root.get_coro()
        return diverged(event, self._outstanding.first(), waiting, self._ending)


Handler = Callable[[Core, Event], None]
"""What an event does to a live run."""
