"""Whose a frame is, and how the others are folded."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from fencepost.failure import exception_of, failure_of
from fencepost.records import Failure, Frame, StepEnded, pack, unpack
from fencepost.tracebacks import FRAMES_MAX, folded, is_own, own_code, report, where


def recorded(call: Callable[[], object]) -> Failure:
    """What the call raises, as it is read from a log."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return unpack(pack(StepEnded(failure_of(error))), StepEnded).error
    raise AssertionError("it raised nothing")


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> types.ModuleType:
    """A package in a folder of installed ones."""
    folder = tmp_path / "lib" / "python3.11" / "site-packages"
    folder.mkdir(parents=True)
    (folder / f"{name}.py").write_text(
        "def run(call):\n    return call()\n\n\ndef fail():\n    raise ValueError('in it')\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module(name)


def test_frames_of_an_installed_package_are_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the user's as at the end, named by the package."""
    driver = installed(tmp_path, monkeypatch, "errs_driver")

    def query() -> None:
        driver.fail()

    failure = recorded(lambda: driver.run(query))
    assert [frame.name for frame in failure.frames] == ["recorded", "<lambda>", "query"]
    text = folded(failure)
    assert text.count("  ... 1 frame of errs_driver") == 2
    assert "return call()" not in text
    assert "driver.fail()" in text
    assert text.endswith("ValueError: in it")
    assert "return call()" in report(failure, full=True)
    assert where(failure).endswith(f":{failure.frames[-1].line}")


def test_an_application_that_is_installed_as_a_package_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package has a workflow or a step: in an image it usually is in site-packages."""
    application = installed(tmp_path, monkeypatch, "errs_application")
    assert recorded(application.fail).frames[-1].name == "recorded"
    own_code("errs_application.flows")
    assert recorded(application.fail).frames[-1].name == "fail"
    assert "raise ValueError" in folded(recorded(application.fail))


def test_fencepost_s_own_steps_do_not_make_it_the_users() -> None:
    """The step that writes to streams is registered as any other."""
    own_code("fencepost.authoring.stream_step")
    assert not is_own("/anywhere/fencepost/engine/bodies.py", "fencepost.engine.bodies")
    assert not is_own("/anywhere/store.py", "fencepost_store.memory")
    assert is_own("/srv/fencepost/app.py", "app"), "a folder of that name is the user's"
    assert not is_own(json.__file__, "json")
    assert is_own("<string>", "__main__")


def test_a_recursion_is_bounded_and_folded_whole() -> None:
    """Both ends stay; Python's own note of repetition goes with the frames it speaks of."""

    def down(n: int) -> int:
        return json.loads("[") if n == 0 else down(n - 1)

    failure = recorded(lambda: down(100))
    assert len(failure.frames) == FRAMES_MAX
    assert (failure.frames[0].name, failure.frames[-1].name) == ("recorded", "down")
    lines = folded(failure).splitlines()
    assert any("Previous line repeated" in line for line in lines)
    assert any("frames of python" in line for line in lines)
    assert not any("decoder.py" in line for line in lines)


def test_a_record_of_an_older_version_is_folded_by_paths() -> None:
    """It has no frames of its own."""
    text = "\n".join(
        [
            "Traceback (most recent call last):",
            '  File "/opt/app/.venv/lib/python3.11/site-packages/fencepost/engine/bodies.py", line 1, in _here',
            "    value = await step.fn()",
            "            ^^^^^^^^^^^^^^^",
            '  File "/opt/app/flows.py", line 7, in charge',
            "    return 1 / 0",
            '  File "/usr/lib/python3.11/asyncio/tasks.py", line 2, in wait',
            "ZeroDivisionError: division by zero",
        ]
    )
    assert folded(Failure("builtins.ZeroDivisionError", "division by zero", traceback=text)).splitlines() == [
        "Traceback (most recent call last):",
        "  ... 1 frame of fencepost",
        '  File "/opt/app/flows.py", line 7, in charge',
        "    return 1 / 0",
        "  ... 1 frame of python",
        "ZeroDivisionError: division by zero",
    ]


def test_without_a_traceback_the_frames_are_told() -> None:
    """Of a record that was shortened, or whose key is missing."""
    failure = Failure("shop.Declined", "no", frames=(Frame("/opt/app/flows.py", 7, "charge"),))
    assert folded(failure).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/opt/app/flows.py", line 7, in charge',
        "shop.Declined: no",
    ]
    assert folded(Failure("shop.Declined", "no")) == "shop.Declined: no"


def test_what_came_through_a_log_keeps_the_frames_of_where_it_happened() -> None:
    """A step's failure in the workflow, a child's in its parent: the innermost line is the first cause's."""

    def body() -> None:
        raise KeyError("k")

    def awaits(error: BaseException) -> None:
        raise error

    step = recorded(body)
    run = recorded(lambda: awaits(exception_of(step)))
    assert [frame.name for frame in run.frames][-2:] == ["recorded", "body"]
    assert "awaits" in [frame.name for frame in run.frames]
    assert where(run) == where(step)
    text = folded(run)
    assert "in body" in text
    assert 'raise KeyError("k")' in text


def test_causes_are_printed_as_python_does() -> None:
    """The first cause first, and the words between."""

    def fails() -> None:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("then") from first

    text = report(recorded(fails))
    assert text.index("KeyError: 'first'") < text.index("direct cause") < text.index("ValueError: then")

    def hides() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("then") from None

    assert "first" not in report(recorded(hides)).replace('KeyError("first")', "")


def test_no_variable_is_recorded() -> None:
    """Places only: neither locals nor globals."""

    def fails() -> None:
        token = "".join(("hunter", "2"))
        raise ValueError(len(token))

    assert b"hunter2" not in pack(StepEnded(recorded(fails)))


def test_a_traceback_that_python_cannot_format_still_has_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames do not come from the text."""

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(traceback, "format_exception", broken)
    assert recorded(lambda: 1 / 0).frames
    assert sys.version_info >= (3, 11)
