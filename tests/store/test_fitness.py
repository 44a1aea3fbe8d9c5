"""What is refused or told of a database before anything is written: its encoding, its settings, our role's rights."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from worlds import Admin

from fencepost_store.fitness import MissingRights, WrongEncoding
from fencepost_store.migrations import check, migrate
from fencepost_store.postgres import connect


@pytest.fixture
async def admin(postgres_url: str) -> AsyncIterator[Admin]:
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def role(admin: Admin, namespace: str) -> AsyncIterator[str]:
    """A role that may log in, and nothing else."""
    name = f"role_{namespace}"
    await admin.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    await admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def url_of(role: str, postgres_url: str) -> str:
    return postgres_url.replace("//postgres@", f"//{role}@")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_keep_all_texts_is_refused(
    postgres_url: str, namespace: str, admin: Admin, encoding: str
) -> None:
    """By migrate, check and connect; the way out makes one that is taken."""
    name = f"db_{namespace}"
    await admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")
    url = postgres_url.replace("/postgres?", f"/{name}?")
    try:
        for call in (migrate(url, namespace), check(url, namespace), connect(url, namespace)):
            with pytest.raises(WrongEncoding, match=f"encoding is {encoding}, fencepost needs UTF8") as caught:
                await call
        assert await admin.fetchval("SELECT to_regnamespace($1)", namespace) is None
    finally:
        await admin.execute(f"DROP DATABASE {name}")
    found = re.search(r"CREATE DATABASE name .* LOCALE 'C'", str(caught.value))
    assert found is not None
    await admin.execute(found[0].replace(" name ", f" {name} "))
    try:
        assert await migrate(url, namespace)
        await check(url, namespace)
    finally:
        await admin.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize("where", ["ROLE", "DATABASE"])
async def test_commits_that_may_be_lost_are_told(
    postgres_url: str, namespace: str, admin: Admin, role: str, where: str
) -> None:
    """Set for the role or in the database; ``local`` and ``remote_apply`` keep what is committed."""
    await migrate(postgres_url, namespace)
    await admin.execute(f"GRANT USAGE ON SCHEMA {namespace} TO {role}")
    await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {namespace} TO {role}")
    url, target = url_of(role, postgres_url), role if where == "ROLE" else "postgres"
    assert await check(url, namespace) == ()
    try:
        for value, expected in (("off", 1), ("local", 0), ("remote_apply", 0)):
            await admin.execute(f"ALTER {where} {target} SET synchronous_commit = {value}")
            told = await check(url, namespace)
            assert len(told) == expected
            store = await connect(url, namespace)
            await store.close()
            assert store.warnings == told
        await admin.execute(f"ALTER {where} {target} SET synchronous_commit = off")
        assert "synchronous_commit = off" in (await check(url, namespace))[0]
    finally:
        await admin.execute(f"ALTER {where} {target} RESET synchronous_commit")


async def test_each_missing_right_is_named_with_the_grant_that_cures_it(
    postgres_url: str, namespace: str, admin: Admin, role: str
) -> None:
    """From no right at all to all that are needed, by what the messages say alone."""
    await migrate(postgres_url, namespace)
    await admin.execute(f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {namespace} FROM PUBLIC")
    url = url_of(role, postgres_url)
    with pytest.raises(MissingRights) as caught:
        await check(url, namespace, purpose="worker")
    seen = str(caught.value)
    await admin.execute(seen.partition("grant them: ")[2])
    assert await check(url, namespace, purpose="worker") == ()
    assert "GRANT USAGE ON SCHEMA" in seen
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE" in seen
    assert "GRANT EXECUTE ON FUNCTION" in seen
    for revoked in (
        f"USAGE ON SCHEMA {namespace}", f"SELECT ON {namespace}.schema_version", f"DELETE ON {namespace}.heartbeats",
        f"UPDATE ON {namespace}.runs", f"EXECUTE ON FUNCTION {namespace}.clock()",
    ):  # fmt: skip
        await admin.execute(f"REVOKE {revoked} FROM {role}")
        with pytest.raises(MissingRights, match=revoked.split()[0]) as caught:
            await check(url, namespace, purpose="worker")
        await admin.execute(str(caught.value).partition("grant them: ")[2])
        assert await check(url, namespace, purpose="worker") == ()
