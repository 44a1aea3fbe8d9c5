"""docs/operations.md, "Least rights": with exactly those grants and that ACL a worker runs workflows, and a client
starts them, signals, cancels and waits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis
from tests.docs.markdown import read
from tests.log_lines import captured

from fencepost import FencepostError, RunCancelled, current, hook, set_attributes, sleep, step, stream, workflow
from fencepost.authoring.registry import Registry
from fencepost.client.client import Client
from fencepost.config import Config
from fencepost.engine.worker import Worker
from fencepost_store import migrations
from fencepost_store.fitness import MissingRights


@pytest.fixture
async def documented(postgres_url: str, valkey_url: str, namespace: str) -> AsyncIterator[tuple[Config, Config]]:
    """A worker's and a client's configuration; what the page says has been given to them, and nothing else."""
    section = read("docs/operations.md").partition("### Least rights")[2].partition("\n### ")[0]
    (sql,) = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    (acl,) = re.findall(r"```text\n(.*?)\n```", section, re.DOTALL)
    roles = [f"{namespace}_worker", f"{namespace}_client"]
    await migrations.migrate(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    redis = Redis.from_url(valkey_url)
    try:
        await admin.execute("; ".join(f"CREATE ROLE {role} LOGIN" for role in roles))
        await admin.execute(f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {namespace} FROM PUBLIC")
        await admin.execute(sql.replace("shop", namespace))
        await redis.execute_command(*acl.replace("shop", namespace).split())
        valkey = f"unix://{namespace}:secret@{urlsplit(valkey_url).path}?db=0"
        worker, client = (
            Config(
                database_url=postgres_url.replace("//postgres@", f"//{role}@"),
                redis_url=valkey,
                namespace=namespace,
                env="test",
            )
            for role in roles
        )
        yield worker, client
    finally:
        await redis.execute_command("ACL", "DELUSER", namespace)
        await redis.aclose()
        await admin.execute("; ".join(f"DROP OWNED BY {role}; DROP ROLE {role}" for role in roles))
        await admin.close()


async def test_the_documented_rights_are_enough(documented: tuple[Config, Config]) -> None:
    """Steps with heartbeats and streams, children, sleeps, signals, attributes, ends by cancel and terminate; the
    worker's rights pass `db check`.
    """
    of_worker, of_client = documented
    registry = Registry()

    @step(registry=registry)
    async def work(n: int) -> int:
        current().heartbeat({"at": n})
        async with stream("numbers", int) as out:
            await out.write(n)
        return n

    @workflow(registry=registry, name="inner")
    async def inner(n: int) -> int:
        return await work(n)

    @workflow(registry=registry, name="outer")
    async def outer(token: str) -> int:
        set_attributes(customer="c1")
        opened = hook(int, token=token)
        await sleep(0.01)
        got = await opened
        return got + await inner(1) + await work(2)

    with captured() as lines:
        async with Worker(of_worker, registry), Client(of_client) as client:
            runs = {name: await client.start(outer, f"{of_client.namespace}:{name}") for name in ("a", "b", "c")}
            for name, run in runs.items():
                if name == "a":
                    await client.resume(f"{of_client.namespace}:{name}", 10, wait=30)
                    assert await run.result(60) == 13
                elif name == "b":
                    await run.cancel()
                    with pytest.raises(RunCancelled):
                        await run.result(60)
                else:
                    await run.terminate("enough")
                    with pytest.raises(FencepostError):
                        await run.result(60)
            assert len(await client.list(attributes={"customer": "c1"})) >= 1
    assert [line for line in lines if line["log_level"] in ("warning", "error")] == []
    assert await migrations.check(of_worker.database_url, of_worker.namespace, purpose="worker") == ()
    with pytest.raises(MissingRights, match="GRANT DELETE"):
        await migrations.check(of_client.database_url, of_client.namespace, purpose="worker")
