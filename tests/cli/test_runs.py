"""Commands that start, inspect and wake runs, with a worker that runs them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.terminal import Terminal, eventually, stop, terminal_in, write_flows


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, valkey_url: str) -> Iterator[Terminal]:
    """A terminal whose namespace has a worker: real, and one for all tests of this file."""
    folder = tmp_path_factory.mktemp("worked")
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": f"t_{uuid.uuid4().hex[:16]}",
        "FENCEPOST_ENV": "test",
        "MODULE": write_flows(folder),
    }
    with terminal_in(folder, environ) as terminal:
        assert terminal("db", "migrate").exit_code == 0
        live = terminal.start("worker", environ["MODULE"])
        ready = live.wait_for("ready: 1 worker process; workflows: approve, fails, fulfil, holds, naps, retries")
        assert "steps: boom, double, flaky, held" in ready
        yield terminal
        stop(live)
        assert "worker_stopped" in live.text


def answer(terminal: Terminal, *args: str, code: int = 0) -> Any:
    """What a command says in JSON."""
    told = terminal(*args, "--json")
    assert told.exit_code == code, told.output
    assert told.stdout.count("\n") == 1, "one document on one line"
    return json.loads(told.stdout)


def waits(terminal: Terminal, run: str) -> list[Any]:
    """What a run waits for."""
    return list(answer(terminal, "runs", "why", run)["waits_for"])


def test_start_with_the_code_converts_and_waits(worked: Terminal) -> None:
    """A dataclass from JSON; the id first, then the result, one per line."""
    told = worked("start", f"{worked.environ['MODULE']}:fulfil", '{"id": 21}', "--wait", "--timeout", "20")
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines()[1] == "42"
    assert uuid.UUID(told.stdout.splitlines()[0]).version == 7


def test_start_by_name_and_result(worked: Terminal) -> None:
    """Without the code the arguments go as they are; keyword arguments too."""
    started = answer(worked, "start", "fulfil", "--kwargs", '{"order": {"id": 4}}')
    assert started == {"id": started["id"], "workflow": "fulfil", "created": True}
    assert answer(worked, "runs", "result", started["id"], "--timeout", "20") == {
        "id": started["id"],
        "status": "completed",
        "result": 8,
    }
    assert worked("runs", "result", started["id"]).stdout == "8\n"


def test_a_run_that_fails(worked: Terminal) -> None:
    """Exit code 1, the error, in words or in JSON; nothing on standard output where people look for a result."""
    told = answer(worked, "start", "fails", "--wait", "--timeout", "20", code=1)
    assert told["error"]["code"] == "USER_ERROR"
    assert told["error"]["type"] == "builtins.ValueError"
    result = worked("runs", "result", told["id"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "failed (USER_ERROR): builtins.ValueError: no luck" in result.stderr
    (ended,) = waits(worked, told["id"])
    assert ended["kind"] == "nothing"
    assert "ValueError: no luck" in worked("runs", "show", told["id"]).stdout


def test_a_result_that_does_not_come_in_time(worked: Terminal) -> None:
    """Exit code 1; the run goes on."""
    run = answer(worked, "start", "naps")["id"]
    told = worked("runs", "result", run, "--timeout", "0.1")
    assert told.exit_code == 1
    assert "has not ended yet: within 0.1 s" in told.stderr
    eventually(lambda: waits(worked, run)[0]["kind"] == "time")
    (wait,) = waits(worked, run)
    assert wait["entity"].startswith("sleep")
    text = worked("runs", "why", run).stdout
    assert "ends in 1 d 3 h" in text


def test_a_hook_is_shown_with_its_token_and_resumed(worked: Terminal) -> None:
    """``why`` says the command, the command wakes the run; the same delivery id counts once."""
    run = answer(worked, "start", "approve", '"ann"')["id"]
    eventually(lambda: waits(worked, run)[0]["kind"] == "hook")
    told = worked("runs", "why", run).stdout
    assert "fencepost hooks resume approve:ann" in told
    sent = answer(worked, "hooks", "resume", "approve:ann", '{"ok": true}', "--id", "d1")
    assert sent == {"run": run, "token": "approve:ann"}
    assert worked("runs", "result", run, "--timeout", "20").stdout == '{"ok": true}\n'
    shown = worked("runs", "show", run).stdout
    assert [word in shown for word in ("hook_created", "hook_received", '{"ok": true}')] == [True] * 3


def test_a_step_in_backoff_is_shown_with_its_error(worked: Terminal) -> None:
    """Attempts, the next one's time, the last error, the message in the queue."""
    run = answer(worked, "start", "retries")["id"]
    eventually(lambda: waits(worked, run)[0].get("retry_at"))
    (step,) = waits(worked, run)
    assert (step["name"], step["attempt"], step["failures"]) == ("flaky", 1, 1)
    assert step["error"] == {"type": "builtins.RuntimeError", "code": "USER_ERROR", "message": "not yet"}
    told = worked("runs", "why", run).stdout
    assert "step flaky#1: attempt 2 in " in told
    assert "last error: builtins.RuntimeError: not yet" in told


def test_a_running_step_is_shown_with_its_worker(worked: Terminal, tmp_path: Path) -> None:
    """Its message is leased, and to whom; ``queue peek`` says the same."""
    run = answer(worked, "start", "holds", json.dumps(str(tmp_path)))["id"]
    eventually((tmp_path / "began").exists)
    told = answer(worked, "runs", "why", run)
    (step,) = told["waits_for"]
    assert (step["kind"], step["attempt"]) == ("step", 1)
    (message,) = [m for m in told["messages"] if m["key"].startswith("s:")]
    assert message["state"] == "leased"
    peeked = answer(worked, "queue", "peek", "default")
    assert message["owner"] in [m["owner"] for m in peeked["messages"]]
    assert f"with worker {message['owner']}" in worked("runs", "why", run).stdout
    assert f"s:{run}:held#1" in worked("queue", "peek").stdout
    (lane,) = answer(worked, "queue", "depth")["lanes"]
    assert (lane["queue"], lane["shard"]) == ("default", 0)
    assert lane["leased"] >= 1
    (tmp_path / "go").touch()
    assert worked("runs", "result", run, "--timeout", "20").exit_code == 0


def test_show_and_events_tell_the_log(worked: Terminal) -> None:
    """The timeline in order, every event with its values."""
    run = answer(worked, "start", "fulfil", '{"id": 5, "note": "caf\\u00e9"}', "--wait", "--timeout", "20")["id"]
    told = answer(worked, "runs", "show", run)
    assert told["run"]["status"] == "completed"
    assert [event["seq"] for event in told["events"]] == list(range(1, told["run"]["events"] + 1))
    assert told["events"][0]["payload"] == {
        "input": [[{"id": 5, "note": "café"}], {}],
        "attributes": {},
        "secret": "***",
        "timeout": None,
        "origin": None,
        "open": ["timeout", "queue"],
        "build": "dev",
        "own": False,
        "fingerprint": {"$bytes": ""},
    }
    assert told["events"][-1]["payload"] == 10
    lines = worked("runs", "events", run, "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == told["events"]
    rest = worked("runs", "events", run, "--after", "3", "--json").stdout.splitlines()
    assert [json.loads(line) for line in rest] == told["events"][3:]
    text = worked("runs", "show", run).stdout
    assert '({"id": 5, "note": "café"})' in text
    assert "double(5)" in text
    assert "run_completed" in text
    assert "step_completed double#1" in worked("runs", "events", run).stdout


def test_list_filters_and_pages(worked: Terminal) -> None:
    """By workflow, status, queue; newest first."""
    ids = [answer(worked, "start", "paged", str(n), "--queue", "nobody")["id"] for n in range(3)]
    everything = answer(worked, "runs", "list", "--workflow", "paged", "--status", "pending", "--queue", "nobody")
    assert [run["id"] for run in everything["runs"]] == ids[::-1]
    page = worked("runs", "list", "--workflow", "paged", "--limit", "2")
    assert f"more: --before {ids[1]}" in page.stderr
    assert ids[0] not in page.stdout
    rest = answer(worked, "runs", "list", "--workflow", "paged", "--before", ids[1])
    assert [run["id"] for run in rest["runs"]] == [ids[0]]
    assert worked("runs", "list", "--workflow", "paged", "--status", "failed").stdout == "no runs like that\n"


def test_a_run_that_nobody_takes_up(worked: Terminal) -> None:
    """``why`` names the queue that wants a worker."""
    run = answer(worked, "start", "paged", "--queue", "lonely")["id"]
    told = worked("runs", "why", run).stdout
    assert "its first turn: no worker has taken it up yet (queue 'lonely')" in told
    assert "fencepost worker MODULE --queues lonely" in told


def test_why_works_while_redis_is_away(worked: Terminal, tmp_path: Path) -> None:
    """It says that it cannot see the queue, and all the rest."""
    run = answer(worked, "start", "paged", "--queue", "nobody")["id"]
    told = worked("--redis-url", f"unix://{tmp_path}/none.sock", "runs", "why", run)
    assert told.exit_code == 0
    assert "its first turn" in told.stdout
    assert "queue: cannot be seen" in told.stdout


def test_control_characters_do_not_reach_the_terminal(worked: Terminal) -> None:
    """A run's values are other people's."""
    run = answer(worked, "start", "paged", '"\\u001b[2Jboo\\u0007"', "--queue", "nobody", "--key", "\x1b]0;x\x07")["id"]
    for command in (("runs", "show", run), ("runs", "events", run), ("runs", "list")):
        told = worked(*command).stdout
        assert "\x1b" not in told
        assert "\x07" not in told


def test_depth_watch_goes_on_until_interrupted(worked: Terminal) -> None:
    """One JSON document per look."""
    import signal

    live = worked.start("queue", "depth", "--watch", "--interval", "0.1", "--json")
    first, second = json.loads(live.wait_for("lanes")), json.loads(live.wait_for("lanes"))
    assert first["lanes"][0]["queue"] == second["lanes"][0]["queue"] == "default"
    live.send(signal.SIGINT)
    assert live.end() == 130
    assert "Traceback" not in live.text


def test_config_and_schema(worked: Terminal) -> None:
    """Settings with their sources, without passwords."""
    told = answer(worked, "--database-url", "postgresql://ann:hidden@db/x", "config", "show")
    assert told["settings"]["database_url"] == "postgresql://ann:***@db/x"
    assert told["settings"]["lease_seconds"] == 10.0
    assert answer(worked, "config", "show", "--changed")["settings"].keys() == {
        "database_url",
        "redis_url",
        "namespace",
        "env",
    }
    assert "lease_seconds" in worked("config", "show").stdout
    assert worked("config", "check").exit_code == 0
    assert answer(worked, "db", "check")["ok"] is True
    assert answer(worked, "db", "migrate")["applied"] == []


def test_a_key_whose_run_has_ended_is_told_found_and_given_up(worked: Terminal) -> None:
    """``start`` says how the run stands that is there already; ``--reuse`` starts another one."""
    first = answer(worked, "start", "naps", "--key", "nap")["id"]
    assert worked("runs", "find", "naps", "nap").stdout == f"{first}\n"
    assert worked("runs", "terminate", first, "--reason", "no").exit_code == 0
    told = worked("start", "naps", "--key", "nap")
    assert told.stdout == f"{first}  (there already: terminated)\n"
    same = answer(worked, "start", "naps", "--key", "nap")
    assert (same["created"], same["status"]) == (False, "terminated")
    second = answer(worked, "start", "naps", "--key", "nap", "--reuse", "failed")
    assert (second["created"], second["id"] == first, "status" in second) == (True, False, False)
    assert answer(worked, "runs", "find", "naps", "nap")["run"]["id"] == second["id"]
    missing = worked("runs", "find", "naps", "nip")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr == "fencepost: no run of workflow 'naps' holds the key 'nip'\n"
    assert worked("start", "naps", "--reuse", "failed").exit_code == 2
