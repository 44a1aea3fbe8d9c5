"""An exception of the user's has the context that their code gave it, and none of ours."""

from __future__ import annotations

import ast
import sys
import traceback
from pathlib import Path

import pytest
from tests.syntax import parse

from fencepost.engine.loops import run_loop
from fencepost.failure import failure_of

ROOMS = Path(__file__).parents[2]
MISSING = {"ImportError", "ModuleNotFoundError"}


async def fails() -> None:
    raise ValueError("the user's")


def test_without_uvloop_an_error_has_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of a worker begins outside of the handler of the missing import."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ValueError, match="the user's") as caught:
        run_loop(fails())
    assert caught.value.__context__ is None
    assert failure_of(caught.value).context is None
    assert "No module named" not in "".join(traceback.format_exception(caught.value))


def test_with_uvloop_it_is_used() -> None:
    """And it is the one that is installed."""
    uvloop = pytest.importorskip("uvloop")

    async def kind() -> bool:
        import asyncio

        return isinstance(asyncio.get_running_loop(), uvloop.Loop)

    assert run_loop(kind())


def working_handlers(root: Path) -> list[str]:
    """Handlers of a missing import that do more than raise or remember it: whatever they call has it as its context."""
    found: list[str] = []
    for path in sorted(path for room in ("worker", "store", "queue") for path in (root / room).rglob("*.py")):
        for node in ast.walk(parse(path.read_text())):
            if not isinstance(node, ast.ExceptHandler) or node.type is None:
                continue
            names = {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
            working = [
                one
                for statement in node.body
                if not isinstance(statement, ast.Raise | ast.If)
                for one in ast.walk(statement)
                if isinstance(one, ast.Call | ast.Await)
            ]
            if names & MISSING and working:
                found.append(f"{path.relative_to(root)}:{node.lineno}")
    return found


def test_no_handler_of_a_missing_import_does_the_work() -> None:
    """Enumerated over the source."""
    assert working_handlers(ROOMS) == []


def test_the_enumeration_sees_one(tmp_path: Path) -> None:
    """The check above can fail."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "planted.py").write_text("try:\n    import x\nexcept ImportError:\n    main()\n")
    assert working_handlers(tmp_path) == ["worker/planted.py:3"]
