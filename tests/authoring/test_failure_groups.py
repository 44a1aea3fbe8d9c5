"""Exception groups through the log. H170."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.authoring.failure_zoo import Exits
from tests.authoring.test_failure_classes import through

from fencepost.failure import DEPTH_MAX, NODES_MAX, failure_of


def test_h170_the_body_s_own_error_stays_a_member_of_its_group() -> None:
    """It is the group's context, too: a TaskGroup raises while it handles it."""

    async def fails() -> None:
        raise ValueError("task")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(0)
            raise KeyError("body")

    caught: Any = None
    try:
        asyncio.run(main())
    except BaseException as error:  # noqa: BLE001 - a group
        caught = error
    assert isinstance(caught.__context__, KeyError), "or this test shows nothing"
    again = through(caught)
    assert sorted(repr(one) for one in again.exceptions) == ["KeyError('body')", "ValueError('task')"]
    seen: list[str] = []
    try:
        raise again
    except* KeyError:
        seen.append("body")
    except* ValueError:
        seen.append("task")
    assert sorted(seen) == ["body", "task"]
    assert again.__context__ in again.exceptions


def test_h170_what_was_one_object_is_one_again() -> None:
    """The cause of one member is another member, and the cause of the group."""
    first, second = ValueError("1"), KeyError("2")
    second.__cause__ = first
    group = ExceptionGroup("two", [second, first, ExceptionGroup("in", [first])])
    group.__cause__ = first
    again = through(group)
    one, other, inner = again.exceptions
    assert one.__cause__ is other
    assert inner.exceptions[0] is other
    assert again.__cause__ is other
    assert repr(other) == "ValueError('1')"


def test_a_subclass_comes_back_and_derives() -> None:
    """Its ``__new__`` takes other arguments, and is not called."""
    made: Any = Exits
    again = through(made([ValueError("1"), KeyError("2")], 7))
    assert type(again) is Exits
    assert (again.message, again.code) == ("exit code: 7", 7)
    halves: Any = again.split(ValueError)
    caught, rest = halves
    assert type(caught) is Exits
    assert (caught.code, repr(rest.exceptions[0])) == (7, "KeyError('2')")


def test_members_that_would_act_on_the_loop_do_not_take_the_others_with_them() -> None:
    """A BaseExceptionGroup comes back as one that can be raised in a workflow."""
    again = through(BaseExceptionGroup("b", [KeyboardInterrupt(), ValueError("v"), asyncio.CancelledError()]))
    assert isinstance(again, ExceptionGroup)
    assert repr(again.exceptions[1]) == "ValueError('v')"
    assert len(again.exceptions) == 3


def test_a_group_whose_class_is_not_here_is_a_group() -> None:
    """``except*`` sees its members."""
    kind = type("Gone", (ExceptionGroup,), {"__qualname__": "here.<locals>.Gone"})
    again = through(kind("gone", [ValueError("v")]))
    assert isinstance(again, ExceptionGroup)
    assert again.split(ValueError)[0] is not None
    assert again.type.endswith("Gone")  # type: ignore[attr-defined]  # pyright: ignore


def test_a_wide_group_keeps_as_many_as_fit_and_says_how_many_it_had() -> None:
    """In a note."""
    again = through(ExceptionGroup("wide", [ValueError(str(n)) for n in range(1000)]))
    assert len(again.exceptions) == NODES_MAX - 1
    assert [str(one) for one in again.exceptions[:3]] == ["0", "1", "2"]
    [note] = [note for note in again.__notes__ if "not recorded" in note]
    assert f"{1000 - NODES_MAX + 1} of its 1000 exceptions" in note
    hundred = through(ExceptionGroup("wide", [ValueError(str(n)) for n in range(200)]))
    assert len(hundred.exceptions) == 200


def test_a_deep_group_ends_in_what_says_so() -> None:
    """As deep as a chain may be."""
    group: Any = ValueError("leaf")
    for n in range(100):
        group = ExceptionGroup(str(n), [group])
    again = through(group)
    depth = 0
    while isinstance(again, ExceptionGroup):
        depth, again = depth + 1, again.exceptions[0]
    assert depth == DEPTH_MAX - 1
    assert again.type == "builtins.ExceptionGroup"
    assert any("1 of its 1 exceptions" in note for note in again.__notes__)
    assert failure_of(group).left_out == ()
