"""Opening the store and the queue that a configuration names, for workers and clients alike. Drivers are imported
here, at first use.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fencepost.config import Config, ConfigError, server_url
from fencepost.telemetry import note

if TYPE_CHECKING:
    from fencepost_queue.valkey import ValkeyQueue
    from fencepost_store.inspection import Inspection
    from fencepost_store.postgres import PostgresStore


def with_servers(config: Config, state_dir: Path | None = None) -> Config:
    """The configuration with the URLs of this folder's dev servers where it names none. Raises ConfigError if there
    are none running.
    """
    if config.database_url and config.redis_url:
        return config
    from msgspec.structs import replace

    from fencepost.dev.servers import STATE_DIR, find_running

    where = state_dir or STATE_DIR
    servers = find_running(where)
    if servers is None:
        missing = " and ".join(
            name for name, url in (("Postgres", config.database_url), ("Redis", config.redis_url)) if not url
        )
        raise ConfigError(
            f"no {missing} is configured and no dev servers answer in {where}: set FENCEPOST_DATABASE_URL and"
            " FENCEPOST_REDIS_URL, name them in fencepost.toml, or start `fencepost dev MODULE` in this folder"
        )
    return replace(
        config,
        database_url=config.database_url or servers.postgres_url,
        redis_url=config.redis_url or servers.redis_url,
    )


_noted: set[tuple[str, str]] = set()


def driver_url(config: Config, name: str) -> str:
    """What the driver is given for ``database_url`` or ``redis_url``. What is ignored of it is logged once per process.
    Raises ConfigError.
    """
    found = server_url(config, name)
    for told in found.notes:
        if (name, told) not in _noted:
            _noted.add((name, told))
            note("url_option_ignored", setting=name, reason=told)
    return found.driver


async def open_store(config: Config) -> PostgresStore:
    """Connect and check the schema. Raises StoreTrouble (StoreRefused for a wrong password), SchemaMismatch,
    ServerTooOld, WrongIsolation.
    """
    from fencepost_store import postgres

    return await postgres.connect(
        driver_url(config, "database_url"),
        config.namespace,
        connections=config.store_connections,
        prepared_statements=config.prepared_statements,
        command_timeout_seconds=config.call_timeout_seconds,
        connect_timeout_seconds=config.connect_timeout_seconds,
        joint_connections=config.transaction_connections,
    )


async def open_inspection(config: Config) -> Inspection:
    """The reading side of Postgres, for audits. Raises as ``open_store`` does."""
    from fencepost_store import inspection

    return await inspection.connect(
        driver_url(config, "database_url"),
        config.namespace,
        prepared=config.prepared_statements,
        command_timeout_seconds=config.call_timeout_seconds,
    )


async def open_queue(config: Config, owner: str | None = None) -> ValkeyQueue:
    """Connect and check the server. Raises QueueTrouble (QueueRefused for a wrong password), EvictingServer,
    ServerTooOld.
    """
    from fencepost_queue import valkey

    return await valkey.connect(
        driver_url(config, "redis_url"),
        config.namespace,
        owner=owner,
        shards=config.shards,
        timeout_seconds=config.connect_timeout_seconds,
    )
