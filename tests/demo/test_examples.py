"""The programs of examples/ do what their first lines say, on dev servers and on given ones."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from example_programs import SECONDS, bare_environ, copied

from fencepost.dev.servers import STATE_DIR, erase

READY = "ready"


@contextmanager
def serving(folder: Path, environ: dict[str, str], *arguments: str) -> Generator[None]:
    """A ``fencepost`` command that serves, from its ready line on; stopped by Ctrl-C, which it must take well."""
    command = [sys.executable, "-m", "fencepost", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert any(READY in line for line in process.stdout)
        yield
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def program(folder: Path, environ: dict[str, str], name: str) -> str:
    """What the example prints."""
    return subprocess.run(
        [sys.executable, name], cwd=folder, env=environ, check=True, capture_output=True, text=True, timeout=SECONDS
    ).stdout


def check_both(folder: Path, environ: dict[str, str]) -> None:
    """Run the programs and look at what they print."""
    assert program(folder, environ, "quickstart.py") == "['Hello, Ada!', 'Hello, Grace!']\n"
    printed = program(folder, environ, "order.py")
    assert printed.startswith("order-")
    assert printed.endswith(" shipped, receipt for 1200, approved by Ada\n")
    assert program(folder, environ, "trip.py") == "cancelled: customer asked\n"


def test_on_the_dev_servers_of_the_folder(tmp_path: Path) -> None:
    """One terminal with ``fencepost dev``, another with the program."""
    folder = copied(tmp_path)
    try:
        with serving(folder, bare_environ(), "dev", "quickstart", "order", "trip"):
            check_both(folder, bare_environ())
    finally:
        erase(folder / STATE_DIR)  # as root, Postgres has its data outside of a folder that is closed to others


def test_on_given_servers(tmp_path: Path, postgres_url: str, valkey_url: str, namespace: str) -> None:
    """Servers named in the environment, and ``fencepost worker``."""
    folder = copied(tmp_path)
    environ = {
        **bare_environ(),
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": namespace,
    }
    migrate = [sys.executable, "-m", "fencepost", "db", "migrate"]
    subprocess.run(migrate, env=environ, check=True, capture_output=True, timeout=SECONDS)
    with serving(folder, environ, "worker", "quickstart", "order", "trip"):
        check_both(folder, environ)
