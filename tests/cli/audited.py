"""A namespace with a few runs in it that is looked at, damaged and looked at again."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import asyncpg
from redis.asyncio import Redis
from tests.cli.terminal import Terminal, eventually, stop

from fencepost_queue.keys import LaneKeys, lane_keys
from fencepost_queue.valkey import ValkeyQueue


class Patient:
    """``runs``: their ids by what they are: ``done`` has ended, ``hook`` waits for a signal, ``nap`` sleeps for long,
    ``step`` has an open step that was never begun, ``fresh`` was never taken up. No worker runs."""

    def __init__(self, terminal: Terminal, flows: str) -> None:
        self.terminal = terminal
        self.flows = flows
        self.runs: dict[str, str] = {}
        self.namespace = terminal.environ["FENCEPOST_NAMESPACE"]

    def start(self, *args: str) -> str:
        """Start a run; its id."""
        done = self.terminal("start", *args, "--json")
        assert done.exit_code == 0, done.output
        return str(json.loads(done.output)["id"])

    def fill(self) -> None:
        """Bring the runs to where they stand, with a worker that is ended again."""
        asyncio.run(self._begin_generation())
        live = self.terminal.start("worker", self.flows, "--no-supervisor")
        self.runs = {
            "done": self.start("fulfil", '{"id": 2}'),
            "hook": self.start("approve", '"a"'),
            "nap": self.start("naps"),
            "step": self.start("retries"),
        }
        wanted = {"done": "run_completed", "hook": "hook_created", "nap": "wait_created", "step": "step_retrying"}
        for name, event in wanted.items():
            eventually(lambda name=name, event=event: event in self.log(name))
        stop(live)
        self.runs["fresh"] = self.start("fulfil", '{"id": 3}')

    async def _begin_generation(self) -> None:
        """A worker that found the queue new would tick every run a little later, and leave ticks behind."""
        queue = self.queue()
        claimed = await queue.claim("default", 1, 1_000)
        assert claimed.sweep
        assert await queue.sweep("default", claimed.generation, 0)
        await queue.close()

    def log(self, name: str) -> str:
        """The run's log as the command line shows it."""
        return self.terminal("runs", "events", self.runs[name]).output

    def audit(self, *args: str, **environ: str) -> dict[str, Any]:
        """The document of ``doctor``; its exit code must fit it."""
        done = self.terminal("doctor", "--json", *args, **environ)
        assert done.exit_code in (0, 1), done.output
        document = cast("dict[str, Any]", json.loads(done.stdout))
        assert document["clean"] == (done.exit_code == 0)
        return document

    def found(self, *args: str) -> set[tuple[str, str | None]]:
        """(code, name of the run) of every finding."""
        names: dict[str | None, str] = {run_id: name for name, run_id in self.runs.items()}
        return {(each["code"], names.get(each["run"], each["run"])) for each in self.audit(*args)["findings"]}

    async def sql(self, text: str, *args: object) -> None:
        """Damage Postgres."""
        connection = await asyncpg.connect(self.terminal.environ["FENCEPOST_DATABASE_URL"])
        try:
            await connection.execute(text.replace("{s}", f'"{self.namespace}"'), *args)
        finally:
            await connection.close()

    @property
    def lane(self) -> LaneKeys:
        """The keys of queue default."""
        return lane_keys(self.namespace, "default", 0)

    async def redis(self, *command: str) -> Any:
        """Damage Redis."""
        client: Any = cast(Any, Redis).from_url(self.terminal.environ["FENCEPOST_REDIS_URL"])
        try:
            return await client.execute_command(*command)
        finally:
            await client.aclose()

    def queue(self) -> ValkeyQueue:
        """A producer's queue."""
        return ValkeyQueue(self.terminal.environ["FENCEPOST_REDIS_URL"], self.namespace)
