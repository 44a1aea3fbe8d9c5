"""What every test may ask for: real servers of its own process, and a namespace of its own.

Each xdist worker is a process and starts its own pair on unix sockets in a folder of its own, so that FLUSHALL, a
restart or a kill is nobody else's business. No test touches a server that happens to run on the machine's standard
ports.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencepost.dev.servers import EmbeddedServers, erase, start


@pytest.fixture(scope="session")
def embedded_servers() -> Iterator[EmbeddedServers]:
    """A Postgres and a Valkey that live as long as this test process."""
    # Not under pytest's own temporary folder: that is closed to others, and root's Postgres runs as nobody.
    folder = Path(tempfile.mkdtemp(prefix="fencepost-test-"))
    folder.chmod(0o711)
    try:
        with start(folder / "state") as servers:
            yield servers
        erase(folder / "state")
    finally:
        folder.rmdir()


@pytest.fixture(scope="session")
def postgres_url(embedded_servers: EmbeddedServers) -> str:
    """The URL of this test process's own Postgres."""
    return embedded_servers.postgres_url


@pytest.fixture(scope="session")
def valkey_url(embedded_servers: EmbeddedServers) -> str:
    """The URL of this test process's own Valkey."""
    return embedded_servers.redis_url


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has used."""
    return f"t_{uuid.uuid4().hex[:16]}"
