"""Terminals with servers, a namespace and code of their own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.cli.terminal import Terminal, terminal_in, write_flows

from fencepost.authoring import registry
from fencepost.engine import logs


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """A command points the logs at its own standard error, which is gone when it ends."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logs.Handler)]:
        root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _code_as_before() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """A command may load the user's code: neither its modules nor what they registered outlive the test."""
    modules, path = set(sys.modules), list(sys.path)
    workflows, steps = registry.default.workflows, registry.default.steps
    registry.default.workflows, registry.default.steps = {}, {}  # other tests' modules are in this process too
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("flows_"):
            del sys.modules[name]
    sys.path[:] = path
    registry.default.workflows, registry.default.steps = workflows, steps


@pytest.fixture
def flows(tmp_path: Path) -> str:
    """The name of a module with workflows, in the terminal's folder."""
    return write_flows(tmp_path)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal without any server."""
    with terminal_in(tmp_path, {}) as made:
        yield made


@pytest.fixture
def terminal(tmp_path: Path, postgres_url: str, valkey_url: str, namespace: str) -> Iterator[Terminal]:
    """A terminal with servers and a namespace of its own, migrated."""
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": namespace,
        "FENCEPOST_ENV": "test",
    }
    with terminal_in(tmp_path, environ) as made:
        done = made("db", "migrate")
        assert done.exit_code == 0, done.output
        yield made
