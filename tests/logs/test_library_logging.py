"""The library logs through ``logging`` and writes to no stream: what is shown where is the application's business."""

from __future__ import annotations

import ast
import io
import json
import logging
import logging.config
import os
import pickle
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from tests.log_lines import captured
from tests.syntax import parse

from fencepost.engine.logs import Format, Logs, configure_logs, configured_logs, enable_loggers
from fencepost.telemetry import CATALOGUE, LOGGER_OF, ROOT, note

ROOMS = Path(__file__).parents[2]
COMMANDS = (
    "worker/fencepost/cli/",
    "worker/fencepost/dev/demo/",
    "worker/fencepost/dev/guard.py",
    "worker/fencepost/engine/body_streams.py",
    "worker/fencepost/standard_streams.py",
)
"""What writes: the commands, the demo, the process that guards embedded servers, the processes of process=True bodies,
which log as their worker does, and what commands do to their own standard streams."""
OUTPUT = "worker/fencepost/engine/logs.py"
"""What a command calls to have its logs shown; nothing else may configure logging."""
CONFIGURING = {"basicConfig", "dictConfig", "fileConfig", "configure", "setLevel", "addHandler", "captureWarnings"}


def printed(script: str, **environ: str) -> str:
    """Whatever the script writes to standard output and standard error, in an application that configures nothing."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environ},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def fresh_logging() -> Generator[io.StringIO]:
    """What a test configures does not outlive it. It begins with no handler on the root logger: pytest's are there."""
    root = logging.getLogger()
    handlers, own_level = root.handlers, root.level
    root.handlers, stream = [], io.StringIO()
    names = (ROOT, "structlog", *LOGGER_OF.values())
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).disabled) for name in names}
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        root.handlers = handlers
        root.setLevel(own_level)
        for name, (level, disabled) in before.items():
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).disabled = disabled


def test_no_line_reaches_a_stream_of_an_application_that_configures_no_logging() -> None:
    """Every event of the catalogue, tracebacks too, through neither structlog nor logging's last resort."""
    script = (
        "from fencepost.telemetry import CATALOGUE, note\n"
        "for event in CATALOGUE: note(event, exc_info=ValueError('no'), key='a b')\n"
        "import structlog; assert not structlog.is_configured()\n"
    )
    assert printed(script) == ""


@pytest.mark.parametrize("blocking", [False, True])
def test_a_client_in_trouble_writes_nothing(blocking: bool, postgres_url: str, valkey_url: str, namespace: str) -> None:
    """The hint to the workers does not get out, the run is started all the same, and both streams stay empty. The
    application's structlog is as it was.
    """
    script = (
        "import asyncio, os, structlog\n"
        "structlog.configure(processors=[structlog.processors.KeyValueRenderer()])\n"
        "before = structlog.get_config()\n"
        "from fencepost import Client, workflow, sync\n"
        "from fencepost.config import Config\n"
        "from fencepost_queue.errors import QueueTrouble\n"
        "from fencepost_store.migrations import migrate\n"
        "import fencepost.client.client as module\n"
        "heard = []\n"
        "module.note = lambda event, _note=module.note, **fields: (heard.append(event), _note(event, **fields))\n"
        "@workflow\n"
        "async def flow() -> int: return 1\n"
        "config = Config(database_url=os.environ['DB'], redis_url=os.environ['REDIS'], "
        "    namespace=os.environ['NS'], env='test')\n"
        "async def refused(entries): raise QueueTrouble('away')\n"
        "async def main():\n"
        "    async with Client(config) as client:\n"
        "        client._open.queue.enqueue = refused\n"
        "        await client.start(flow)\n"
        "def blocking():\n"
        "    with sync.Client(config) as client:\n"
        "        client._client._open.queue.enqueue = refused\n"
        "        client.start(flow)\n"
        "asyncio.run(migrate(config.database_url, config.namespace))\n"
        + ("blocking()\n" if blocking else "asyncio.run(main())\n")
        + "assert heard == ['hint_failed'], heard\n"
        "assert structlog.get_config() == before\n"
    )
    assert printed(script, DB=postgres_url, REDIS=valkey_url, NS=namespace) == ""


def test_an_application_hears_what_it_asks_for(caplog: pytest.LogCaptureFixture) -> None:
    """By the level of a logger; each record has a message to read, parts for machines, and a template of its own that
    groups the records of one event.
    """
    with caplog.at_level(logging.INFO, ROOT):
        note("leases_expired", owner="a b", count=2)
        note("hint_failed", channel="x", error="below the level")
        note("http_stopped")
    first, second = caplog.records
    assert (first.getMessage(), first.name, first.levelno) == (
        'leases_expired owner="a b" count=2',
        "fencepost.supervisor",
        logging.INFO,
    )
    assert first.__dict__["event"] == "leases_expired"
    assert first.__dict__["fields"] == {"owner": "a b", "count": 2}
    assert first.msg == "leases_expired owner=%(owner)s count=%(count)s"
    assert first.funcName == "test_an_application_hears_what_it_asks_for", "who noted it, and not the catalogue"
    assert second.getMessage() == "http_stopped"
    assert pickle.loads(pickle.dumps(first)).getMessage() == first.getMessage()


@pytest.mark.parametrize("value", ["%s %(x)s 100%", {"a": 1}, ("a",), None, object(), "a\nb", ""])
def test_no_value_breaks_a_line(value: object) -> None:
    """Percent signs, mappings and tuples mean something to logging's formatting, and must not."""
    with captured() as lines:
        note("hint_failed", channel="x", error=value)
    assert [line["error"] for line in lines] == [value]


def test_every_event_has_a_level_and_a_logger() -> None:
    """Below the one name that an application needs to know."""
    assert set(LOGGER_OF) == set(CATALOGUE)
    assert all(name.startswith(f"{ROOT}.") for name in LOGGER_OF.values())
    with captured() as lines:
        for event in CATALOGUE:
            note(event)
    assert [(line["event"], line["log_level"]) for line in lines] == [(e, level) for e, (level, _) in CATALOGUE.items()]


def writers(root: Path) -> list[str]:
    """Where the library, but for its commands, prints, takes a standard stream, or configures logging."""
    found: list[tuple[str, int, str]] = []
    for path in sorted(path for room in ("worker", "store", "queue") for path in (root / room).rglob("*.py")):
        name = str(path.relative_to(root))
        if name.startswith(COMMANDS):
            continue
        tree = parse(path.read_text())
        flushed = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Attribute) and one.attr == "flush"}
        for node in ast.walk(tree):
            if id(node) in flushed:  # what the user has printed, before a process ends at once
                continue
            called = node.func if isinstance(node, ast.Call) else None
            said = isinstance(called, ast.Name) and called.id in {"print", "pprint"}
            attribute = node.attr if isinstance(node, ast.Attribute) else ""
            stream = attribute in {"stdout", "__stdout__", "print_exc", "print_exception"}
            sets = attribute in CONFIGURING and name != OUTPUT
            if said or stream or sets:
                found.append((name, node.lineno, attribute or "print"))  # type: ignore[attr-defined]
    return [f"{name}:{line} {what}" for name, line, what in sorted(found)]


def test_only_the_commands_write_and_configure() -> None:
    """Enumerated over the source: one NullHandler, and nothing else."""
    assert [line.partition(":")[0] for line in writers(ROOMS)] == ["worker/fencepost/telemetry.py"]


def test_the_enumeration_sees_a_writer(tmp_path: Path) -> None:
    """The check above can fail."""
    planted = tmp_path / "store" / "planted.py"
    planted.parent.mkdir()
    planted.write_text("import sys, structlog\nprint(1)\nsys.stdout.write('')\nstructlog.configure()\n")
    found = [line.partition("/")[2] for line in writers(tmp_path)]
    assert found == ["planted.py:2 print", "planted.py:3 stdout", "planted.py:4 configure"]


def test_no_test_listens_where_nothing_is_said() -> None:
    """structlog's own capture hears nothing of the library's: an absence that is asserted with it says nothing."""
    deaf = [path for path in (ROOMS / "tests").rglob("*.py") if "capture_" + "logs" in path.read_text()]
    assert deaf == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_in_a_command_structlog_of_the_users_looks_like_ours(form: Format) -> None:
    """One handler for all three: ours, logging, structlog with its bound values, tracebacks on lines of their own."""
    with fresh_logging() as stream:
        configure_logs(form, "info", stream)
        log = structlog.get_logger().bind(shop="x")
        log.info("sold", what="a b")
        log.debug("below the level")
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("broken")
    lines = stream.getvalue().splitlines()
    if form == "json":
        sold, broken = (json.loads(line) for line in lines)
        assert (sold["event"], sold["shop"], sold["what"], sold["level"]) == ("sold", "x", "a b", "info")
        assert "ValueError: no" in broken["exception"]
    else:
        assert lines[0].split(" ", 1)[1] == 'info    sold shop=x what="a b"'
        assert lines[-1] == "ValueError: no"
    assert len([line for line in lines if "below" in line]) == 0


@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_the_level_of_a_command_holds_for_all(level: str) -> None:
    """Ours and the user's structlog from that level on; foreign debug lines never."""
    with fresh_logging() as stream:
        configure_logs("text", level, stream)
        note("hint_failed")
        note("reconciled")
        note("poisoned")
        structlog.get_logger().debug("theirs_debug")
        logging.getLogger("driver").debug("foreign_debug")
        logging.getLogger("driver").info("foreign_info")
        assert configured_logs() == Logs("text", level)
    said = [line.split()[2] for line in stream.getvalue().splitlines()]
    expected = {
        "debug": ["hint_failed", "reconciled", "poisoned", "theirs_debug", "foreign_info"],
        "info": ["reconciled", "poisoned", "foreign_info"],
        "error": ["poisoned"],
    }
    assert said == expected[level]


def test_a_users_dictconfig_does_not_mute_a_worker() -> None:
    """Django and others configure logging when they are imported, and thereby disable each logger that exists."""
    with fresh_logging() as stream:
        configure_logs("text", "info", stream)
        logging.config.dictConfig({"version": 1})
        assert logging.getLogger("fencepost.worker").disabled, "or this test shows nothing"
        enable_loggers()
        note("worker_started", owner="a")
    assert "worker_started owner=a" in stream.getvalue()
