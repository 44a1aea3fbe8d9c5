"""``runs export`` and ``replay`` over a history that has everything: a chain, children, streams, attributes,
heartbeats, transactions, patches, hooks, steps that time out. It fits its own code, and each change of the code is told
where it is.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.terminal import Terminal, eventually, stop, terminal_in, write_flows

FLOWS = """
import asyncio

from fencepost import (
    ChildFailed, StepTimeout, current, hook, patched, set_attributes, sleep, step, stream, transaction, workflow
)


@step(heartbeat_timeout=20, retries=2, first_delay=0.01)
async def beats() -> int:
    done = current().heartbeat_details(int) or 0
    current().heartbeat(done + 1)
    if current().attempt == 1:
        raise RuntimeError("once")
    return done


@step
async def writes() -> int:
    async with stream("rows", int) as out:
        await out.write(1)
    return 1


@step
async def joined() -> int:
    async with transaction() as connection:
        return await connection.fetchval("SELECT 7")


@step(timeout=0.05, retries=0)
async def slow() -> None:
    await asyncio.sleep(60)


@workflow
async def square(n: int) -> int:
    await sleep(0.01)
    if n == 3:
        raise ValueError("three")
    return n * n


@workflow
async def lasts() -> None:
    await sleep(100_000)


@workflow
async def whole(page: int) -> dict:
    set_attributes(stage="begun", page=page)
    if page < 2:
        whole.continue_as_new(page + 1)
    new = patched("extra")
    found = [await beats()]
    found += await asyncio.gather(square(1), square(2))
    started = square.start(9)
    lasting = lasts.start()
    try:
        await square(3)
    except ChildFailed:
        found.append(-3)
    async with stream("progress", str) as progress:
        await progress.write("half")
    found += [await writes(), await joined()]
    try:
        await slow()
    except StepTimeout as error:
        found.append(error.which)
    set_attributes(stage="asks")
    async with hook(int, token="whole") as signals:
        async for signal in signals:
            if signal == 0:
                break
    lasting.cancel("enough")
    set_attributes(stage="done", page=None)
    return {"found": [*found, await started.result()], "new": new}
"""

CHANGES = {
    "a child less": ("asyncio.gather(square(1), square(2))", "asyncio.gather(square(1))", "child_created square#2"),
    "another child": ("started = square.start(9)", "started = lasts.start()", "child_created square#3"),
    "a child awaited that was not": ("lasting = lasts.start()", "await lasts()", "child_created square#4"),
    "a step for a child": ("await square(3)", "await writes()", "child_created square#4"),
    "no cancelling of a child": ('    lasting.cancel("enough")\n', "", "child_cancel_requested lasts#1"),
    "no attributes": ('    set_attributes(stage="asks")\n', "", "attributes_set"),
    "no chunk": ('await progress.write("half")', "pass", "step_created fencepost.stream_write#2"),
    "no transaction": ("await writes(), await joined()", "await writes()", "step_created joined#1"),
    "no patch": ('patched("extra")', "True", "marker"),
    "another hook": ('hook(int, token="whole")', "hook(int)", None),
    "no hook": ("async for signal in signals:", "for signal in [0]:", "hook_created hook#1"),
    "no chain": ("whole.continue_as_new(page + 1)", "await writes()", "run_continued"),
}
"""What is changed into what, and what the log has where the two disagree first; None: they do not."""


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, valkey_url: str) -> Iterator[Terminal]:
    """A terminal with the histories of all runs, as a file; their worker has stopped."""
    folder: Path = tmp_path_factory.mktemp("whole")
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": f"t_{uuid.uuid4().hex[:16]}",
        "FENCEPOST_ENV": "test",
        "MODULE": write_flows(folder, FLOWS),
    }
    with terminal_in(folder, environ) as terminal:
        assert terminal("db", "migrate").exit_code == 0
        live = terminal.start("worker", environ["MODULE"])
        live.wait_for("ready: ")
        run = json.loads(terminal("start", "whole", "1", "--json").stdout)["id"]
        eventually(lambda: "stage=asks" in terminal("runs", "list", "--where", "stage=asks").stdout)
        for number in ("4", "0"):
            assert terminal("hooks", "resume", "whole", number).exit_code == 0
        ended = terminal("runs", "result", run, "--timeout", "30", "--json")
        found = json.loads(ended.stdout)["result"]
        assert found == {"found": [1, 1, 4, -3, 1, 7, "timeout", 81], "new": True}
        stop(live)
        runs = json.loads(terminal("runs", "list", "--limit", "100", "--json").stdout)["runs"]
        told = terminal("runs", "export", *(run["id"] for run in runs))
        assert told.exit_code == 0, told.output
        (folder / "runs.jsonl").write_text(told.stdout)
        environ["RUNS"] = str(len(runs))
        yield terminal


def test_every_kind_of_event_replays_to_itself(worked: Terminal) -> None:
    """All runs of the family fit the code that made them; and the file has what this is about."""
    told = worked("replay", "runs.jsonl", "--module", worked.environ["MODULE"])
    assert (told.exit_code, told.stdout) == (0, f"{worked.environ['RUNS']} runs replayed, 0 of them differ\n"), (
        told.output
    )
    lines = [json.loads(line) for line in (worked.folder / "runs.jsonl").read_text().splitlines()]
    kinds = {line["type"] for line in lines if line["line"] == "event"}
    assert kinds >= {
        "run_continued", "child_created", "child_completed", "child_failed", "child_cancel_requested", "attributes_set",
        "marker", "step_retrying", "step_failed", "hook_received", "hook_disposed", "cancel_requested", "run_cancelled",
    }  # fmt: skip
    assert {line["status"] for line in lines if line["line"] == "run"} == {
        "completed",
        "continued",
        "failed",
        "cancelled",
    }


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_told_where_it_is(worked: Terminal, change: str) -> None:
    """One run differs, at the first event that the new code would not have written; the line is of the workflow's."""
    before, after, recorded = CHANGES[change]
    assert FLOWS.count(before) == 1, before
    module = write_flows(worked.folder, FLOWS.replace(before, after))
    told = worked("replay", "runs.jsonl", "--module", module, "--json")
    runs = json.loads(told.stdout)["runs"]
    differ = [run for run in runs if run["difference"]]
    if recorded is None:
        assert (told.exit_code, differ) == (0, [])
        return
    assert told.exit_code == 1
    assert [run["workflow"] for run in differ] == ["whole"], differ
    assert recorded in differ[0]["difference"]["recorded"], differ
    assert f"{module}.py:" in differ[0]["difference"]["source"], differ
