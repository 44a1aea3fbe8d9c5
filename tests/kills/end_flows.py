"""User code that ends in unusual ways, for real worker processes."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any

from fencepost import step, workflow


def tell(mark: str, line: str) -> None:
    """One line more in a file."""
    with Path(mark).open("a") as file:
        file.write(f"{line}\n")


def there(file: str) -> bool:
    """Whether the file is there."""
    return os.path.exists(file)


@step(retries=1, first_delay=0.01)
async def exits(how: str, mark: str) -> str:
    """One attempt more than its retries, each told in a file."""
    tell(mark, how)
    if how == "argparse":
        argparse.ArgumentParser(prog="x").parse_args(["--nothing-of-this-name"])
    elif how == "interrupt":
        raise KeyboardInterrupt
    elif how == "cancel all":
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)
    elif how == "cancel itself":
        task_of_mine = asyncio.current_task()
        assert task_of_mine is not None
        task_of_mine.cancel()
        await asyncio.sleep(0)
    elif how == "stop the loop":
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        raise SystemExit
    elif how == "leave a task":
        leaves.append(asyncio.create_task(_exit()))
        asyncio.get_running_loop().call_later(0.001, sys.exit, 5)
        await asyncio.sleep(0.01)
        raise GeneratorExit
    elif how == "set a task factory":
        asyncio.get_running_loop().set_task_factory(_no_task)  # type: ignore[arg-type]
        await asyncio.sleep(0.05)  # the engine has made tasks meanwhile
        leaves.append(asyncio.create_task(_exit()))
    elif how == "leave a generator":
        numbers = _numbers()
        await anext(numbers)
        await numbers.aclose()
    elif how == "await another loop":
        await asyncio.new_event_loop().create_future()
    return "not reached"


def _no_task(loop: object, coroutine: Coroutine[Any, Any, Any], **options: object) -> Any:
    coroutine.close()
    raise ZeroDivisionError


def _die(number: int, frame: object) -> None:
    os._exit(9)


async def _numbers() -> AsyncGenerator[int]:
    try:
        yield 1
    finally:
        sys.exit(6)


async def _exit() -> None:
    sys.exit(6)


leaves: list[asyncio.Task[None]] = []


@step(retries=1, first_delay=0.01)
def exits_in_a_thread(how: str, mark: str) -> str:
    """The same of a ``def`` body."""
    tell(mark, how)
    raise {"stop": StopIteration, "exit": SystemExit}[how](1)


@step(process=True, retries=1, first_delay=0.01)
def exits_in_a_process(how: str, mark: str) -> str:
    """The same in another process."""
    tell(mark, how)
    if how == "die":
        os._exit(9)
    if how == "leave an alarm":
        signal.signal(signal.SIGALRM, _die)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        raise ValueError(how)
    if how == "wait for an alarm":
        time.sleep(0.2)
        raise ValueError(str(signal.getsignal(signal.SIGALRM) is signal.SIG_DFL))
    if how == "return a function":
        return exits_in_a_process  # type: ignore[return-value]
    raise {"interrupt": KeyboardInterrupt, "exit": SystemExit}[how](1)


@step(retries=0)
async def patient(mark: str, until: str) -> int:
    """Begun once, and over when the file is there. Answers the process."""
    tell(mark, "begun")
    while not there(until):  # noqa: ASYNC110 - another process makes the file
        await asyncio.sleep(0.02)
    return os.getpid()


@step(retries=0, timeout=0.2)
def stuck(until: str) -> None:
    """A thread that nothing can stop."""
    while not there(until):
        time.sleep(0.05)


@step(retries=0, timeout=5)
def quick() -> str:
    """A thread that is needed for a moment."""
    return threading.current_thread().name


@workflow
async def ends(place: str, how: str, mark: str) -> str:
    """One of them."""
    if place == "workflow":
        sys.exit(4)
    if place == "thread":
        return await exits_in_a_thread(how, mark)
    return await (exits_in_a_process(how, mark) if place == "process" else exits(how, mark))


@workflow
async def innocent(mark: str, until: str) -> int:
    """Beside them."""
    return await patient(mark, until)


@workflow
async def blocks(until: str) -> None:
    """Loses its thread."""
    await stuck(until)


@workflow
async def threaded() -> str:
    """Needs one."""
    return await quick()
