"""Findings about relatives are told if both looks have them; the second is only for the suspicious."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from fencepost.audit.kin import kin_findings, stray_findings
from fencepost_store.inspection import Disagreement, Owner


class Looks:
    """What each look finds, in order."""

    def __init__(self, *looks: list[Disagreement]) -> None:
        self.looks = list(looks)
        self.asked: list[tuple[list[str], int]] = []

    async def kin(self, run_ids: list[str], older: int) -> list[Disagreement]:
        self.asked.append((list(run_ids), older))
        return self.looks.pop(0)


def told(looks: Looks) -> tuple[list[tuple[str | None, str, str]], int]:
    """What is found, and how many pauses it took."""
    pauses: list[None] = []

    async def again() -> None:
        pauses.append(None)

    found = asyncio.run(kin_findings(cast(Any, looks), ["a", "b", "c"], 60.0, again))
    return [(finding.run, finding.code, finding.subject) for finding in found], len(pauses)


def test_only_what_two_looks_have_is_told() -> None:
    """Under way at the first look and done at the second, or the other way round: no finding."""
    lasting = Disagreement("a", "child_missing", "leaf#1", "there is no run of it")
    gone = Disagreement("a", "child_missing", "leaf#2", "there is no run of it")
    other = Disagreement("c", "end_not_told", "leaf#1", "its parent is open")
    new = Disagreement("c", "end_not_told", "leaf#2", "its parent is open")
    looks = Looks([lasting, gone, other], [lasting, new])
    assert told(looks) == ([("a", "child_missing", "leaf#1")], 1)
    assert looks.asked == [(["a", "b", "c"], 60_000_000), (["a", "c"], 60_000_000)]


def test_where_nothing_is_found_nobody_waits() -> None:
    looks = Looks([])
    assert told(looks) == ([], 0)
    assert len(looks.asked) == 1


def test_owners_of_stray_rows_are_read_page_by_page() -> None:
    """From where the page before has ended, until there is no more."""
    pages = {None: [Owner("a", False), Owner("b", True)], "b": [Owner("c", True)]}
    asked: list[tuple[str, str | None]] = []

    class Tables:
        async def owners(self, table: str, after: str | None, limit: int) -> list[Owner]:
            asked.append((table, after))
            return pages.get(after, []) if table == "streams" else []

    async def main() -> list[tuple[str | None, str]]:
        return [(each.run, each.subject) async for each in stray_findings(cast(Any, Tables()))]

    assert asyncio.run(main()) == [("b", "streams"), ("c", "streams")]
    assert asked == [
        ("heartbeats", None),
        ("streams", None),
        ("streams", "b"),
        ("streams", "c"),
        ("run_attributes", None),
    ]
