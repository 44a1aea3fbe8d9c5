"""``fencepost queue depth`` while nobody works: what is due is seen, wherever it stands."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import redis
from tests.cli.terminal import Terminal


def depth(terminal: Terminal, *options: str) -> dict[str, Any]:
    told = terminal(*options, "queue", "depth", "--json")
    assert told.exit_code == 0, told.output
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


def figures(told: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    return [(lane["queue"], lane["ready"], lane["leased"], lane["delayed"]) for lane in told["lanes"]]


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def put_off(url: str, namespace: str, seconds: int) -> None:
    """Every run's deadline passes so long ago."""
    asyncio.run(
        _execute(
            url,
            f"UPDATE {namespace}.runs SET wake_after = NULL,"
            f" wake_at = {namespace}.clock() - {seconds} * 1000000::bigint",
        )
    )


def forget_messages(url: str, namespace: str) -> None:
    """What a loss of Redis' data does to the namespace."""
    with redis.Redis.from_url(url) as server:
        found = list(server.scan_iter(f"fp:*{namespace}*"))
        assert found
        server.delete(*found)


def test_runs_that_only_postgres_knows_are_ready(
    terminal: Terminal, flows: str, postgres_url: str, valkey_url: str, namespace: str
) -> None:
    """Each is counted once: a run with a tick is not counted again for its deadline."""
    for queue in ("default", "default", "gpu"):
        done = terminal("start", "naps", "--queue", queue)
        assert done.exit_code == 0, done.output
    assert figures(depth(terminal)) == [("default", 2, 0, 0), ("gpu", 1, 0, 0)]
    put_off(postgres_url, namespace, 60)
    assert figures(depth(terminal)) == [("default", 2, 0, 0), ("gpu", 1, 0, 0)]
    forget_messages(valkey_url, namespace)
    told = depth(terminal)
    assert told["complete"] is True
    assert figures(told) == [("default", 2, 0, 0), ("gpu", 1, 0, 0)]
    assert all(60_000 <= lane["oldest_ready_ms"] < 3_600_000 for lane in told["lanes"])
    put_off(postgres_url, namespace, 1)  # a living fleet needs a reconcile period: that is no work nobody looks at
    assert figures(depth(terminal)) == []


def test_without_postgres_redis_is_shown_alone_and_it_says_so(terminal: Terminal, flows: str) -> None:
    assert terminal("start", "naps").exit_code == 0
    away = "postgresql://nobody@127.0.0.1:1/nowhere"
    told = terminal("--database-url", away, "queue", "depth", "--json")
    assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert (answer["complete"], figures(answer)) == (False, [("default", 1, 0, 0)])
    assert told.stderr.startswith("Postgres: ")
    shown = terminal("--database-url", away, "queue", "depth")
    assert "runs that are due and have no message are not counted" in shown.stderr
