"""What commands say of servers that are set otherwise than fencepost needs: db check, worker, doctor."""

from __future__ import annotations

import asyncio
import json
import signal

import asyncpg
from tests.cli.terminal import Terminal

UNSAFE = "&options=-c%20synchronous_commit%3Doff"


def test_commits_that_may_be_lost_are_told_by_check_worker_and_doctor(terminal: Terminal) -> None:
    """Each says it, and each goes on; with the setting on none does."""
    url = terminal.environ["FENCEPOST_DATABASE_URL"]
    for more, expected in (({"FENCEPOST_DATABASE_URL": url + UNSAFE}, True), ({}, False)):
        checked = terminal("db", "check", **more)
        assert checked.exit_code == 0
        assert ("synchronous_commit = off" in checked.stderr) is expected
        answer = json.loads(terminal("db", "check", "--json", **more).stdout)
        assert (answer["ok"], len(answer["warnings"])) == (True, int(expected))
        found = json.loads(terminal("doctor", "--json", **more).stdout)
        assert ("commits_not_kept" in json.dumps(found)) is expected
        (terminal.folder / "some_flows.py").write_text("from fencepost import step\n\n@step\nasync def s(): ...\n")
        worker = terminal.start("worker", "some_flows", "--no-supervisor", **more)
        worker.wait_for("worker_started")
        worker.send(signal.SIGTERM)
        assert worker.end() == 0
        assert ("commits_not_kept" in worker.text) is expected, worker.text


def test_missing_rights_are_told_by_check_with_the_grants(terminal: Terminal, namespace: str) -> None:
    """The message alone is enough to cure it."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(terminal.environ["FENCEPOST_DATABASE_URL"])
        await connection.execute(statement)
        await connection.close()

    role = f"role_{namespace}"
    asyncio.run(execute(f"CREATE ROLE {role} LOGIN"))
    try:
        url = terminal.environ["FENCEPOST_DATABASE_URL"].replace("//postgres@", f"//{role}@")
        refused = terminal("db", "check", FENCEPOST_DATABASE_URL=url)
        assert refused.exit_code == 5
        assert f'GRANT USAGE ON SCHEMA "{namespace}" TO {role}' in refused.stderr
        asyncio.run(execute(refused.stderr.partition("grant them: ")[2]))
        assert terminal("db", "check", FENCEPOST_DATABASE_URL=url).exit_code == 0
    finally:
        asyncio.run(execute(f"DROP OWNED BY {role}; DROP ROLE {role}"))


def test_h189_another_number_of_shards_is_told_by_worker_and_doctor(terminal: Terminal) -> None:
    """The worker does not start; the doctor has it as a finding."""
    assert terminal("queue", "depth").exit_code == 0  # the first to come
    (terminal.folder / "some_flows.py").write_text("from fencepost import step\n\n@step\nasync def s(): ...\n")
    worker = terminal.command("worker", "some_flows", "--no-supervisor", FENCEPOST_SHARDS="2")
    assert worker.returncode != 0
    assert "shards is 2" in worker.stderr
    assert "Traceback" not in worker.stderr
    doctor = terminal("doctor", "--json", FENCEPOST_SHARDS="2")
    assert "queue_refused" in doctor.stdout
    assert "shards is 2" in doctor.stdout
