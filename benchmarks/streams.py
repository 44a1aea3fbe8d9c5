"""Streams: how soon a reader has the first chunk, and how long all of it takes. No floor: the goals are times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks import stream_flows
from fencepost import Client

RESULT_SECONDS = 60.0
GROUP = "streams"


class StreamRow(msgspec.Struct, frozen=True):
    """One shape, in milliseconds. ``first``: from the client's start to the first chunk at its reader. ``total``: to
    the run's result, all verified. ``delays``: from writing a chunk to its reader, where chunks are apart.
    """

    case: str
    rounds: int
    first_p50: float
    total_p50: float
    total_max: float
    ideal: float
    goal: float
    met: bool
    delay_p50: float | None = None
    delay_p99: float | None = None
    delay_first: float | None = None


class Played(msgspec.Struct, frozen=True):
    """One run, in nanoseconds of the monotonic clock."""

    started: int
    first: int
    ended: int
    delays: tuple[int, ...] = ()


class StreamCase(msgspec.Struct, frozen=True):
    """One shape. ``ideal``: what its bodies wait for, ``goal``: total, both in milliseconds."""

    name: str
    play: Callable[[Client], Awaitable[Played]]
    ideal: float
    goal: float


async def loud(client: Client) -> Played:
    """50 small chunks 10 ms apart, through an upper-casing step, to the client."""
    count = 50
    started = time.monotonic_ns()
    run = await client.start(stream_flows.loud, count, 0.01)
    arrived: list[int] = []
    delays: list[int] = []
    async for chunk in run.stream("loud", bytes):
        now = time.monotonic_ns()
        arrived.append(now)
        delays.append(now - int(chunk[-20:]))
        if chunk[20:-20] != stream_flows.WORDS.upper():
            raise ValueError(f"chunk {len(arrived)} is not what was spoken, in capitals")
    if len(arrived) != count:
        raise ValueError(f"{len(arrived)} chunks, {count} were spoken")
    await run.result(RESULT_SECONDS)
    return Played(started, arrived[0], time.monotonic_ns(), tuple(delays))


async def pipeline(client: Client) -> Played:
    """One megabyte through five transforming steps, to the client."""
    length = 5
    started = time.monotonic_ns()
    run = await client.start(stream_flows.pipeline, length)
    key = 0
    for number in range(length):
        key ^= number + 1
    first = 0
    count = 0
    async for data in run.stream(f"s{length}", bytes):
        first = first or time.monotonic_ns()
        stream_flows.verified(data, count, key)
        count += 1
    if count != stream_flows.BLOCKS:
        raise ValueError(f"{count} blocks, {stream_flows.BLOCKS} were generated")
    await run.result(RESULT_SECONDS)
    return Played(started, first, time.monotonic_ns())


async def parallel(client: Client) -> Played:
    """Ten megabytes, read by one step."""
    started = time.monotonic_ns()
    run = await client.start(stream_flows.parallel, 10)
    first = await run.result(RESULT_SECONDS)
    return Played(started, first, time.monotonic_ns())


async def fan(client: Client) -> Played:
    """Ten megabytes, ten transforming steps, read by one."""
    started = time.monotonic_ns()
    run = await client.start(stream_flows.fan, 10)
    first = await run.result(RESULT_SECONDS)
    return Played(started, first, time.monotonic_ns())


STREAM_CASES = (
    StreamCase("stream upper 50", loud, 490.0, 600.0),
    StreamCase("stream pipeline 5", pipeline, 0.0, 500.0),
    StreamCase("stream parallel 10", parallel, 0.0, 300.0),
    StreamCase("stream fan 10", fan, 0.0, 600.0),
)


def chosen_streams(names: list[str], *, quick: bool) -> tuple[list[StreamCase], list[str]]:
    """The shapes that are named, by group or by name, and the names that are none of theirs; none named: all."""
    if not names:
        return ([] if quick else list(STREAM_CASES)), []
    found = [case for case in STREAM_CASES if case.name in names or GROUP in names]
    known = {GROUP, *(case.name for case in STREAM_CASES)}
    return found, [name for name in names if name not in known]


async def measure_streams(client: Client, case: StreamCase, rounds: int) -> StreamRow:
    """One round in advance is thrown away."""
    await case.play(client)
    played = [await case.play(client) for _ in range(rounds)]
    totals = [(one.ended - one.started) / 1e6 for one in played]
    delays = sorted(delay / 1e6 for one in played for delay in one.delays)
    total = statistics.median(totals)
    return StreamRow(
        case=case.name,
        rounds=rounds,
        first_p50=statistics.median((one.first - one.started) / 1e6 for one in played),
        total_p50=total,
        total_max=max(totals),
        ideal=case.ideal,
        goal=case.goal,
        met=total <= case.goal,
        delay_p50=delays[len(delays) // 2] if delays else None,
        delay_p99=delays[min(len(delays) - 1, int(0.99 * len(delays)))] if delays else None,
        delay_first=statistics.median(one.delays[0] / 1e6 for one in played) if delays else None,
    )


STREAM_COLUMNS = (
    ("case", 20), ("first ms", 10), ("total ms", 10), ("max ms", 10), ("ideal", 8), ("goal", 12),
    ("delay p50", 11), ("delay p99", 11), ("delay of first", 16),
)  # fmt: skip


def stream_header() -> str:
    """The table's first line."""
    names = enumerate(STREAM_COLUMNS)
    return "".join(name.ljust(width) if number == 0 else name.rjust(width) for number, (name, width) in names)


def stream_line(row: StreamRow) -> str:
    """One row."""
    delays = ["" if delay is None else f"{delay:.1f}" for delay in (row.delay_p50, row.delay_p99, row.delay_first)]
    cells = (
        row.case, f"{row.first_p50:.1f}", f"{row.total_p50:.0f}", f"{row.total_max:.0f}", f"{row.ideal:.0f}",
        f"<= {row.goal:.0f} {'ok' if row.met else 'NO'}", *delays,
    )  # fmt: skip
    return "".join(
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, (_, width)) in enumerate(zip(cells, STREAM_COLUMNS, strict=True))
    )
