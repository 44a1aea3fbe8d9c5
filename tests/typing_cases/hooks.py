# type: ignore  # wrong on purpose: checked by test_typing_cases.py
"""Hooks: the payload's type is what was asked for. Read by test_typing_cases.py, never imported."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, assert_type

from fencepost import Hook, HookConflict, hook


@dataclass
class Approval:
    ok: bool


async def right() -> None:
    async with hook(Approval, token="a") as approval:
        assert_type(approval, Hook[Approval])
        assert_type(await approval, Approval)
        async with asyncio.timeout(1):
            assert_type((await approval).ok, bool)
        async for one in approval:
            assert_type(one, Approval)
        assert_type(await approval.conflict(), HookConflict | None)
        assert_type(approval.token, str)
    assert_type(await hook(list[int]), list[int])
    assert_type(await hook(dict[str, Approval], "token"), dict[str, Approval])
    assert_type(hook(token="any"), Hook[Any])
    print(await hook(int | str), hook(Approval, metadata={"team": [1, 2]}, http=True))


async def wrong() -> None:
    print((await hook(Approval)).okay)  # expect-error
    number: int = await hook(Approval)  # expect-error
    other: Hook[int] = hook(Approval)  # expect-error
    async for one in hook(int):
        one.upper()  # expect-error
    hook(Approval, token=1)  # expect-error
    hook(Approval, metadata="team")  # expect-error
    hook(Approval, metadata={1: 2})  # expect-error
    hook(Approval, http="yes")  # expect-error
    hook(Approval, timeout=1)  # expect-error
    hook(Approval(True))  # expect-error
    with hook(Approval):  # expect-error
        pass
    print(number, other)
