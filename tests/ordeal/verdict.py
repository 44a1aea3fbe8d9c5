"""What is asked of a judge and what it answers: the two ends of a pipe between an ordeal and a fresh process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.ordeal.fleet import ROOT

from fencepost.config import Config

JUDGE_SECONDS = 600.0


class Question(msgspec.Struct, frozen=True):
    """``flows``: the module of the workflows. ``checker``: ``module:function`` of a run and its log, which says what
    is wrong with the result. ``bodies``: the file in which they wrote down that they ran, from ``offset`` on.
    ``open_allowed``: a run may be open, as after a deadline. ``moments``: of faults, microseconds, each with the time
    for which what becomes due counts as its business.
    """

    config: Config
    flows: str
    checker: str
    runs: list[str]
    bodies: str
    offset: int = 0
    open_allowed: bool = False
    moments: list[tuple[int, int]] = []


class Problem(msgspec.Struct, frozen=True):
    """``kind``: log (the oracle refuses it), replay (a prefix replays to other decisions), result (not what the log's
    winners lead to), body (one ran that no start in the log allows, or twice under one).
    """

    run: str
    workflow: str
    kind: str
    what: str


class Repeat(msgspec.Struct, frozen=True):
    """A start that follows on a start without a failure between: somebody must have died, or been frozen or cut off.
    Times of both starts; who had made the first one, and as which attempt. ``twice``: both bodies ran; else the first
    start was never acted on, because what gave leave to was lost.
    """

    run: str
    entity: str
    worker: str
    attempt: int
    since: int
    until: int
    twice: bool = False


class Delay(msgspec.Struct, frozen=True):
    """How long a run took to move after a moment, see recovery.py. ``moment``: its index. ``idle``: seconds after it
    in which the run had nothing to do; ``seconds`` count from then. ``story``: of a slow one, its log around that time.
    """

    moment: int
    run: str
    workflow: str
    seconds: float
    idle: float = 0.0
    story: list[str] = []


class Judgement(msgspec.Struct):
    """``steps``: that have ended. ``prefixes``: replayed and compared. ``received``: by run, the delivery ids of its
    signals in log order.
    """

    runs: int = 0
    events: int = 0
    steps: int = 0
    prefixes: int = 0
    bodies: int = 0
    problems: list[Problem] = []
    repeats: list[Repeat] = []
    received: dict[str, list[str]] = {}
    delays: list[Delay] = []
    offset: int = 0


async def judge(question: Question, seed: str = "random") -> Judgement:
    """Have a fresh process judge. ``seed``: its PYTHONHASHSEED, so that no order of a set decides anything."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.ordeal.judge",
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": seed, "HOME": str(Path.home())},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        answer, _ = await asyncio.wait_for(process.communicate(msgspec.json.encode(question)), JUDGE_SECONDS)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"the judge ended with exit code {process.returncode}; what it said is above")
    return msgspec.json.decode(answer, type=Judgement)


def merged(parts: Sequence[Judgement]) -> Judgement:
    """Several judgements as one; the offset is the last one's."""
    return Judgement(
        runs=sum(part.runs for part in parts),
        events=sum(part.events for part in parts),
        steps=sum(part.steps for part in parts),
        prefixes=sum(part.prefixes for part in parts),
        bodies=sum(part.bodies for part in parts),
        problems=[problem for part in parts for problem in part.problems],
        repeats=[repeat for part in parts for repeat in part.repeats],
        delays=[delay for part in parts for delay in part.delays],
        received={run: ids for part in parts for run, ids in part.received.items()},
        offset=parts[-1].offset if parts else 0,
    )
