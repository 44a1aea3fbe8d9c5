"""Random writes and reads of streams through the reference model and through Postgres: every answer and the whole state
after each must be the same.

The seed is printed with every failure; set FENCEPOST_SEED to run another. The test fails too if an operation or an
outcome never occurred.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import pytest
from worlds import GRACE, SECOND, E, World, memory_world, new_run_id

from fencepost_store.admission import Unstorable
from fencepost_store.events import NewEvent
from fencepost_store.protocol import Batch, NewRun, StoreTrouble
from fencepost_store.streams import StreamOutcome, StreamVerdict, StreamWrite

STEPS = 300
STEPS_MAX = 4_000
NAMES = ("s", "t")
WRITERS = ("w#1", "v#1")


class Pair:
    """Both stores, the runs under way, and what has occurred."""

    def __init__(self, model: World, real: World, seed: int) -> None:
        self.worlds = (model, real)
        self.random = random.Random(seed)
        self.runs: list[str] = []
        self.attempts: dict[tuple[str, str], int] = {}
        self.sent: Counter[tuple[str, str, str, int]] = Counter()
        self.seen: Counter[str] = Counter()

    async def both(self, method: str, *args: Any, **more: Any) -> Any:
        """Call a method of both stores, compare what comes back, and return it."""
        answers: list[Any] = []
        for world in self.worlds:
            try:
                answers.append(await getattr(world.store, method)(*args, **more))
            except (Unstorable, StoreTrouble) as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1], f"{method}{args}"
        return answers[0]

    async def fact(self, run_id: str, *events: NewEvent, fence: int | None = None) -> None:
        """Land events in both."""
        await self.both("append", [Batch(run_id, fence, events, grace=GRACE)])

    async def compare(self, run_id: str) -> None:
        """All that can be read of the run's streams."""
        await self.both("list_streams", run_id)
        for name in NAMES:
            for start in (0, self.random.randrange(-9, 9)):
                limit, size = self.random.choice((1, 3, 1000)), self.random.choice((1, 40, 10**6))
                found = await self.both("read_stream", run_id, name, start, limit=limit, bytes_max=size)
                if found is not None and len(found.chunks) < found.tail - found.start:
                    self.seen["a part"] += 1


async def start(pair: Pair) -> None:
    """A run with two steps, one of them started."""
    run_id = new_run_id()
    await pair.both("start", NewRun(run_id, "flow", "q", b"\x01in", GRACE))
    created = tuple(NewEvent(E.step_created, writer) for writer in WRITERS)
    await pair.fact(run_id, NewEvent(E.run_started), *created, fence=1)
    pair.runs = [*pair.runs, run_id][-3:]
    await start_attempt(pair, run_id, WRITERS[0])


async def start_attempt(pair: Pair, run_id: str, writer: str) -> None:
    """The step's next attempt."""
    attempt = pair.attempts.get((run_id, writer), 0) + 1
    pair.attempts[run_id, writer] = attempt
    await pair.fact(run_id, NewEvent(E.step_started, writer, attempt=attempt, dedupe=f"d{attempt}"))


async def write(pair: Pair) -> None:
    """Any write: a sensible next one, one sent again, a zombie's, one with a gap."""
    draw = pair.random
    run_id = new_run_id() if draw.random() < 0.03 else draw.choice(pair.runs)
    name, writer = draw.choice(NAMES), draw.choice(WRITERS)
    attempt = max(0, pair.attempts.get((run_id, writer), 0) + draw.choice((0, 0, 0, 0, 0, -1, 1)))
    key = (run_id, name, writer, attempt)
    first = pair.sent[key] + draw.choice((0, 0, 0, 0, -1, -3, 1))
    chunks = tuple(draw.randbytes(draw.randrange(30)) for _ in range(draw.choice((0, 1, 1, 2, 5))))
    close = draw.random() < 0.08
    limit = draw.choice((1000, 1000, 1000, 60))
    answer = await pair.both(
        "write_stream", StreamWrite(run_id, name, writer, attempt, first, chunks, close, bytes_max=limit)
    )
    if isinstance(answer, StreamVerdict):
        pair.seen[answer.outcome.value] += 1
        if answer.outcome in (StreamOutcome.ok, StreamOutcome.full):
            again = bool(chunks) and first + len(chunks) <= pair.sent[key]
            pair.seen["sent again"] += again
            pair.sent[key] = max(pair.sent[key], answer.sent)
    else:
        pair.seen[answer[0].__name__] += 1


async def move_on(pair: Pair) -> None:
    """The log moves: another attempt, a step's end, the run's end, the clock."""
    draw = pair.random
    run_id, writer = draw.choice(pair.runs), draw.choice(WRITERS)
    match draw.choice((0, 0, 0, 1, 2, 3, 3)):
        case 0:
            await start_attempt(pair, run_id, writer)
        case 1:
            attempt = max(1, pair.attempts.get((run_id, writer), 0))
            await pair.fact(run_id, NewEvent(E.step_completed, writer, attempt=attempt))
        case 2:
            await pair.fact(run_id, NewEvent(E.run_terminated))
            await start(pair)
        case _:
            for world in pair.worlds:
                await world.advance(SECOND)


@pytest.mark.parametrize("fixed", [1, 2, None])
async def test_model_and_postgres_agree_on_streams(postgres_world: World, fixed: int | None) -> None:
    seed = int(os.environ.get("FENCEPOST_SEED", fixed or random.SystemRandom().getrandbits(32)))
    print(f"FENCEPOST_SEED={seed}")  # shown with every failure
    pair = Pair(memory_world(), postgres_world, seed)
    await start(pair)
    wanted = {outcome.value for outcome in StreamOutcome}
    wanted |= {"sent again", "a part", "ChunksLost", "Unstorable"}
    for number in range(STEPS_MAX):
        await pair.random.choices((write, move_on, start), (20, 3, 0.3))[0](pair)
        await pair.compare(pair.random.choice(pair.runs))
        if number >= STEPS and not wanted - set(pair.seen):
            return
    raise AssertionError(f"seed {seed} never saw {wanted - set(pair.seen)}")
