"""The simulator in the gate: some seeds, the plans of bugs that it has found, and that it can fail.

The whole of it is run by ``make simulate`` and ``make mutants``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.simulate.branches import COMMON, missed
from tests.simulate.generate import generate
from tests.simulate.mutants import MUTANTS, Patch
from tests.simulate.mutants.hunt import hunt
from tests.simulate.oracle import judge
from tests.simulate.plan import dumps, loads
from tests.simulate.report import Totals, calm, failed, run_seeds
from tests.simulate.shrink import kind_of, played, shrink
from tests.simulate.trace import trace
from tests.simulate.world import Record, World

from fencepost_store.events import Event, EventType

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
SEEDS = 80


def test_seeds_are_survived_and_are_not_calm() -> None:
    """No violation, things went wrong, and what was killed has left no coroutine that nobody awaited."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        totals = run_seeds(0, SEEDS)
    assert not [str(one.message) for one in heard if "never awaited" in str(one.message)]
    assert not totals.violations
    assert totals.events > 20 * SEEDS
    assert {"crash", "freeze", "flush", "lost", "rollback", "drain"} <= set(totals.faults)


def never(world: World) -> bool:
    """No world is."""
    return False


def test_at_rest_nothing_changes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worlds that are left as soon as they are at rest come to what they come to when the quiet time is waited out."""
    shorter = 0
    for seed in range(1, 60):
        plan = generate(seed)
        left = World(plan).play()
        with monkeypatch.context() as patch:
            patch.setattr("tests.simulate.world.at_rest", never)
            out = World(plan).play()
        for one in (left, out):
            assert judge(one) == []
        assert (left.runs, left.hits, left.accepted, left.bodies) == (out.runs, out.hits, out.accepted, out.bodies)
        shorter += left.callbacks < out.callbacks
    assert shorter > 40


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_stays_found(path: Path) -> None:
    """Plans that were violated once, by a bug that is mended."""
    assert played(loads(path.read_bytes())) == []


CURES = {
    "pointed_84": "a_heartbeat_is_cut_off",
    "seed_6": "a_fast_clock_is_never_put_right",
    "drawn_928": "an_older_lease_of_the_same_message_is_kept",
    "seed_56": "errors_are_counted_before_the_start",
    "drawn_516000": "a_sweep_is_asked_for_once",
    "drawn_539000": "who_walks_away_keeps_slots",
    "seed_20": "each_claim_is_promised_all",
    "seed_24": "steps_come_in_the_order_of_their_enqueues",
    "seed_49": "chains_never_let_go",
    "seed_99": "all_who_are_lost_are_blamed",
    "seed_124": "any_death_is_a_proof",
    "forgets_21479": "a_load_goes_on_at_a_position",
    "forgets_50001": "a_load_goes_on_at_a_position",
    "roles_1251": "old_data_are_trusted",
    "roles_2461": "old_data_are_trusted",
    "roles_1059": "calls_wait_for_rows",
    "roles_362": "the_last_resort_replays_under_its_lock",
    "roles_671": "the_last_resort_replays_under_its_lock",
}
"""Kept plans, and the mutants that take their cure out. A plan ``drawn_N`` is an older one under other draws of the
scheduler, here of the seeds 88028, 516216 and 539448: as the engine changed, its own draws came to another schedule.
"""


@pytest.mark.parametrize("name", CURES)
def test_a_kept_plan_finds_its_bug(name: str) -> None:
    """With the cure taken out it is violated: neither the generator nor the scheduler has made it a dead letter."""
    plan = loads((Path(__file__).parent / "found" / f"{name}.json").read_bytes())
    patch = Patch()
    MUTANTS[CURES[name]].apply(patch)
    try:
        assert played(plan)
    finally:
        patch.undo()


def digest(first: int, count: int) -> str:
    """What a few seeds came to, to the microsecond."""
    seen = hashlib.sha256()
    for seed in range(first, first + count):
        record = World(generate(seed)).play()
        told = [[(e.seq, e.type.name, e.entity, e.at, e.dedupe) for e in log] for _, log in record.runs.values()]
        seen.update(repr((told, record.callbacks)).encode())
    return seen.hexdigest()


def test_a_seed_is_the_same_schedule_in_every_process() -> None:
    """Whatever the hash seed is, and whatever was played before."""
    code = "from tests.simulate.test_simulate import digest; print(digest(40, 12))"
    here = digest(40, 12)
    for hash_seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here


def test_a_plan_is_kept_as_json() -> None:
    """And is the same plan when it is read."""
    for seed in range(50):
        assert loads(dumps(generate(seed))) == generate(seed)


@pytest.mark.parametrize("name", ["the_fence", "no_recovery_dispatch", "several_events_at_once"])
def test_a_missing_guard_is_found(name: str) -> None:
    """A few of the mutants; ``make mutants`` has all."""
    found = hunt(name, MUTANTS[name].seeds)
    assert found.by == "simulator", found


def test_a_failing_plan_is_made_smaller_and_told() -> None:
    """The smaller one fails in the same way, and its trace says so."""
    patch = Patch()
    MUTANTS["tokens_are_reused"].apply(patch)
    try:
        seed = next(seed for seed in range(200) if played(generate(seed)))
        plan = generate(seed)
        less = shrink(plan, seconds=2.0)
        assert kind_of(played(less)) == kind_of(played(plan))
        assert len(dumps(less)) < len(dumps(plan))
        assert any(line.startswith("VIOLATION") for line in trace(less))
    finally:
        patch.undo()


def _of(seed: int) -> Record:
    return World(generate(seed)).play()


def _log_of(record: Record, change: Callable[[list[Event]], list[Event]]) -> Record:
    run, log = record.runs[0]
    return replace(record, runs={**record.runs, 0: (run, tuple(change(list(log))))})


def _place(log: list[Event], kind: EventType) -> int:
    return next(at for at, event in enumerate(log) if event.type is kind)


def _renumbered(log: list[Event]) -> list[Event]:
    return [replace(event, seq=seq) for seq, event in enumerate(log, 1)]


def _without(kind: EventType) -> Callable[[list[Event]], list[Event]]:
    return lambda log: _renumbered([event for at, event in enumerate(log) if at != _place(log, kind)])


def _twice(kind: EventType) -> Callable[[list[Event]], list[Event]]:
    return lambda log: _renumbered([*log[: _place(log, kind) + 1], *log[_place(log, kind) :]])


def _first_swapped(log: list[Event]) -> list[Event]:
    at = _place(log, EventType.step_created)
    return _renumbered([*log[:at], log[at + 1], log[at], *log[at + 2 :]])


CHANGES: dict[str, tuple[Callable[[list[Event]], list[Event]], str]] = {
    "a gap": (lambda log: log[:-2] + log[-1:], "log"),
    "no end": (lambda log: log[:-1], "log"),
    "an end twice": (_twice(EventType.run_completed), "log"),
    "a result lost": (_without(EventType.step_completed), ""),
    "a result twice": (_twice(EventType.step_completed), "history"),
    "a start before its step": (_first_swapped, "history"),
    "a step that nobody asked for": (_twice(EventType.step_created), "history"),
    "a signal lost": (_without(EventType.hook_received), "signal"),
    "a signal twice": (_twice(EventType.hook_received), "signal"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_oracle_sees_a_wrong_log(name: str) -> None:
    """Each change of a good log is a violation, and of its kind."""
    change, kind = CHANGES[name]
    wanted = {EventType.run_completed, EventType.step_completed, EventType.step_created, EventType.hook_received}
    record = next(
        record
        for record in map(_of, range(400))
        if wanted <= {event.type for event in record.runs[0][1]}
        and record.runs[0][1][_place(list(record.runs[0][1]), EventType.step_created) + 1].type
        is EventType.step_started
    )
    assert judge(record) == []
    found = judge(_log_of(record, change))
    assert any(what.startswith(kind) for what in found), found


def test_the_oracle_sees_wrong_bodies_and_leftovers() -> None:
    """A body that ran twice for no reason, one that began before its start, a message that stays."""
    record = next(record for record in map(_of, range(400)) if record.plan.calm() and record.bodies)
    body = record.bodies[0]
    assert any("more than once" in what for what in judge(replace(record, bodies=[*record.bodies, body])))
    again = replace(body, attempt=body.attempt + 1)
    assert any("disruptions" in what for what in judge(replace(record, bodies=[*record.bodies, again])))
    early = replace(body, logged=False)
    assert any("before its start" in what for what in judge(replace(record, bodies=[early, *record.bodies[1:]])))
    assert any(what.startswith("left over") for what in judge(replace(record, left_over=["message"])))
    assert any(what.startswith("stuck") for what in judge(replace(record, stuck=[0])))


def test_h131_workers_that_lack_code_fail_nothing() -> None:
    """Plans in which a worker has some of the steps, or is another application's: what it cannot do others do."""
    refused = 0
    for plan in [plan for plan in map(generate, range(400)) if any(plan.skewed)][:12]:
        record = World(plan).play()
        assert judge(record) == [], plan.seed
        refused += record.branches["refuse True"]
    assert refused > 20


def test_a_calm_simulation_fails() -> None:
    """So does one that has not taken a branch of the protocol."""
    quiet = Totals(seeds=1_000, events=1_000_000)
    assert calm(quiet)
    assert failed(quiet)
    everything = Counter(dict.fromkeys(COMMON, 1))
    assert missed(everything, 1_000) == []
    del everything["settle lost"]
    assert missed(everything, 1_000) == ["settle lost"]
