"""H157: the standard library's clocks and chance inside workflow code are the workflow's, the same in every replay."""

# ruff: noqa: DTZ002, DTZ003, DTZ005, DTZ011, PLW0108  # the naive clocks are under test, and looked up at each call

from __future__ import annotations

import asyncio
import datetime
import functools
import logging
import os
import random
import secrets
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable
from datetime import datetime as dt
from random import choice, gauss
from random import random as draw
from time import monotonic, perf_counter
from time import time as now

import pytest
from replay_world import START, Bench, W, completed, opened

from fencepost import payload_codecs
from fencepost.replay.ambient_time import CALENDAR, CLOCKS
from fencepost.replay.limits import WorkflowRestriction

UTC = datetime.UTC
SECOND = START // 1_000_000


def _generator_without_a_seed() -> float:
    return random.Random().random()


def _shuffled() -> list[int]:
    numbers = list(range(20))
    random.shuffle(numbers)
    return numbers


def _seeded() -> float:
    random.seed(7)
    state = random.getstate()
    first = random.random()
    random.setstate(state)
    assert random.random() == first
    return first


CHANCE: dict[str, Callable[[], object]] = {
    "random": lambda: random.random(),
    "getrandbits": lambda: random.getrandbits(64),
    "uniform": lambda: random.uniform(0, 1),
    "randint": lambda: random.randint(0, 10**9),
    "randbytes": lambda: random.randbytes(8),
    "gauss": lambda: random.gauss(0, 1),
    "normalvariate": lambda: random.normalvariate(0, 1),
    "expovariate": lambda: random.expovariate(1),
    "betavariate": lambda: random.betavariate(1, 2),
    "sample": lambda: random.sample(range(1000), 5),
    "choices": lambda: random.choices(range(1000), k=5),
    "shuffle": _shuffled,
    "taken earlier: random": lambda: draw(),
    "taken earlier: choice": lambda: choice(range(10**9)),
    "taken earlier: gauss": lambda: gauss(0, 1),
    "a method that is held": functools.partial(random.uniform, 0, 1),
    "Random()": _generator_without_a_seed,
    "SystemRandom": lambda: random.SystemRandom().randrange(10**9),
    "urandom": lambda: os.urandom(16),
    "token_hex": lambda: secrets.token_hex(16),
    "randbelow": lambda: secrets.randbelow(10**9),
    "uuid4": lambda: uuid.uuid4(),
}


def observed(look: Callable[[], object]) -> list[object]:
    """What a run sees before a step, after it, and in another task."""
    found: list[object] = []

    async def flow(w: W) -> object:
        async def other() -> object:
            return look()

        found.append(look())
        await w.step("a")
        found.append(look())
        found.append(await asyncio.create_task(other()))
        return None

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    with opened(flow) as replayed:
        live = found[:]
        found.clear()
        replayed.deliver(bench.log.events)
        assert found == live
    return found


@pytest.mark.parametrize("name", sorted(CHANCE))
def test_h157_chance_is_drawn_from_the_run(name: str) -> None:
    """Equal in a replay, different in each draw and each task; outside a workflow it is real chance."""
    look = CHANCE[name]
    found = observed(look)
    assert len({repr(each) for each in found}) == 3
    assert repr(look()) not in {repr(each) for each in found}


def test_h157_a_seed_holds_within_a_task() -> None:
    """And a state that is put back."""
    before = random.getstate()
    assert len({repr(each) for each in observed(_seeded)}) == 1
    assert random.getstate() == before


def test_h157_another_task_that_draws_changes_nothing_here() -> None:
    """A draw more in one task of a new build does not renumber another's."""

    def drawn(more: int) -> object:
        async def flow(w: W) -> object:
            async def other() -> None:
                for _ in range(more):
                    random.random()

            await asyncio.gather(other(), other())
            return random.random()

        return Bench(flow).output()

    assert drawn(0) == drawn(5)


CLOCKS_AT = {
    "time": lambda: time.time(),
    "now": lambda: now(),
    "monotonic": lambda: monotonic(),
    "perf_counter": lambda: perf_counter(),
    "time_ns": lambda: time.time_ns() / 1e9,
    "monotonic_ns": lambda: time.monotonic_ns() / 1e9,
    "process_time": lambda: time.process_time(),
    "clock_gettime": lambda: time.clock_gettime(time.CLOCK_REALTIME),
    "datetime": lambda: datetime.datetime.now().timestamp(),
    "datetime_utc": lambda: dt.now(UTC).timestamp(),
    "datetime_keyword": lambda: dt.now(tz=UTC).timestamp(),
    "utcnow": lambda: dt.utcnow().replace(tzinfo=UTC).timestamp(),  # pyright: ignore[reportDeprecated]
    "today": lambda: dt.today().timestamp(),
    "subclass": lambda: _Instant.now(UTC).timestamp(),
    "localtime": lambda: time.mktime(time.localtime()),
    "localtime_none": lambda: time.mktime(time.localtime(None)),
    "gmtime": lambda: float(__import__("calendar").timegm(time.gmtime())),
    "ctime": lambda: time.mktime(time.strptime(time.ctime())),
    "asctime": lambda: time.mktime(time.strptime(time.asctime())),
    "strftime": lambda: time.mktime(time.strptime(time.strftime("%Y-%m-%d %H:%M:%S"), "%Y-%m-%d %H:%M:%S")),
}


class _Instant(datetime.datetime):
    """A library's own."""


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")
@pytest.mark.parametrize("name", sorted(CLOCKS_AT))
def test_h157_clocks_show_workflow_time(name: str) -> None:
    """That of the event that woke the code, before and after a step; outside a workflow they show real time."""
    look = CLOCKS_AT[name]
    first, second, third = (float(each) for each in observed(look))  # type: ignore[arg-type]
    assert abs(first - START / 1e6) < 1
    assert 0 <= second - first < 1
    assert third == second
    assert look() > 0
    if name not in ("monotonic", "perf_counter", "monotonic_ns", "process_time"):
        assert look() > first + 1e6


def test_h157_clocks_move_with_the_log_and_are_exact() -> None:
    """To the microsecond, and together."""

    async def flow(w: W) -> object:
        await asyncio.sleep(100)
        exact = dt.now(UTC) - dt(1970, 1, 1, tzinfo=UTC)
        assert monotonic() == time.perf_counter() == asyncio.get_running_loop().time()
        assert datetime.date.today() == dt.now().date()
        return [exact // datetime.timedelta(microseconds=1), time.time_ns() // 1000, w.now()]

    bench = Bench(flow)
    bench.turn()
    bench.log.now += 100_000_000
    bench.live.fire_due(bench.log.now)
    exact, nanos, mine = bench.output()
    assert exact == nanos == mine == bench.log.now


def test_h157_every_function_of_time_is_either_told_or_harmless() -> None:
    """A new one is seen here."""
    harmless = {"sleep", "mktime", "strptime", "get_clock_info", "tzset", "clock_getres", "clock_settime",
                "clock_settime_ns", "pthread_getcpuclockid"}  # fmt: skip
    functions = {name for name, each in vars(time).items() if callable(each) and not isinstance(each, type)}
    assert {name for name in functions if not name.startswith("_")} <= {*CLOCKS, *CALENDAR, *harmless}


def test_h157_every_function_of_random_is_tried() -> None:
    """Each is a method of the hidden generator, or made of one."""
    methods = {name for name, each in vars(random).items() if isinstance(each, types.MethodType)}
    assert {getattr(random, name).__self__ for name in methods} == {random.random.__self__}  # type: ignore[attr-defined]  # pyright: ignore


def test_h157_other_threads_and_loops_have_real_time_and_chance() -> None:
    """While a workflow runs in this thread."""
    seen: list[float] = []

    async def flow(w: W) -> object:
        thread = threading.Thread(target=lambda: seen.extend((time.time(), random.random(), random.random())))
        thread.start()
        thread.join()
        return None

    Bench(flow)
    first = seen[:]
    Bench(flow)
    assert all(abs(each - time.time()) < 1000 for each in (seen[0], seen[3]))
    assert seen[4:] != first[1:]

    async def step_body() -> tuple[float, float]:
        return time.time(), time.monotonic()

    assert asyncio.run(step_body())[0] > SECOND + 1e6


def test_h157_log_records_of_workflow_code_are_dated_in_real_time(caplog: pytest.LogCaptureFixture) -> None:
    """A log line says when it was written."""

    async def flow(w: W) -> object:
        logging.getLogger("mine").warning("hello")
        return None

    Bench(flow)
    record = next(each for each in caplog.records if each.name == "mine")
    assert abs(record.created - time.time()) < 1000


def test_h157_a_codec_of_the_users_draws_from_the_system() -> None:
    """The same nonce for two values under one key gives both away."""
    drawn: list[bytes] = []

    class Own:
        name = "own"

        def encode(self, data: bytes, /) -> bytes:
            drawn.append(os.urandom(12))
            return data

        def decode(self, data: bytes, /) -> bytes:
            return data

    codecs = payload_codecs.Codecs(("own",), own={"own": Own()})

    async def flow(w: W) -> object:
        codecs.coded(b"value")
        return None

    Bench(flow)
    Bench(flow)
    assert len(set(drawn)) == 2


def test_h157_a_uuid_of_this_machine_is_refused() -> None:
    """It holds a clock and an address, and is made in C."""

    async def flow(w: W) -> object:
        with pytest.raises(WorkflowRestriction, match="uuid4"):
            uuid.uuid1()
        return None

    assert Bench(flow).asked() == ["run_completed"]
    assert uuid.uuid1().version == 1


def test_h157_a_retry_with_a_limit_of_time_and_jitter_is_the_same_in_a_replay() -> None:
    """As tenacity and backoff write it."""

    async def flow(w: W) -> object:
        begun, waits = time.monotonic(), []
        while time.monotonic() - begun < 60:
            waits.append(random.uniform(1, 20))
            await asyncio.sleep(waits[-1])
        return waits

    bench = Bench(flow)
    while not bench.live.ended:
        bench.turn()
        bench.log.now = max(bench.log.now, min(bench.live.work.waits.values()))
        bench.live.fire_due(bench.log.now)
        bench.turn()
    with opened(flow) as replayed:
        replayed.deliver(bench.log.events)
        assert replayed.work.ended is not None
    assert len(bench.log.events) > 8


def test_what_a_module_has_taken_earlier_is_replaced() -> None:
    """``from time import monotonic`` before the first workflow of the process ran."""
    assert monotonic is time.monotonic
    assert draw is random.random
    assert sys.modules["secrets"]._sysrand is secrets._sysrand  # type: ignore[attr-defined]  # pyright: ignore
