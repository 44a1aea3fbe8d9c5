"""The test switch: the append function of one namespace, with its comparison of fences taken out.

It exists in the database of a test only. Nothing in the product can ask for it.
"""

from __future__ import annotations

from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

CUTS = (
    ("p_fences[b] <> o_fences[b]", "false"),
    ("p_fences[b] IS NOT NULL AND p_stamps[b] <> v_stamps[b]", "false"),
    ("r.fence = p_fences[1]", "true"),
    ("r.stamp = coalesce(p_stamps[1], r.stamp)", "true"),
)
"""The long way through append and the short one: what is compared, and what stands there without it. The stamp goes
with the fence, or it would refuse what the fence does."""


async def remove_fences(url: str, namespace: str) -> None:
    """Replace the namespace's append. Raises AssertionError if it is not the function that this knows how to cut."""
    connection: Any = await cast(Any, asyncpg).connect(url)
    try:
        text: str = await connection.fetchval(
            "SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname = $1 AND p.proname = 'append' AND 'p_stamps' = ANY (p.proargnames)",
            namespace,
        )
        for fence, nothing in CUTS:
            assert text.count(fence) == 1, f"append compares fences {text.count(fence)} times as {fence!r}"
            text = text.replace(fence, nothing)
        await connection.execute(text)
    finally:
        await connection.close()
