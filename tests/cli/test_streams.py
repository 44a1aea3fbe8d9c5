"""Streams on real servers with a real worker: the command line, the blocking client, codecs, processes."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.terminal import Terminal, stop, terminal_in, write_flows

from fencepost import errors
from fencepost.config import Config
from fencepost.sync import Client

FLOWS = """
from fencepost import hook, step, stream, workflow


@step
def write(count: int) -> None:
    with stream("words", str) as out:
        for n in range(count):
            out.write(f"word {n}")


@step
async def more(word: str) -> None:
    async with stream("notes", dict, shared=True) as out:
        await out.write({"word": word, "data": b"\\x00"})


@step(process=True, retries=0)
def elsewhere() -> None:
    with stream("words", str) as out:
        out.write("never")


@workflow
async def writes(count: int) -> None:
    await write(count)
    await more("one")


@workflow
async def waits() -> str:
    await more("first")
    async with hook(str, token="go on") as signals:
        word = await signals
    await more(word)
    return word


@workflow
async def refused() -> None:
    await elsewhere()
"""

KEYS = {
    "FENCEPOST_PAYLOAD_CODECS": "zlib,aes-gcm",
    "FENCEPOST_PAYLOAD_KEYS": "k1:" + base64.b64encode(b"1" * 32).decode(),
}
NO_KEYS = {"FENCEPOST_PAYLOAD_CODECS": "", "FENCEPOST_PAYLOAD_KEYS": ""}


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, valkey_url: str) -> Iterator[Terminal]:
    """A terminal whose namespace has a worker with encryption: one for all tests of this file."""
    folder: Path = tmp_path_factory.mktemp("worked")
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": f"t_{uuid.uuid4().hex[:16]}",
        "FENCEPOST_ENV": "test",
        **KEYS,
    }
    with terminal_in(folder, environ) as terminal:
        assert terminal("db", "migrate").exit_code == 0
        live = terminal.start("worker", write_flows(folder, FLOWS))
        live.wait_for("ready: ")
        yield terminal
        stop(live)


@pytest.fixture
def client(worked: Terminal) -> Iterator[Client]:
    """A blocking client with the same servers and keys."""
    config = Config(
        database_url=worked.environ["FENCEPOST_DATABASE_URL"],
        redis_url=worked.environ["FENCEPOST_REDIS_URL"],
        namespace=worked.environ["FENCEPOST_NAMESPACE"],
        payload_codecs=("zlib", "aes-gcm"),
        payload_keys=KEYS["FENCEPOST_PAYLOAD_KEYS"],
        env="test",
    )
    with Client(config) as opened:
        yield opened


def lines(terminal: Terminal, *args: str, **environ: str) -> list[str]:
    """What a command prints."""
    told = terminal(*args, **environ)
    assert told.exit_code == 0, told.output
    return told.stdout.splitlines()


def documents(terminal: Terminal, *args: str, **environ: str) -> list[Any]:
    """What it says in JSON, line by line."""
    return [json.loads(line) for line in lines(terminal, *args, "--json", **environ)]


def test_a_stream_is_listed_and_shown(worked: Terminal, client: Client) -> None:
    run = client.start("writes", 3)
    run.result(60)
    (found,) = documents(worked, "runs", "streams", run.id)
    assert [(one["name"], one["chunks"], one["closed"]) for one in found["streams"]] == [
        ("notes", 1, False),
        ("words", 3, True),
    ]
    assert lines(worked, "runs", "streams", run.id)[1].split()[:2] == ["notes", "1"]
    for follow in ((), ("--follow",)):
        words = ["runs", "stream", run.id, "words", *follow]
        assert lines(worked, *words) == ['"word 0"', '"word 1"', '"word 2"']
        assert lines(worked, *words, "--start", "-1") == ['"word 2"']
        told = documents(worked, *words, "--start", "1")
        assert [(one["index"], one["step"], one["attempt"], one["value"]) for one in told] == [
            (1, "write#1", 1, "word 1"),
            (2, "write#1", 1, "word 2"),
        ]
    assert documents(worked, "runs", "stream", run.id, "notes")[0]["value"] == {
        "word": "one",
        "data": {"$bytes": "AA=="},
    }


def test_chunks_are_encrypted(worked: Terminal, client: Client) -> None:
    """Without the key, the command says which one is missing; without following it does not fail."""
    run = client.start("writes", 2)
    run.result(60)
    told = documents(worked, "runs", "stream", run.id, "words", **NO_KEYS)
    assert [one["value"] for one in told] == [{"encrypted_with_key": "k1"}] * 2
    assert list(run.stream("words", str)) == ["word 0", "word 1"]


def test_what_is_not_there_is_said_with_what_is(worked: Terminal, client: Client) -> None:
    run = client.start("writes", 1)
    run.result(60)
    told = worked("runs", "stream", run.id, "wrods")
    assert told.exit_code == 3
    assert "has no stream 'wrods' yet: it has 'notes', 'words'" in told.stderr
    told = worked("runs", "stream", run.id, "wrods", "--follow")
    assert told.exit_code == 3
    assert "has ended without a stream 'wrods': it has 'notes', 'words'" in told.stderr
    missing = "01900000-0000-7000-8000-000000000000"
    for command in (["streams", missing], ["stream", missing, "words"], ["stream", missing, "words", "--follow"]):
        assert worked("runs", *command).exit_code == 3


def test_following_shows_a_chunk_before_the_run_has_ended(worked: Terminal, client: Client) -> None:
    """The run waits for a signal that is sent when the first chunk has been seen."""
    run = client.start("waits")
    following = worked.start("runs", "stream", run.id, "notes", "--follow")
    following.wait_for('"word": "first"')
    client.resume("go on", "second")
    following.wait_for('"word": "second"')
    assert following.end() == 0
    assert run.result(60) == "second"


def test_the_blocking_client_reads(worked: Terminal, client: Client) -> None:
    """Values, chunks with their index, the tail; a loop that is left early leaves nothing behind."""
    run = client.start("writes", 5)
    assert list(run.stream("words", str)) == [f"word {n}" for n in range(5)]
    assert [chunk.index for chunk in run.stream("words", str, start=3).chunks()] == [3, 4]
    assert run.stream("words").tail() == 5
    for word in run.stream("words", str):
        assert word == "word 0"
        break
    run.result(60)
    assert [one.name for one in run.streams()] == ["notes", "words"]


def test_a_process_step_is_told_the_way_out(worked: Terminal, client: Client) -> None:
    run = client.start("refused")
    with pytest.raises(errors.RunFailed, match="process=True step has no connection to Postgres"):
        run.result(60)
