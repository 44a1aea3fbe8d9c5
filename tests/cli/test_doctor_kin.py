"""``fencepost doctor`` where two features meet: families, chains, attributes, rows of no run. Each by damage done with
SQL, found, and where a duty is owed, repaired."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import pytest
from tests.cli.audited import Patient
from tests.cli.terminal import Terminal, eventually, stop

from fencepost.audit import doctor

NOBODY = "11111111-1111-4111-8111-111111111111"

FLOWS = """
from fencepost import continue_as_new, hook, set_attributes, workflow


@workflow
async def leaf(n: int) -> int:
    return n


@workflow
async def open_leaf(token: str, links: int) -> None:
    if links:
        continue_as_new(token, links - 1)
    async with hook(int, token=token) as numbers:
        await numbers


@workflow
async def tree(how: str) -> int:
    set_attributes(stage="grown", gone=1)
    set_attributes(gone=None)
    if how != "told":
        await open_leaf(how, 1 if how == "relay" else 0)
    await leaf(1)
    async with hook(int, token="tree") as numbers:
        return await numbers


@workflow
async def chain(n: int) -> int:
    if n:
        continue_as_new(n - 1)
    return 7
"""


@pytest.fixture
def kin(tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Patient:
    """A parent that waits for a child, ``told`` that waits after one, ``relay`` whose child has continued as new,
    ``ended`` that was terminated beside its child, and a chain. No worker runs.
    """
    monkeypatch.setattr(doctor, "PAUSE_SECONDS", 0.01)
    (tmp_path / "kin_flows.py").write_text(FLOWS)
    live = terminal.start("worker", "kin_flows", "--no-supervisor")
    made = Patient(terminal, "kin_flows")
    made.runs = {how: made.start("tree", f'"{how}"') for how in ("open", "told", "relay", "ended")}
    made.runs["chain"] = made.start("chain", "1")
    eventually(lambda: "hook_created" in made.log("told"))
    eventually(lambda: "run_continued" in made.log("chain"))
    for name in ("open", "told", "ended"):
        eventually(lambda name=name: bool(children(terminal, made.runs[name])))
        (made.runs[f"{name} child"],) = children(terminal, made.runs[name])
    for name in ("open", "ended"):
        eventually(lambda name=name: "hook_created" in made.log(f"{name} child"))
    eventually(lambda: len(children(terminal, made.runs["relay"])) == 2)
    made.runs["relay second"], made.runs["relay child"] = children(terminal, made.runs["relay"])
    eventually(lambda: "hook_created" in made.log("relay second"))
    assert terminal("runs", "terminate", made.runs["ended"]).exit_code == 0
    eventually(lambda: "run_cancelled" in made.log("ended child"))
    assert terminal("runs", "result", made.runs["chain"], "--timeout", "20").exit_code == 0
    stop(live)
    return made


def children(terminal: Terminal, parent: str) -> list[str]:
    return [run["id"] for run in json.loads(terminal("runs", "list", "--parent", parent, "--json").stdout)["runs"]]


AGE = "UPDATE {s}.runs SET updated_at = updated_at - 3600000000; UPDATE {s}.events SET at = at - 3600000000"
TABLES = ("runs", "events", "hooks", "run_attributes")
DAMAGE: list[tuple[str, str, str]] = [
    ("child_missing", "open", "DELETE FROM {s}.runs WHERE parent LIKE '{open}/%'"),
    (
        "end_not_told",
        "told child",
        "DELETE FROM {s}.events WHERE run_id = '{told}' AND type = 42;"
        " UPDATE {s}.events SET seq = -seq WHERE run_id = '{told}';"
        " UPDATE {s}.events e SET seq = n.place FROM (SELECT seq, row_number() OVER (ORDER BY -seq) AS place"
        " FROM {s}.events WHERE run_id = '{told}') n WHERE e.run_id = '{told}' AND e.seq = n.seq;"
        " UPDATE {s}.runs SET last_seq = last_seq - 1, fence = fence - 1, wake_after = NULL,"
        " wake_at = {s}.clock() + 60000000"
        " WHERE run_id = '{told}'",
    ),
    # Given up, a child is made all the same.
    (
        "child_missing",
        "told",
        "UPDATE {s}.events SET type = 44 WHERE run_id = '{told}' AND type = 42;"
        " DELETE FROM {s}.runs WHERE run_id = '{told child}'",
    ),
    ("child_unknown", "told child", "UPDATE {s}.runs SET parent = '{told}/other#1' WHERE run_id = '{told child}'"),
    ("child_unknown", "told child", "UPDATE {s}.runs SET parent = '{told}/hook#1' WHERE run_id = '{told child}'"),
    ("successor_missing", "chain", "DELETE FROM {s}.runs WHERE workflow = 'chain' AND status = 10"),
    ("successor_missing", "chain", "UPDATE {s}.events SET payload = '' WHERE run_id = '{chain}' AND type = 7"),
    ("attributes_disagree", "told", "UPDATE {s}.run_attributes SET value = 'sx' WHERE run_id = '{told}'"),
    ("attributes_disagree", "told", "DELETE FROM {s}.run_attributes WHERE run_id = '{told}'"),
    ("attributes_disagree", "told", "INSERT INTO {s}.run_attributes VALUES ('{told}', 'gone', 'i1')"),
]
DUTIES = {"child_missing", "end_not_told", "successor_missing"}
"""Those that are findings only when they are old, and can be repaired."""

HARMLESS = [
    # A child that has been told of, and was pruned since: whatever its end.
    "DELETE FROM {s}.runs WHERE run_id = '{told child}'",
    "DELETE FROM {s}.runs WHERE run_id = '{told child}';"
    " UPDATE {s}.events SET type = 43 WHERE run_id = '{told}' AND type = 42",
    # A parent that was pruned, and its child was not.
    "DELETE FROM {s}.runs WHERE run_id = '{told}'; DELETE FROM {s}.hooks WHERE run_id = '{told}';"
    " DELETE FROM {s}.run_attributes WHERE run_id = '{told}'",
]


async def damage(kin: Patient, text: str) -> None:
    for name, run_id in kin.runs.items():
        text = text.replace("{" + name + "}", run_id)
    await kin.sql(text)


async def test_each_disagreement_is_found_and_nothing_else(kin: Patient) -> None:
    """One at a time: planted, found, undone; those that are duties only when they are old."""
    assert await asyncio.to_thread(kin.found) == set()
    await kin.sql(AGE)
    assert await asyncio.to_thread(kin.found) == set()
    for table in TABLES:
        await kin.sql(f"CREATE TABLE {{s}}.kept_{table} AS TABLE {{s}}.{table}")
    for code, name, planted in DAMAGE:
        await damage(kin, planted)
        found = await asyncio.to_thread(kin.found)
        assert (code, name) in found, planted
        # What was deleted leaves a token or rows without a run; nothing else may be told.
        assert {each for each, _ in found} <= {code, "token_without_run", "rows_without_run"}, planted
        assert await asyncio.to_thread(kin.found, "--run", kin.runs[name]) == {(code, name)}, planted
        assert await asyncio.to_thread(kin.found, "--run", kin.runs["relay second"]) == set(), planted
        if code in DUTIES:
            await kin.sql(AGE.replace(" - 3600000000", " + 3600000000"))
            assert code not in {each for each, _ in await asyncio.to_thread(kin.found)}, "under way, for all one knows"
        await undo(kin)
    for planted in HARMLESS:
        await damage(kin, planted)
        assert await asyncio.to_thread(kin.found) == set(), planted
        await undo(kin)
    assert await asyncio.to_thread(kin.found) == set()


async def undo(kin: Patient) -> None:
    for table in TABLES:
        await kin.sql(f"TRUNCATE {{s}}.{table}; INSERT INTO {{s}}.{table} SELECT * FROM {{s}}.kept_{table}")


async def test_rows_of_no_run_are_found(kin: Patient) -> None:
    """In each table beside the log."""
    for text in (
        "INSERT INTO {s}.heartbeats VALUES (1, $1, 1, 'a#1', '')",
        "INSERT INTO {s}.streams VALUES (1, 1, 0, $1, 0, NULL, NULL, 'out')",
        "INSERT INTO {s}.run_attributes VALUES ($1, 'n', 'i1')",
    ):
        await kin.sql(text, uuid.UUID(NOBODY))
        assert await asyncio.to_thread(kin.found) == {("rows_without_run", NOBODY)}
        for table in ("heartbeats", "streams", "run_attributes"):
            await kin.sql(f"DELETE FROM {{s}}.{table} WHERE run_id = $1", uuid.UUID(NOBODY))
    assert await asyncio.to_thread(kin.found) == set()


async def test_repair_makes_what_is_owed(kin: Patient) -> None:
    """The end is told, the child and the successor are made: by a recovering tick and any worker."""
    await kin.sql(AGE)
    for code in DUTIES:
        await damage(kin, next(planted for each, _, planted in DAMAGE if each == code))
    await kin.sql("DELETE FROM {s}.events e WHERE NOT EXISTS (SELECT FROM {s}.runs r WHERE r.run_id = e.run_id)")
    await kin.sql("DELETE FROM {s}.hooks e WHERE NOT EXISTS (SELECT FROM {s}.runs r WHERE r.run_id = e.run_id)")
    document = await asyncio.to_thread(kin.audit, "--repair")
    assert {one["code"] for one in document["repairs"]} == DUTIES
    live = await asyncio.to_thread(kin.terminal.start, "worker", "kin_flows", "--no-supervisor")
    await asyncio.to_thread(eventually, lambda: "child_completed" in kin.log("told"))
    await asyncio.to_thread(eventually, lambda: bool(children(kin.terminal, kin.runs["open"])))
    done = await asyncio.to_thread(kin.terminal, "runs", "result", kin.runs["chain"], "--timeout", "20")
    assert done.stdout.strip() == "7"
    await asyncio.to_thread(stop, live)
    assert await asyncio.to_thread(kin.found) == set()
