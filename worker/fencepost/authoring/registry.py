"""Which workflows and steps this process has, by name, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, cast

from fencepost.authoring.executions import Execution, current_execution
from fencepost.authoring.fingerprint import joined_fingerprint
from fencepost.errors import DuplicateName
from fencepost.tracebacks import own_code

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from fencepost.authoring.interceptors import StepInterceptor, WorkflowInterceptor
    from fencepost.authoring.step import Step
    from fencepost.authoring.workflow import Workflow


RESERVED = "fencepost."
"""How the names of steps begin that every worker has."""


class Registry:
    """Workflows and steps by name. Names are what the log keeps, so two functions never share one.

    Registering it again replaces it if its module is executed again (a reload, or a file that runs as the main program
    and is imported too). Two functions of one ``def`` in one execution are two functions.
    """

    def __init__(self) -> None:
        self.workflows: dict[str, Workflow[..., Any]] = {}
        self.steps: dict[str, Step[..., Any]] = {}
        self.step_interceptors: list[StepInterceptor] = []
        self.workflow_interceptors: list[WorkflowInterceptor] = []
        self.lifespans: list[tuple[str, Callable[[], AbstractAsyncContextManager[Any]]]] = []
        self._fingerprint = ""
        self._executions: dict[tuple[str, str], Execution] = {}

    @property
    def fingerprint(self) -> str:
        """Which code this is, as far as it matters for what a process can do: names and signatures."""
        if not self._fingerprint:
            known = [
                *((f"workflow {name}", made.arguments.fingerprint) for name, made in sorted(self.workflows.items())),
                *((f"step {name}", made.arguments.fingerprint) for name, made in sorted(self.steps.items())),
            ]
            self._fingerprint = joined_fingerprint(known)
        return self._fingerprint

    def find_workflow(self, name: str) -> Workflow[..., Any] | None:
        """The workflow of that name, None if this process does not have its code."""
        return self.workflows.get(name)

    def find_step(self, name: str) -> Step[..., Any] | None:
        """The step of that name, None if this process does not have its code."""
        return self.steps.get(name) or _ours(name)

    def add_workflow(self, workflow: Workflow[..., Any]) -> None:
        """Register. Raises DuplicateName, with both locations."""
        known = self.workflows.get(workflow.name)
        self._admit("workflow", workflow.name, None if known is None else known.fn, workflow.fn)
        self.workflows[workflow.name] = workflow
        self._fingerprint = ""
        own_code(workflow.fn.__module__)

    def add_step(self, step: Step[..., Any]) -> None:
        """Register. Raises DuplicateName, with both locations."""
        if step.name.startswith(RESERVED):
            raise ValueError(f"@step(name={step.name!r}): names that begin with {RESERVED!r} are fencepost's own")
        known = self.steps.get(step.name)
        self._admit("step", step.name, None if known is None else known.fn, step.fn)
        self.steps[step.name] = step
        self._fingerprint = ""
        own_code(step.fn.__module__)

    def _admit(self, kind: str, name: str, known: Callable[..., Any] | None, new: Callable[..., Any]) -> None:
        """Raises DuplicateName for another function than the known one."""
        now, before = current_execution(), self._executions.get((kind, name))
        if known is not None and known is not new:
            reloaded = before is not None and now.repeats(before) and _same(known, new)
            if not reloaded:
                raise DuplicateName(_told(kind, name, known, new))
        self._executions[kind, name] = now


def _ours(name: str) -> Step[..., Any] | None:
    """A step of fencepost's own, which every worker has."""
    from fencepost.authoring.stream_step import WRITE

    return cast("Step[..., Any]", WRITE) if name == WRITE.name else None


default: Registry = Registry()
"""Where the decorators register unless they are told otherwise."""


def location(fn: Callable[..., Any]) -> str:
    """``file:line (module.qualname)`` of a function, for messages."""
    code: CodeType | None = getattr(fn, "__code__", None)
    place = f"{code.co_filename}:{code.co_firstlineno} " if code is not None else ""
    return f"{place}({fn.__module__}.{fn.__qualname__})"


def _told(kind: str, name: str, known: Callable[..., Any], new: Callable[..., Any]) -> str:
    if getattr(known, "__code__", known) is not getattr(new, "__code__", new) and location(known) != location(new):
        return (
            f"two functions are registered as the {kind} {name!r}: {location(known)} and {location(new)}. "
            f"The log keeps the name only: give one of them its own, @{kind}(name=...)"
        )
    wraps = "" if hasattr(new, "__wrapped__") else ", or functools.wraps in a decorator that returns it"
    return (
        f"one def makes two functions that are registered as the {kind} {name!r}: {location(new)}. The log keeps the"
        f" name only, so a call of one would run the other: give each its own, @{kind}(name=...){wraps}"
    )


def _same(known: Callable[..., Any], new: Callable[..., Any]) -> bool:
    if (known.__module__, known.__qualname__) == (new.__module__, new.__qualname__):
        return True
    old_code: CodeType | None = getattr(known, "__code__", None)
    new_code: CodeType | None = getattr(new, "__code__", None)
    if old_code is None or new_code is None:
        return False
    # A file that runs as __main__ and is imported too: one function, two modules.
    return (old_code.co_filename, old_code.co_firstlineno) == (new_code.co_filename, new_code.co_firstlineno)
