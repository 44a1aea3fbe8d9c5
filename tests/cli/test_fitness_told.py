"""What commands say of servers that are set otherwise than fencepost needs: db check, worker, doctor."""

from __future__ import annotations

import asyncio
import json
import signal

import asyncpg
import pytest
from tests.cli.terminal import Terminal
from tests.pooler import PGBOUNCER, knows_prepared_statements, pooler

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


@pytest.mark.parametrize("purpose", ["worker", "client", "operator"])
def test_a_role_is_judged_by_what_it_is_for(terminal: Terminal, namespace: str, purpose: str) -> None:
    """From no right to all by the messages alone; a client's rights are no worker's, and a worker's no operator's."""
    role, url = f"role_{namespace}", terminal.environ["FENCEPOST_DATABASE_URL"]
    asyncio.run(_execute(url, f"CREATE ROLE {role} LOGIN"))
    try:
        theirs = {"FENCEPOST_DATABASE_URL": url.replace("//postgres@", f"//{role}@")}
        refused = terminal("db", "check", "--role", purpose, **theirs)
        assert refused.exit_code == 5
        asyncio.run(_execute(url, refused.stderr.partition("grant them: ")[2]))
        passes = [name for name in ("client", "worker", "operator") if not _code(terminal, name, theirs)]
        assert passes == ["client", "worker", "operator"][: len(passes)]
        assert passes[-1] == purpose
        assert bool(_migrates(terminal, theirs)) is (purpose == "operator")
    finally:
        asyncio.run(_execute(url, f"DROP OWNED BY {role}; DROP ROLE {role}"))


def test_an_operator_of_a_new_namespace_must_be_able_to_make_it(terminal: Terminal, namespace: str) -> None:
    """What is lacking is said before `db migrate` meets it."""
    role, url = f"role_{namespace}", terminal.environ["FENCEPOST_DATABASE_URL"]
    asyncio.run(_execute(url, f"CREATE ROLE {role} LOGIN"))
    try:
        theirs = {
            "FENCEPOST_DATABASE_URL": url.replace("//postgres@", f"//{role}@"),
            "FENCEPOST_NAMESPACE": f"{namespace}_n",
        }
        refused = terminal("db", "check", "--role", "operator", **theirs)
        assert refused.exit_code == 5
        grant = refused.stderr.partition("grant them: ")[2]
        assert grant.startswith("GRANT CREATE ON DATABASE")
        asyncio.run(_execute(url, grant))
        assert terminal("db", "migrate", **theirs).exit_code == 0
        assert terminal("db", "check", "--role", "operator", **theirs).exit_code == 0
    finally:
        asyncio.run(_execute(url, f"DROP OWNED BY {role}; DROP ROLE {role}"))


def test_what_both_servers_lack_is_said_in_one_go(terminal: Terminal) -> None:
    """An unknown user in Postgres, another number of shards in Redis; the JSON has both; what answers is named."""
    assert terminal("queue", "depth").exit_code == 0  # records the number
    told = terminal("db", "check")
    assert "Postgres " in told.stdout
    assert "as user default; shards: 1" in told.stdout
    unknown = terminal.environ["FENCEPOST_DATABASE_URL"].replace("//postgres@", "//stranger@")
    wrong = {"FENCEPOST_SHARDS": "2", "FENCEPOST_DATABASE_URL": unknown}
    refused = terminal("db", "check", **wrong)
    assert refused.exit_code == 5
    assert "check user, password" in refused.stderr
    assert "shards is 2" in refused.stderr
    found = json.loads(terminal("db", "check", "--json", **wrong).stdout)
    assert (found["ok"], len(found["problems"])) == (False, 2)
    away = terminal("db", "check", FENCEPOST_REDIS_URL="redis://127.0.0.1:1/0")
    assert away.exit_code == 4
    assert "cannot be reached" in away.stderr
    alone = terminal("db", "check", FENCEPOST_REDIS_URL="")
    assert alone.exit_code == 0
    assert "Redis was not looked at" in alone.stderr


@pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on this machine: apt-get install pgbouncer")
async def test_a_pooler_is_named(terminal: Terminal) -> None:
    """And what is done about it."""
    known = {0: "stands before Postgres and passes prepared statements on", 9: "knows prepared statements"}
    for count, told in known.items() if knows_prepared_statements() else [(None, known[0])]:
        async with pooler(terminal.environ["FENCEPOST_DATABASE_URL"], max_prepared=count) as url:
            checked = await asyncio.to_thread(terminal.command, "db", "check", FENCEPOST_DATABASE_URL=url)
        assert checked.returncode == 0
        assert told in checked.stdout + checked.stderr
        assert ("warning:" in checked.stderr) is (told == known[0])


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


def _code(terminal: Terminal, purpose: str, theirs: dict[str, str]) -> int:
    return terminal("db", "check", "--role", purpose, **theirs).exit_code


def _migrates(terminal: Terminal, theirs: dict[str, str]) -> bool:
    """Whether the role may change what is there: a migration that replaces a function."""
    namespace, url = terminal.environ["FENCEPOST_NAMESPACE"], theirs["FENCEPOST_DATABASE_URL"]
    try:
        asyncio.run(_execute(url, f"ALTER TABLE {namespace}.runs SET (fillfactor = 90)"))
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


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
