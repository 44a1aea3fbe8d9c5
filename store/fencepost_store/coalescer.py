"""Turns many small appends into few large ones: whatever waits while the last commit is under way goes out together.

No timer is involved: an append that meets an idle coalescer goes at once. A call never holds two batches of one run,
and batches of one run go in the order in which they came, one after the other. Facts of one run that wait together are
merged into one batch and their verdicts taken apart again. What a call could not write because somebody else held the
run's row, and every member of a call that was rolled back as a whole, is appended singly, where it may wait or fail
alone (H17). No call waits for a row: whoever does is not among those under way (H224).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from fencepost_store.admission import Unstorable, admit
from fencepost_store.merging import Group, Waiting
from fencepost_store.protocol import Batch, Outcome, Store, StoreTrouble, Verdict
from fencepost_store.trouble import RolledBack, RowHeld

MEMBERS_MAX = 256
"""Runs in one call: beyond it a call only grows its own latency."""

SINGLES_MAX = 16
"""Single appends under way beside the calls, so that members that wait for a lock do not pile up on the connections."""

WAITS_MAX = 60
"""How often the store waits for one row before the append fails: at half a second each as long as any call may take."""


class Coalescer:
    """Groups the appends of one process. ``in_flight`` calls at a time, each of at most ``bytes_max`` bytes unless one
    batch alone is larger.

    ``append`` raises what the store raises for that batch alone. Cancelling it abandons the answer, not the batch,
    which may land. ``spawn`` starts the tasks that carry the calls; no clock is used.
    """

    def __init__(
        self,
        store: Store,
        *,
        bytes_max: int = 262_144,
        in_flight: int = 2,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = asyncio.create_task,
    ) -> None:
        assert bytes_max > 0, f"bytes_max must be positive, not {bytes_max}"
        assert in_flight > 0, f"in_flight must be positive, not {in_flight}"
        self._store = store
        self._bytes_max = bytes_max
        self._in_flight = in_flight
        self._spawn = spawn
        self._waiting: deque[Waiting] = deque()
        self._runs_under_way: set[str] = set()
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._singles = asyncio.Semaphore(SINGLES_MAX)
        self._closed = False

    async def append(self, batch: Batch) -> Verdict:
        """Append one batch, together with what else is waiting. Raises Unstorable at once if it can never land."""
        admit(batch)
        if self._closed:
            raise StoreTrouble("the coalescer is closed, so nothing is appended any more")
        waiting = Waiting.of(batch, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._start_calls()
        return await waiting.answer

    async def close(self) -> None:
        """Refuse new appends and wait until those accepted are answered. Idempotent."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _start_calls(self) -> None:
        while self._waiting and self._calls < self._in_flight:
            groups = self._next_call()
            if not groups:
                return
            self._calls += 1
            self._runs_under_way.update(group.batch.run_id for group in groups)
            task = self._spawn(self._carry(groups))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)

    def _next_call(self) -> list[Group]:
        """Take the oldest waiting batches that may go together. What must wait keeps its place."""
        groups: dict[str, Group] = {}
        held_back: set[str] = set(self._runs_under_way)
        kept: deque[Waiting] = deque()
        size = 0
        full = False
        while self._waiting:
            waiting = self._waiting.popleft()
            run_id = waiting.batch.run_id
            full = full or (size > 0 and size + waiting.size > self._bytes_max)
            group = groups.get(run_id)
            fits = not full and run_id not in held_back
            if fits and group is not None and group.merges(waiting):
                group.add(waiting)
                size += waiting.size
            elif fits and group is None and len(groups) < MEMBERS_MAX:
                groups[run_id] = Group([waiting])
                size += waiting.size
            else:
                held_back.add(run_id)
                kept.append(waiting)
                if full:
                    break
        kept.extend(self._waiting)
        self._waiting = kept
        return list(groups.values())

    async def _carry(self, groups: list[Group]) -> None:
        """One call and what it leaves to be done singly."""
        left = groups
        try:
            left = await self._call(groups)
        finally:
            # Whatever ended the call, its slot is free now; the runs whose batches are not settled yet stay under way.
            self._calls -= 1
            done = {group.batch.run_id for group in groups} - {group.batch.run_id for group in left}
            self._runs_under_way -= done
            try:
                for group in left:
                    self._start_single(group)
            finally:
                self._start_calls()

    async def _call(self, groups: list[Group]) -> list[Group]:
        """Append the groups in one call; returns those that must be appended singly."""
        try:
            verdicts = await self._store.append([group.batch for group in groups], wait=False)
        except (RolledBack, Unstorable) as error:
            if len(groups) == 1 and len(groups[0].members) == 1:  # it has failed alone
                groups[0].fail(error)
                return []
            return groups
        except StoreTrouble as error:
            # It may have landed (H08). A decision that has landed and is sent again is answered as a conflict, and its
            # author would leave without doing what it owes. So the author is told what is known: trouble.
            for group in groups:
                group.fail(error)
            return []
        except BaseException as error:
            for group in groups:
                group.fail(error)
            raise
        busy: list[Group] = []
        for group, verdict in zip(groups, verdicts, strict=True):
            if verdict.outcome is Outcome.busy:
                busy.append(group)
            else:
                group.resolve(verdict)
        return busy

    def _start_single(self, group: Group) -> None:
        task = self._spawn(self._single(group))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _single(self, group: Group) -> None:
        try:
            await self._settle(group)
        finally:
            self._runs_under_way.discard(group.batch.run_id)
            self._start_calls()

    async def _settle(self, group: Group) -> None:
        """Append one group by itself and answer its waiters; a merged group that fails is taken apart, so that each
        fails for itself."""
        try:
            verdict = await append_alone(self._store, group.batch, self._singles)
        except RowHeld as error:  # taken apart they would wait for the same row
            group.fail(error)
            return
        except (RolledBack, Unstorable) as error:
            if len(group.members) == 1:
                group.fail(error)
                return
        except StoreTrouble as error:
            group.fail(error)
            return
        except BaseException as error:
            group.fail(error)
            raise
        else:
            group.resolve(verdict)
            return
        for member in group.members:
            await self._settle(Group([member]))


async def append_alone(store: Store, batch: Batch, turns: AbstractAsyncContextManager[object] | None = None) -> Verdict:
    """Append one batch, however long somebody else holds its run's row, up to WAITS_MAX waits of the store. ``turns``:
    entered anew for each, so that whoever waits for a row is behind those who have not had theirs yet. Raises what the
    store raises, and RowHeld."""
    for _ in range(WAITS_MAX):
        async with turns or nullcontext():
            (verdict,) = await store.append([batch])
        if verdict.outcome is not Outcome.busy:
            return verdict
    raise RowHeld(
        f"somebody's transaction holds the row of run {batch.run_id}, and did not let it go in time: look into"
        " pg_stat_activity for who is idle in transaction, or waits"
    )
