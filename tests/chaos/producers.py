"""The producer processes: jobs go out, answers come back, and what a dead one had not answered is done by another."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys

import msgspec
from tests.chaos.jobs import Answer, Hello, Job
from tests.ordeal.fleet import ROOT

from fencepost.config import Config
from fencepost.dev.guard import death_signal


class Producer:
    """One process and the jobs that it has not answered."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.jobs: dict[int, Job] = {}
        self.reading: asyncio.Task[None] | None = None

    def give(self, job: Job) -> None:
        """One more."""
        self.jobs[job.job] = job
        assert self.process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it has just died: what it has not answered is given to another
            self.process.stdin.write(msgspec.json.encode(job) + b"\n")


class Producers:
    """``do(job)`` waits for the answer, whoever gives it."""

    def __init__(self, configs: list[Config]) -> None:
        self._configs = configs
        self._places: list[Producer] = []
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._numbers = itertools.count(1)
        self._turn = itertools.cycle(range(len(configs)))
        self.tries = 0
        self.again = 0

    async def start(self) -> None:
        """Start all."""
        for config in self._configs:
            self._places.append(await self._one(config))

    async def _one(self, config: Config) -> Producer:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.producer",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=death_signal(signal.SIGKILL),
        )
        producer = Producer(process)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(Hello(config)) + b"\n")
        producer.reading = asyncio.create_task(self._read(producer))
        return producer

    async def _read(self, producer: Producer) -> None:
        assert producer.process.stdout is not None
        async for line in producer.process.stdout:
            answer = msgspec.json.decode(line, type=Answer)
            producer.jobs.pop(answer.job, None)
            self.tries += answer.tries
            waiting = self._answers.pop(answer.job, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def number(self) -> int:
        """A job's number."""
        return next(self._numbers)

    async def do(self, job: Job) -> Answer:
        """Have one of them do it."""
        waiting = self._answers[job.job] = asyncio.get_running_loop().create_future()
        self._places[next(self._turn)].give(job)
        return await waiting

    @property
    def unanswered(self) -> int:
        """Jobs under way."""
        return len(self._answers)

    async def kill_one(self, place: int) -> None:
        """kill -9 of one; another one takes its place and its jobs, with the same keys and ids."""
        dead = self._places[place]
        dead.process.kill()
        await dead.process.wait()
        assert dead.reading is not None
        await dead.reading
        self._places[place] = heir = await self._one(self._configs[place])
        for job in dead.jobs.values():
            self.again += 1
            heir.give(job)

    async def end(self) -> None:
        """End all."""
        for producer in self._places:
            if producer.process.returncode is None:
                producer.process.kill()
            await producer.process.wait()
            if producer.reading is not None:
                producer.reading.cancel()
