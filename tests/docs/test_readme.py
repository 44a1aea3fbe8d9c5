"""What the README shows is run as a newcomer would run it: written into an empty folder, served, killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.markdown import ROOT, blocks, read, section
from tests.syntax import parse

SECONDS = 100
README = read("README.md")


def shown() -> dict[str, str]:
    """The README's Python by the file name in its first line."""
    found: dict[str, str] = {}
    for block in blocks(README, "python"):
        first, _, rest = block.partition("\n")
        match = re.fullmatch(r"# (?:from )?(\S+\.py)", first)
        assert match is not None, f"a block that does not begin with its file name: {first!r}"
        found[match[1]] = rest
    return found


def environ() -> dict[str, str]:
    """An environment that names no servers, with this interpreter's commands first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"HOME": os.environ["HOME"], "PATH": path}


def command(folder: Path, *words: str) -> str:
    """What a command prints; it must end well and say nothing on standard error."""
    done = subprocess.run(
        words, cwd=folder, env=environ(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{words}: {done.returncode}\n{done.stderr}"
    return done.stdout


@contextmanager
def dev(folder: Path, *modules: str) -> Generator[Path]:
    """``fencepost dev`` in the folder, once it says that it is ready; ended by Ctrl-C. Gives the file that it prints
    to."""
    screen = folder / "screen.txt"
    with screen.open("wb") as out:
        process = subprocess.Popen(
            ["fencepost", "dev", *modules], cwd=folder, env=environ(), stdout=out, stderr=subprocess.STDOUT
        )
    try:
        seen(screen, r"^ready: ", process)
        yield screen
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0, screen.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def seen(screen: Path, pattern: str, process: subprocess.Popen[bytes] | None = None) -> re.Match[str]:
    """Look until the pattern is on the screen."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        match = re.search(pattern, screen.read_text(), re.MULTILINE)
        if match is not None:
            return match
        assert process is None or process.poll() is None, screen.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{pattern!r} did not appear:\n{screen.read_text()}")


def test_the_quickstart_is_the_example() -> None:
    """Letter by letter, but for the example's first lines, which say how to run it."""
    source = (ROOT / "examples" / "quickstart.py").read_text()
    start = parse(source).body[1].lineno
    assert shown()["quickstart.py"] == "\n".join(source.splitlines()[start - 1 :]) + "\n"


def test_parts_of_examples_are_in_them() -> None:
    """Letter by letter."""
    for name in ("examples/order.py", "examples/trip.py"):
        assert shown()[name] in (ROOT / name).read_text()


def test_a_newcomer_can_write_run_and_kill(tmp_path: Path) -> None:
    """Every block in an empty folder, with the README's own commands. The count is shorter, and its step that is killed
    takes longer: on a busy machine a kill that comes a second late would miss it."""
    files = {name: text for name, text in shown().items() if "/" not in name}
    assert sorted(files) == ["clients.py", "counting.py", "quickstart.py", "script.py", "test_quickstart.py"]
    files["counting.py"] = files["counting.py"].replace("asyncio.sleep(1)", "asyncio.sleep(1 if n != 2 else 5)")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    promised = re.search(r"prints `(.*?)`", README)
    assert promised is not None
    with dev(tmp_path, "quickstart", "counting") as screen:
        assert command(tmp_path, "python", "quickstart.py") == promised[1] + "\n"
        assert command(tmp_path, "python", "script.py") == "2\n"
        view = "from clients import workflows; print(workflows().start('count_to', 1).result(timeout=60))"
        assert command(tmp_path, "python", "-c", view) == "1\n"

        run_id = command(tmp_path, "fencepost", "start", "count_to", "4").strip()
        victim = int(seen(screen, r"^2 \+ 1, in process (\d+)")[1])
        os.kill(victim, signal.SIGKILL)
        assert command(tmp_path, "fencepost", "runs", "result", run_id) == "4\n"
        lines = command(tmp_path, "fencepost", "runs", "show", run_id).splitlines()
        lost = [line.split()[2] for line in lines if " add_one#3 " in line]
        assert lost == ["step_created", "step_started", "step_started", "step_completed"]
        assert "nothing" in command(tmp_path, "fencepost", "runs", "why", run_id)


def test_the_tests_that_the_readme_shows_pass(tmp_path: Path) -> None:
    """And without any server."""
    for name in ("quickstart.py", "test_quickstart.py"):
        (tmp_path / name).write_text(shown()[name])
    assert "2 passed" in command(tmp_path, "python", "-m", "pytest", "-q", "-p", "no:asyncio")


def test_what_is_said_to_be_missing_is_missing() -> None:
    """The list is shortened when something comes, and nothing of it is there already."""
    missing = section(README, "What is not there yet")
    assert "schedules" in missing
    assert (
        "No such command"
        in subprocess.run(
            [sys.executable, "-m", "fencepost", "schedules"], capture_output=True, text=True, check=False
        ).stderr
    )
