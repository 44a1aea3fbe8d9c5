"""Mistakes that a client's caller makes: a message that names the field, the value, the bound or the form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Any, cast

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import errors, set_attributes, transaction, workflow
from fencepost.authoring.patch import patched

Call = Callable[[Any, Any], Awaitable[Any]]

MISTAKES: dict[str, tuple[Call, list[str]]] = {
    "no workflow": (lambda c, r: c.start(5), ["not 5", "@workflow"]),
    "an empty name": (lambda c, r: c.start(""), ["workflow = ''", "at least one character"]),
    "a NUL in a name": (lambda c, r: c.start("a\0"), ["NUL", "workflow"]),
    "a NUL in a key": (lambda c, r: c.start("flow", key="a\0"), ["NUL", "key"]),
    "a long key": (lambda c, r: c.start("flow", key="k" * 2000), ["key", "1024"]),
    "a queue with a space": (lambda c, r: c.start("flow", queue="a b"), ["queue = 'a b'", "1 to 200"]),
    "a queue that is a number": (lambda c, r: c.start("flow", queue=5), ["queue = 5", "text"]),
    "a delay in words": (lambda c, r: c.start("flow", delay="soon"), ["delay = 'soon'", "'30s'"]),
    "a delay that is a truth value": (lambda c, r: c.start("flow", delay=True), ["delay = True"]),
    "a negative delay": (lambda c, r: c.start("flow", delay=-1), ["delay = -1", "0 s or more"]),
    "an endless delay": (lambda c, r: c.start("flow", delay=float("nan")), ["delay = nan"]),
    "an instant in words": (
        lambda c, r: c.start("flow", start_at="2030-01-01"),
        ["start_at = '2030", "aware datetime"],
    ),
    "a date": (lambda c, r: c.start("flow", start_at=date(2030, 1, 1)), ["start_at = datetime.date", "aware datetime"]),
    "a naive instant": (lambda c, r: c.start("flow", start_at=datetime(2030, 1, 1)), ["start_at", "no time zone"]),  # noqa: DTZ001
    "attributes in a list": (lambda c, r: c.start("flow", attributes=[1]), ["attribute", "[1]", "mapping"]),
    "an attribute's name that is a number": (lambda c, r: c.start("flow", attributes={5: 1}), ["'5'", "text, not int"]),
    "an unknown keyword": (lambda c, r: c.start(r["flow"], 1, nme=2), ["flow(n: ", "'nme'"]),
    "a timeout in words": (lambda c, r: r["run"].result("soon"), ["timeout = 'soon'", "'30s'"]),
    "a negative timeout": (lambda c, r: r["run"].result(-1), ["timeout = -1", "0 s or more"]),
    "a reason that is a number": (lambda c, r: r["run"].cancel(5), ["reason = 5", "text"]),
    "a grace in words": (lambda c, r: r["run"].cancel("x", grace="a bit"), ["grace = 'a bit'", "terminate"]),
    "no grace": (lambda c, r: r["run"].cancel("x", grace=0), ["grace = 0", "more than 0 s", "terminate"]),
    "an unknown status": (lambda c, r: c.list(status="done"), ["'done'", "completed"]),
    "no runs": (lambda c, r: c.list(limit=0), ["limit = 0", "1 to 100,000"]),
    "a limit in words": (lambda c, r: c.list(limit="all"), ["limit = 'all'"]),
    "before what is no run": (lambda c, r: c.list(before="x"), ["before = 'x'", "id of a run"]),
    "a parent that is no run": (lambda c, r: c.list(parent="x"), ["parent = 'x'", "id of a run"]),
    "a list by the workflow itself": (lambda c, r: c.list(workflow=r["flow"]), ["workflow's name", "'flow'"]),
    "a key's workflow that is none": (lambda c, r: c.find(5, "k"), ["workflow = 5"]),
    "a pruning of what is young": (lambda c, r: c.prune("5m"), ["older_than = 300 s", "an hour"]),
    "a pruning in words": (lambda c, r: c.prune("old"), ["older_than = 'old'", "'30s'"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_callers_mistake_is_named(name: str) -> None:
    call, words = MISTAKES[name]

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow(n: int = 1) -> int:
            return n

        client = world.client()
        there = {"flow": flow, "run": await client.start("flow")}
        with pytest.raises(errors.FencepostError) as caught:
            await call(client, there)
        assert isinstance(caught.value, (errors.ArgumentError, errors.BadAttribute))
        assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)
        assert len(await client.list()) == 1, "nothing was written"

    run(main)


def test_what_is_right_is_taken() -> None:
    """The same calls in forms that fit."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry, timeout="1h")
        async def flow(n: int = 1) -> int:
            return n

        client = world.client()
        async with world.worker("A"):
            later = await client.start("flow", delay="2m")
            begins = (await later.status()).starts_at
            assert begins is not None
            assert await later.result(timedelta(hours=1)) == 1
            with pytest.raises(errors.ResultTimeout, match=r"within 0\.5 s"):
                await (await client.start("flow", queue="nobody")).result("500ms")

    run(main)


WORKFLOW_MISTAKES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "patched(5)": (lambda: cast(Any, patched)(5), ["TypeError: patched(5)", "text, not int"]),
    "set_attributes({5: 1})": (
        lambda: cast(Any, set_attributes)({5: 1}),
        ["BadAttribute: attribute '5'", "text, not int"],
    ),
    "set_attributes([1])": (lambda: cast(Any, set_attributes)([1]), ["BadAttribute", "mapping"]),
    "transaction()": (
        lambda: transaction().__aenter__(),
        ["NotInWorkflow: transaction()", "in a workflow: do it in a step"],
    ),
}


@pytest.mark.parametrize("name", WORKFLOW_MISTAKES)
def test_a_mistake_in_workflow_code_is_named_in_the_runs_error(name: str) -> None:
    call, words = WORKFLOW_MISTAKES[name]

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            found = call()
            if isinstance(found, Awaitable):
                await found

        async with world.worker("A"):
            with pytest.raises(errors.RunFailed) as caught:
                await (await world.start(flow)).result(60)
            assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)

    run(main)
