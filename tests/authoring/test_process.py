"""Bodies in a process of their own: values and errors cross as bytes, never pickled."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import anyio.to_process
import pytest

from fencepost import errors
from fencepost.authoring.context import StepContext
from fencepost.authoring.process import call_encoded, outcome_of
from fencepost.authoring.step import Step
from fencepost.records import StepEnded, unpack

CONTEXT = StepContext("run-1", "crunch#1", "flow", 1)


@pytest.fixture(scope="module")
def steps() -> Any:
    """The module of steps, importable here and by name in another process."""
    folder = str(Path(__file__).parent)
    name = "process_steps"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(folder) / "process_steps.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def here(step: Step[..., Any], *args: Any) -> bytes:
    return outcome_of(call_encoded(*step.reference, step.arguments.encode(args, {}), CONTEXT))


async def test_a_body_runs_in_another_process(steps: Any) -> None:
    """With its own arguments, context and result."""
    crunch = steps.crunch
    assert crunch.mode == "process"
    data = crunch.arguments.encode((steps.Job(1),), {})
    module, qualname = crunch.reference
    answer = await anyio.to_process.run_sync(in_folder, str(Path(__file__).parent), module, qualname, data, CONTEXT)
    job, pid, key = crunch.decode_result(outcome_of(answer))
    assert (job, key) == (steps.Job(2), "run-1:crunch#1")
    assert pid != os.getpid()


def in_folder(folder: str, module: str, qualname: str, data: bytes, context: StepContext) -> tuple[bool | None, bytes]:
    """In the other process: make the folder importable first."""
    sys.path.insert(0, folder)
    return call_encoded(module, qualname, data, context)


def test_an_async_body_has_a_loop_of_its_own(steps: Any) -> None:
    """There is none in that process."""
    assert steps.crunch_async.decode_result(here(steps.crunch_async, steps.Job(2))) == steps.Job(4)


def test_an_error_comes_back_as_itself(steps: Any) -> None:
    """Also one that pickle could not bring back; and Fatal stays fatal."""
    with pytest.raises(steps.Unpicklable, match="job 1: tired") as caught:
        here(steps.refuse, steps.Job(1))
    assert caught.value.why == "tired"
    assert not errors.failure_of(caught.value).retryable


def test_sys_exit_in_a_body_is_the_steps_error(steps: Any) -> None:
    """Not the end of the process that runs it, nor of the one that asked."""
    with pytest.raises(errors.StepFailed) as caught:
        here(steps.leave, steps.Job(1))
    assert caught.value.type == "builtins.SystemExit"


def test_h131_a_name_that_is_no_step_there_is_that_process_s_lack() -> None:
    """A script's own steps are not found elsewhere, nor what a deploy has renamed since: no outcome of the step."""
    told, words = call_encoded("__main__", "nothing_of_this_name", b"", CONTEXT)
    assert told is None
    assert b"a module that can be imported" in words
    told, words = call_encoded("no_such_module", "step", b"", CONTEXT)
    assert (told, b"no_such_module" in words) == (None, True)


def test_h131_arguments_of_other_code_are_no_error_of_the_step(steps: Any) -> None:
    """The files changed since the worker loaded them. Where the signature is the caller's, they are its own error."""
    module, name = steps.crunch.reference
    args = steps.crunch_async.arguments.encode((steps.Job(1),), {})[:1] + b"\x92\x93\x01\x02\x03\x80"
    told, words = call_encoded(module, name, args, CONTEXT, b"another")
    assert told is None
    assert b"another signature" in words
    told, _ = call_encoded(module, name, args, CONTEXT, steps.crunch.arguments.fingerprint)
    assert told is False


def test_h144_of_several_steps_of_one_def_each_runs_its_own(steps: Any) -> None:
    """Module and qualified name are the same; the step's name is not."""
    for made, expected in ((steps.double, 14), (steps.treble, 21)):
        args = made.arguments.encode((7,), {})
        module, place = made.reference
        answer = call_encoded(module, place, args, CONTEXT, made.arguments.fingerprint, made.name)
        assert made.decode_result(outcome_of(answer)) == expected


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "GeneratorExit", "StopIteration", "SystemExit"])
def test_h139_whatever_a_body_raises_in_its_process_is_recorded_there(steps: Any, error: str) -> None:
    """The process goes on."""
    args = steps.ends.arguments.encode((error,), {})
    module, place = steps.ends.reference
    told, data = call_encoded(module, place, args, CONTEXT, steps.ends.arguments.fingerprint)
    assert told is False
    assert unpack(data, StepEnded).error.type == f"builtins.{error}"
