"""Chaos in its short form, and proof that its checks can fail."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.chaos.bookings import compared
from tests.chaos.chaos import Options, Row, chaos, lost
from tests.chaos.faults import Fault
from tests.chaos.outcome import Outcome, percentile, told, too_slow
from tests.ordeal.ground import ground
from tests.ordeal.verdict import Delay, Judgement

from fencepost_store.protocol import RunStatus

SECOND = 1_000_000
KINDS = ("kill", "flush", "postgres")


@pytest.mark.timeout(300)
async def test_a_little_chaos_is_survived() -> None:
    """A kill, FLUSHALL and an immediate shutdown of Postgres under a mixed load of producers, runs and signals. Every
    run ends with the right result, every accepted signal is consumed once (H44, H45, H62, H85, H103).
    """
    options = Options(
        minutes=5.0,
        seed=4,
        kinds=KINDS,
        target=14,
        least=8,
        faults_max=len(KINDS),
        lease_seconds=2.0,
        pace=0.15,
        in_order=True,
    )
    async with ground() as (servers, logs):
        outcome = await chaos(options, servers, logs, print)
    print("\n".join(told(outcome)))
    assert [fault.kind for fault in outcome.faults] == list(KINDS)
    assert outcome.wrong == []
    assert outcome.judgement.runs > options.target
    assert outcome.accepted > 0


STARTED = {"a:1": "r1", "b:2": "r2"}
ACCEPTED = {"r1": ["x", "y"]}
RECEIVED = {"r1": ["y", "x"]}
DONE = RunStatus.completed
ROWS = {"r1": Row("a:1", None, DONE), "r2": Row("b:2", None, DONE), "child": Row(None, "r1", DONE)}


@pytest.mark.parametrize(
    ("accepted", "received", "rows", "words"),
    [
        (ACCEPTED, RECEIVED, ROWS, None),
        (ACCEPTED, RECEIVED, {"r1": Row("a:1", None, DONE)}, "b:2 was accepted as run r2, and the database has None"),
        (
            ACCEPTED,
            RECEIVED,
            ROWS | {"r3": Row("c:3", None, DONE)},
            "run r3 of c:3 was started, and its producer was never told",
        ),
        (ACCEPTED, {"r1": ["y"]}, ROWS, "run r1: x was accepted, and is 0 times in the log"),
        (ACCEPTED, {"r1": ["x", "y", "x"]}, ROWS, "run r1: x was accepted, and is 2 times in the log"),
        ({"r1": ["x"]}, RECEIVED, ROWS, "run r1: y is in the log, and its sender was refused"),
    ],
)
def test_what_is_lost_is_found(
    accepted: dict[str, list[str]], received: dict[str, list[str]], rows: dict[str, Row], words: str | None
) -> None:
    """Starts and signals, in either direction."""
    assert lost(STARTED, accepted, received, rows) == ([] if words is None else [words])


@pytest.mark.parametrize(
    ("written", "completed", "wrong"),
    [
        ({("r", 0): 1}, {("r", 0)}, 0),
        ({("r", 0): 2}, {("r", 0)}, 1),
        ({("r", 0): 1, ("r", 1): 1}, {("r", 0)}, 1),
        ({}, {("r", 0)}, 1),
    ],
    ids=["once", "twice", "never completed", "not written"],
)
def test_bookings_are_compared_with_the_log(
    written: dict[tuple[str, int], int], completed: set[tuple[str, int]], wrong: int
) -> None:
    """Exactly one row for each transactional step that is completed."""
    assert len(compared(Counter(written), completed)) == wrong


def test_a_recovery_beyond_its_bound_is_told() -> None:
    """The 99th percentile after a kill or a flush; other kinds have no bound."""
    faults = [Fault("kill", 1), Fault("flush", 2), Fault("reset", 99 * SECOND, since=99 * SECOND)]

    def outcome(*seconds: float) -> Outcome:
        delays = [Delay(moment, "r", "w", delay, story=["+7.5 x"]) for moment, delay in enumerate(seconds)]
        return Outcome(1, 10.0, faults, Judgement(delays=delays), Counter())

    assert too_slow(outcome(20.0, 7.0, 100.0)) == []
    assert too_slow(outcome(20.1, 7.0, 0.0)) == [
        "recovery after kill: p99 20.1 s, bound 20 s",
        "  20.10 s (w r, beside flush at -0.0 s)",
        "    +7.5 x",
    ]
    assert too_slow(outcome(1.0, 7.5, 0.0)) == [
        "recovery after flush: p99 7.5 s, bound 7 s",
        "  7.50 s (w r)",
        "    +7.5 x",
    ]


def test_the_worst_recovery_names_its_run_and_the_faults_beside_it() -> None:
    """A sleep that was due 4 s after the flush, and a cut network before it was told; the kill before has no part."""
    faults = [
        Fault("kill", at=1 * SECOND, since=1 * SECOND),
        Fault("flush", at=5 * SECOND, since=5 * SECOND),
        Fault("hole", at=23 * SECOND, since=11 * SECOND),
        Fault("drain", at=40 * SECOND, since=40 * SECOND),
    ]
    delays = [Delay(1, "r1", "sleeper", 0.5), Delay(1, "r2", "sleeper", 28.5, 4.0), Delay(3, "r3", "tree", 0.1)]
    lines = told(Outcome(1, 10.0, faults, Judgement(delays=delays), Counter()))
    assert [line for line in lines if "p99" in line] == [
        "  drain              1 times; 1 runs moved again after p50 0.10 s, p99 0.10 s, worst 0.10 s (tree r3)",
        "  flush              1 times; 2 runs moved again after p50 0.50 s, p99 28.50 s, worst 28.50 s (sleeper r2, "
        "beside hole at +2.0 s)",
    ]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)])
def test_percentiles_are_values_that_were_seen(share: float, expected: float) -> None:
    """The smallest value that so many do not exceed."""
    assert percentile([float(n) for n in range(1, 101)], share) == expected
