# type: ignore  # wrong on purpose: checked by test_typing_cases.py
"""Workflows: typed inputs and results. Read by test_typing_cases.py, never imported."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Never, assert_type

from fencepost import ChildHandle, Client, Fatal, Retry, StepFailed, patched, set_attributes, workflow
from fencepost.client import Run


@dataclass
class Approval:
    ok: bool


@workflow
async def plain(n: int) -> str:
    return str(n)


@workflow(name="other", timeout=timedelta(days=90), queue="orders")
async def fulfil(n: int, *, rush: bool = False) -> Approval:
    return Approval(rush)


async def right() -> None:
    call: Coroutine[Any, Any, str] = plain(1)
    assert_type(await call, str)
    assert_type(await fulfil(1, rush=True), Approval)
    assert_type(fulfil.decode_result(b""), Approval)
    assert_type(fulfil.name, str)
    assert_type(await asyncio.gather(plain(1), fulfil(1)), tuple[str, Approval])
    handle = fulfil.start(1, rush=True)
    assert_type(handle, ChildHandle[Approval])
    assert_type(await handle.result(), Approval)
    assert_type(await plain.with_options(parent_close="abandon", queue="q", timeout=None)(1), str)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fulfil(1))
    assert_type(task.result(), Approval)
    assert_type(await fulfil.fn(1), Approval)
    assert_type(patched("id"), bool)
    try:
        raise Retry("later", after=timedelta(minutes=1))
    except StepFailed as failed:
        assert_type(failed.type, str)
    raise Fatal("no")


@workflow
async def endless(page: int, *, rounds: int = 1) -> str:
    if rounds > 2:
        assert_type(endless.continue_as_new(page + 1, rounds=rounds - 1), Never)
    if rounds > 1:
        endless.continue_as_new(page + 1)
    return "the end"  # nothing above returns: a checker knows it


async def continued(n: int | None) -> int:
    if n is None:
        endless.continue_as_new(1)
    return n


@workflow
async def endlessly_wrong(page: int, *, rounds: int = 1) -> None:
    if rounds > 3:
        endlessly_wrong.continue_as_new("2")  # expect-error
    if rounds > 2:
        endlessly_wrong.continue_as_new()  # expect-error
    if rounds > 1:
        endlessly_wrong.continue_as_new(2, 1)  # expect-error
    endlessly_wrong.continue_as_new(2, round=1)  # expect-error


async def started(client: Client) -> None:
    assert_type(await client.start(plain, 1), Run[str])
    assert_type(await client.start("plain", 1, attributes={"a": 1}, delay=1, key="k"), Run[Any])
    set_attributes({"a.b": None}, stage="paid", n=1, part=0.5, ok=True, at=datetime.now(UTC))
    set_attributes(stage=b"x")  # expect-error
    set_attributes(["stage"])  # expect-error


async def wrong() -> None:
    await plain("1")  # expect-error
    await plain()  # expect-error
    await fulfil(1, True)  # expect-error
    text: str = await fulfil(1)  # expect-error
    fulfil.start("1")  # expect-error
    await fulfil.start(1)  # expect-error
    fulfil.start()  # expect-error
    shipped_text: str = await fulfil.start(1).result()  # expect-error
    print((await fulfil.start(1).result()).okay)  # expect-error
    await plain.with_options(queue="q")("1")  # expect-error
    number_of: int = await plain.with_options(queue="q")(1)  # expect-error
    plain.with_options(queue="q").start("1")  # expect-error
    plain.with_options(key=1)  # expect-error
    plain.with_options(retries=1)  # expect-error
    plain.with_options(parent_close="kill")  # expect-error
    number, shipped = await asyncio.gather(plain(1), fulfil(1))
    number.bit_length()  # expect-error
    shipped.upper()  # expect-error
    patched(1)  # expect-error
    Retry(after=b"1s")  # expect-error
    print(text, shipped_text, number_of)


@workflow  # expect-error
def not_async(n: int) -> str:
    return str(n)


@workflow(timeout=b"90d")  # expect-error
async def worded() -> None: ...


@workflow(retries=3)  # expect-error
async def unknown_option() -> None: ...
