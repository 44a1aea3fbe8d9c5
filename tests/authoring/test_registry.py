"""One name, one function."""

from __future__ import annotations

from typing import Any

import pytest

from fencepost import errors
from fencepost.authoring import registry as registries
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step
from fencepost.authoring.workflow import workflow


def make(source: str, file: str, module: str, registry: Registry) -> dict[str, Any]:
    """Run a module's source, as if it were a file."""
    scope: dict[str, Any] = {"__name__": module, "step": step, "workflow": workflow, "registry": registry}
    exec(compile(source, file, "exec"), scope)
    return scope


STEP = "@step(registry=registry)\nasync def charge() -> None: ...\n"
WORKFLOW = "@workflow(registry=registry)\nasync def charge() -> None: ...\n"


@pytest.mark.parametrize(("source", "kind"), [(STEP, "step"), (WORKFLOW, "workflow")])
def test_two_functions_under_one_name_are_refused_with_both_places(source: str, kind: str) -> None:
    """The log keeps the name only."""
    registry = Registry()
    make(source, "one.py", "one", registry)
    with pytest.raises(errors.DuplicateName) as caught:
        make("\n\n" + source, "two.py", "two", registry)
    message = str(caught.value)
    assert f"the {kind} 'charge'" in message
    assert "one.py:1 (one.charge)" in message
    assert "two.py:3 (two.charge)" in message
    assert "name=" in message


@pytest.mark.parametrize("source", [STEP, WORKFLOW])
@pytest.mark.parametrize(("edit", "module"), [("", "one"), ("\n\n", "one"), ("", "__main__")])
def test_a_reload_replaces(source: str, edit: str, module: str) -> None:
    """The same module again, edited or not, or the same file as the main program."""
    registry = Registry()
    first = make(source, "one.py", "one", registry)["charge"]
    second = make(edit + source, "one.py", module, registry)["charge"]
    found = registry.find_step("charge") or registry.find_workflow("charge")
    assert found is second
    assert found is not first


def test_a_step_and_a_workflow_may_share_a_name() -> None:
    """They are looked up apart."""
    registry = Registry()
    make(STEP, "one.py", "one", registry)
    make(WORKFLOW, "two.py", "two", registry)
    assert registry.find_step("charge") is not None
    assert registry.find_workflow("charge") is not None
    assert registry.find_step("other") is None
    assert registry.find_workflow("other") is None


def test_the_decorators_register_in_the_default_registry() -> None:
    """Bare and with options."""

    @step
    async def registered_by_default() -> None: ...

    @workflow(name="registered-by-default")
    async def flow() -> None: ...

    assert registries.default.find_step("registered_by_default") is registered_by_default
    assert registries.default.find_workflow("registered-by-default") is flow
