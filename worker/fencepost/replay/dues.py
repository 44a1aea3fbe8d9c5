"""Due times of what is open, so that the first one is known without a look at all of them. Pure.

A heap with entries that are out of date: what is dropped or set anew leaves its old entry, which is passed over when it
comes to the top. The heap is made anew once most of it is out of date, so it is never much larger than what is open.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection

SLACK = 64
"""Entries out of date that are always put up with."""


class Dues:
    """Entities with their due times (microseconds) in two heaps: those up to a horizon that only moves on, and the
    rest."""

    __slots__ = ("_at", "_far", "_near")

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._near: list[tuple[int, str]] = []
        self._far: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._at)

    def set(self, entity: str, due: int | None) -> None:
        """The entity is due then; None: never."""
        if due is None:
            self._at.pop(entity, None)
            return
        self._at[entity] = due
        heapq.heappush(self._far, (due, entity))
        if len(self._far) + len(self._near) > 2 * len(self._at) + SLACK:
            self._near = []
            self._far = [(at, one) for one, at in self._at.items()]
            heapq.heapify(self._far)

    def drop(self, entity: str) -> None:
        """It is not open any more."""
        self._at.pop(entity, None)

    def first(self, without: Collection[str] = ()) -> int | None:
        """The earliest due time of all but ``without``."""
        found = [due for heap in (self._near, self._far) if (due := self._top(heap, without)) is not None]
        return min(found, default=None)

    def firsts(self, horizon: int, without: Collection[str] = ()) -> list[int]:
        """The earliest due time up to the horizon, and the earliest beyond it; one or none of them if there is none.
        A horizon that goes back is taken for the furthest so far.
        """
        far = self._far
        while far and far[0][0] <= horizon:
            heapq.heappush(self._near, heapq.heappop(far))
        return [due for heap in (self._near, far) if (due := self._top(heap, without)) is not None]

    def _top(self, heap: list[tuple[int, str]], without: Collection[str]) -> int | None:
        passed: list[tuple[int, str]] = []
        found: int | None = None
        while heap:
            due, entity = heap[0]
            if self._at.get(entity) != due:
                heapq.heappop(heap)
            elif entity in without:
                passed.append(heapq.heappop(heap))
            else:
                found = due
                break
        for one in passed:
            heapq.heappush(heap, one)
        return found
