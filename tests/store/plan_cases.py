"""Every statement of the store whose tables grow, with arguments from the middle of a grown namespace and with what it
may read there: a number of rows and index entries that does not depend on the namespace's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.protocol import Batch, NewRun, Parked
from fencepost_store.wire import arguments, compared, start_arguments, successors

FLOW = "flow"
PAGE = 20
"""The limit that pages are asked with."""
CHILDREN = 50
"""What one parent has, so that a page of them is less than all."""
LONG = 2_000
"""Events of the one long run."""
LONG_RUN = "00000000-0000-7000-8000-000000000000"


def run_id(number: int) -> str:
    """The run of that number: ids grow with the time of creation."""
    return f"00000000-0000-7000-8000-{number:012x}"


def seed(namespace: str, first: int, last: int) -> tuple[str, ...]:
    """Runs of these numbers with their logs and all that can stand beside them, as SQL. Of a hundred two are open and
    have a deadline, one of them a late one; one is parked."""
    runs = f"FROM generate_series({first}, {last}) AS n"
    run = "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
    parent = f"('00000000-0000-7000-8000-' || lpad(to_hex(n / {CHILDREN}), 12, '0'))"
    return (
        f"INSERT INTO {namespace}.runs"
        " (created_at, run_id, updated_at, wake_at, last_seq, fence, status, workflow, queue, key, parent, parked)"
        f" SELECT n, {run}, n, CASE n % 100 WHEN 0 THEN n WHEN 50 THEN 9000000000000000 + n END, 6, 6,"
        " CASE n % 100 WHEN 0 THEN 1 WHEN 50 THEN 1 WHEN 1 THEN 2 ELSE 10 END,"
        f" '{FLOW}', 'default', 'k' || n, {parent} || '/c#' || n % {CHILDREN},"
        f""" CASE n % 100 WHEN 1 THEN '{{"build": "b", "seq": 1}}'::jsonb END {runs}""",
        f"INSERT INTO {namespace}.events"
        " (at, due, run_id, seq, type, ordinal, attempt, entity, token, dedupe, payload)"
        f" SELECT n, NULL, {run}, s.seq, s.type, s.ordinal, s.attempt, s.entity, CASE s.type WHEN 30 THEN 't' || n END,"
        " CASE s.type WHEN 32 THEN 'd' || n END, '\\x01'"
        f" {runs}, (VALUES (1, 1, 0, 0, ''), (2, 2, 1, 0, ''), (3, 10, 0, 0, 'a#1'), (4, 11, 1, 1, 'a#1'),"
        " (5, 30, 0, 0, 'h#1'), (6, 32, NULL, 0, 'h#1')) AS s (seq, type, ordinal, attempt, entity)",
        f"INSERT INTO {namespace}.hooks (run_id, entity, token) SELECT {run}, 'h#1', 't' || n {runs}",
        f"INSERT INTO {namespace}.run_attributes (run_id, name, value) SELECT {run}, 'a', 'v' || n {runs}",
        f"INSERT INTO {namespace}.heartbeats (at, run_id, attempt, entity, details)"
        f" SELECT n, {run}, 1, 'a#1', '\\x01' {runs}",
        f"INSERT INTO {namespace}.streams (created_at, updated_at, size, run_id, tail, name)"
        f" SELECT n, n, 2, {run}, 2, 's' {runs}",
        f"INSERT INTO {namespace}.stream_writers (run_id, sent, written, attempt, name, writer)"
        f" SELECT {run}, 2, 2, 1, 's', 'a#1' {runs}",
        f"INSERT INTO {namespace}.stream_chunks (at, run_id, index, attempt, name, writer, payload)"
        f" SELECT n, {run}, i, 1, 's', 'a#1', '\\x01' {runs}, generate_series(0, 1) AS i",
        f"INSERT INTO {namespace}.pruned_runs (at, run_id) SELECT n, {run} {runs} WHERE n % 1000 = 7",
    )


def seed_long(namespace: str) -> tuple[str, ...]:
    """One open run with a long log of steps that have ended, and as many chunks in one stream."""
    return (
        f"INSERT INTO {namespace}.runs (created_at, run_id, updated_at, last_seq, fence, status, workflow, queue)"
        f" VALUES (1, '{LONG_RUN}', 1, {LONG}, {LONG}, 1, '{FLOW}', 'default')",
        f"INSERT INTO {namespace}.events (at, run_id, seq, type, ordinal, attempt, entity, payload)"
        f" SELECT n, '{LONG_RUN}', n, 10 + n % 2, n % 2, n % 2, 'a#' || (n + n % 2), '\\x01'"
        f" FROM generate_series(1, {LONG}) AS n",
        f"INSERT INTO {namespace}.streams (created_at, updated_at, size, run_id, tail, name)"
        f" VALUES (1, 1, {LONG}, '{LONG_RUN}', {LONG}, 's')",
        f"INSERT INTO {namespace}.stream_chunks (at, run_id, index, attempt, name, writer, payload)"
        f" SELECT n, '{LONG_RUN}', n, 1, 's', 'a#2', '\\x01' FROM generate_series(0, {LONG} - 1) AS n",
    )


@dataclass(frozen=True)
class Case:
    """A call of a statement. ``reads``: rows and index entries it may read, whatever the tables hold."""

    statement: str
    args: tuple[Any, ...]
    reads: int = 60
    what: str = ""


def cases(runs: int) -> list[Case]:
    """Calls in a namespace of that many runs, from its middle."""
    half = runs // 200 * 100
    here, ended = run_id(half), run_id(half + 5)
    others = [run_id(half + n) for n in range(PAGE)]
    own = (half + 5) // CHILDREN
    parent = run_id(own)
    new = NewRun("ffffffff-0000-7000-8000-000000000000", FLOW, "default", b"\1", 1, key="new", attributes={"a": "b"})
    return [
        *_of_logs(here, half),
        *_of_runs(here, half, parent, own % CHILDREN),
        *_of_streams(here),
        *_of_audits(here, others),
        Case("details", (others,), 10 * PAGE),
        Case("start_run", (*start_arguments(new), 1)),
        Case("start_run", (*start_arguments(msgspec.structs.replace(new, key=f"k{half + 5}")), 1), what="key is there"),
        Case("start_run_joined", _joined(new)),
        Case("prune", ([ended], [None], 0, [], False), 100),
        Case("prune", ([ended, here], [run_id(half + 6), None], 0, [run_id(half)], True), what="dry"),
        Case("sweep", (PAGE,), 20 * PAGE),
        Case("old_runs", (None, 0, None, None, PAGE), 3 * PAGE, "from the start"),
        Case("old_runs", (here, 0, [10], FLOW, PAGE), 3 * PAGE, "from the middle"),
    ]


def _of_logs(here: str, half: int) -> list[Case]:
    events = (
        NewEvent(E.step_completed, "a#1", attempt=1, dedupe="w.1", payload=b"\1"),
        NewEvent(E.step_created, "a#9", payload=b"\1"),
        NewEvent(E.step_started, "a#9", attempt=1, dedupe="w.1", payload=b"\1"),
    )
    turn = Batch(here, 6, events, seen=6, grace=1)
    hook = (NewEvent(E.hook_created, "h#9", token="fresh", payload=b"\1"), NewEvent(E.hook_disposed, "h#1"))
    end = (NewEvent(E.run_continued, payload=b"\1"),)
    successor = NewRun("ffffffff-0000-7000-8000-000000000001", FLOW, "default", b"\1", 1)
    last = msgspec.structs.replace(
        turn, events=end, successor=successor, hooks=({"token": f"t{half}", "entity": "h#1", "seqs": [6]},)
    )
    signals = [
        Batch(run_id(half + 100 * n), None, (NewEvent(E.hook_received, "h#1", dedupe=f"n{n}", payload=b"\1"),), grace=1)
        for n in range(5)
    ]
    return [
        Case("append", _appending(turn), what="a plain turn"),
        Case("append", _appending(msgspec.structs.replace(turn, events=hook)), what="hooks"),
        Case("append", _appending(*signals), 200, "signals of five runs"),
        Case("append_continued", (*arguments([last], careful=False), *successors([last]), *compared([last], 1)), 120),
        Case("load", (here, 0, 1_000, 10**7, None)),
        Case("load", (here, 4, 1_000, 10**7, 0), what="the tail"),
        Case("load", (LONG_RUN, LONG - 2, 1_000, 10**7, 0), what="the tail of a long log"),
        Case("load_entity", (here, "a#1")),
        Case("load_entity", (LONG_RUN, "a#1000"), what="of a long log"),
        Case("beat", (here, "a#1", 1, b"\1", None)),
        Case("last_beat", (here, "a#1")),
        Case("forget_beat", (here, "a#1")),
        Case("trace_token", (f"t{half}", f"d{half}")),
        Case("find_hook", (f"t{half}",)),
    ]


def _of_runs(here: str, half: int, parent: str, child: int) -> list[Case]:
    parked = msgspec.json.encode(Parked("b", 1, "r", "e", "f")).decode()
    return [
        Case("get", (here,)),
        Case("find_key", (FLOW, f"k{half}")),
        Case("newest_child", (f"{parent}/c#{child}",)),
        Case("list_children", (None, None, None, None, "{}", PAGE, parent), 4 * CHILDREN),
        Case("list_children", (here, FLOW, [10], "default", '{"a": ["v1"]}', PAGE, parent), 4 * CHILDREN, "filtered"),
        Case("list_runs", (None, None, None, None, "{}", PAGE), 4 * PAGE, "the newest"),
        Case("list_runs", (here, FLOW, None, None, "{}", PAGE), 4 * PAGE, "from the middle"),
        Case("list_runs", (here, None, [2], None, "{}", PAGE), 40 * PAGE, "parked"),
        Case("list_runs", (None, None, None, None, f'{{"a": ["v{half}"]}}', PAGE), what="by attribute"),
        Case("list_streams", (here,)),
        Case("lock_run", (here,)),
        Case("move", (here, "other")),
        Case("park", (here, 6, parked, None)),
        Case("touch", (here, 6, 6, 1, None)),
        Case("take_due", (PAGE, 1), 20 * PAGE),
        Case("take_parked", ("c", PAGE), 20 * PAGE),
        Case("scan_deadlines", (None, PAGE), 20 * PAGE, "from the start"),
        Case("scan_deadlines", (here, PAGE), 20 * PAGE, "from the middle"),
    ]


def _of_streams(here: str) -> list[Case]:
    return [
        Case("write_stream", (here, "s", "a#1", 1, 2, [b"\1"], False, 10**9, None)),
        Case("write_stream", (here, "new", "a#1", 1, 0, [b"\1"], False, 10**9, None), what="a new one"),
        Case("read_stream", (here, "s", 0, PAGE, 10**6)),
        Case("read_stream", (LONG_RUN, "s", LONG // 2, PAGE, 10**6), 4 * PAGE, "of a long stream"),
        Case("settle_stream", (here, "s")),
    ]


def _of_audits(here: str, others: list[str]) -> list[Case]:
    return [
        Case("inspect", (others,), 40 * PAGE),
        Case("inspect_ends", (others,), 4 * PAGE),
        Case("inspect_kin", (others, 0), 100 * PAGE),
        Case("inspect_late", (0, PAGE), 20 * PAGE),
        Case("inspect_page", (None, False, PAGE), 4 * PAGE, "from the start"),
        Case("inspect_page", (here, True, PAGE), 20 * PAGE, "from the middle"),
        *(
            Case(f"inspect_{table}", (after, PAGE), 8 * PAGE, what)
            for table in ("heartbeats", "streams", "run_attributes")
            for after, what in ((None, "from the start"), (here, "from the middle"))
        ),
        Case("inspect_tokens", ("t5", PAGE), 8 * PAGE),
    ]


def _appending(*batches: Batch) -> tuple[object, ...]:
    return (*arguments(batches, careful=False), *compared(batches, 1))


def _joined(run: NewRun) -> tuple[object, ...]:
    values = [None if value is None else str(value) for value in start_arguments(run)]
    values[5] = run.payload.hex()
    return (*values, "2000-01-01", "nowhere")
