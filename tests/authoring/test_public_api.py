"""``import fencepost``: sorted, complete, typed, and light."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_overloads

import pytest
from tests.syntax import parse

import fencepost
from fencepost import errors


def test_all_is_sorted_and_every_name_resolves() -> None:
    """And dir() shows it."""
    assert fencepost.__all__ == sorted(fencepost.__all__)
    assert dir(fencepost) == fencepost.__all__
    for name in fencepost.__all__:
        if name not in ("Client", "HookInfo"):  # bring the drivers with them; the client's own tests import them
            assert getattr(fencepost, name) is not None


def test_every_public_exception_is_exported() -> None:
    """One that users cannot import cannot be caught."""
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type) and name[0] != "_"}
    exceptions = {name for name in tree if issubclass(vars(errors)[name], BaseException)}
    assert exceptions <= set(fencepost.__all__)
    assert all(issubclass(vars(errors)[name], errors.FencepostError) for name in exceptions)


def test_what_checkers_see_is_what_is_exported() -> None:
    """The imports under TYPE_CHECKING and __all__ are two lists of the same names."""
    source = parse(Path(fencepost.__file__).read_text())
    block = next(node for node in source.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(fencepost.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fencepost.nothing  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore


def test_the_version_is_the_distributions() -> None:
    """Written in two places, checked here."""
    from importlib.metadata import version

    assert fencepost.__version__ == version("fencepost")


HEAVY = ("asyncio", "asyncpg", "redis", "anyio", "rich", "structlog", "msgspec", "pydantic", "click")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import fencepost", HEAVY),
        (
            "from fencepost import step, workflow, hook, sleep, now, current, Fatal",
            ("asyncpg", "redis", "anyio", "rich", "structlog", "pydantic", "click"),
        ),
    ],
)
def test_importing_it_loads_nothing_heavy(statement: str, heavy: tuple[str, ...]) -> None:
    """Neither drivers nor frameworks; authoring brings asyncio and msgspec, and nothing else."""
    script = f"{statement}\nimport sys\nprint(*sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_blocking_client_has_what_the_other_has() -> None:
    """Every method, with the same parameters and defaults in each of its forms. What it does is said once, and the
    blocking one says where: what one page shows of the client holds for both.
    """
    from fencepost import sync
    from fencepost.client import Run

    inside = {"begun", "prepare_joined", "call", "values"}  # of the implementations, not for users
    pairs: dict[str, tuple[type[Any], type[Any]]] = {
        "fencepost.Client": (fencepost.Client, sync.Client),
        "fencepost.client.Run": (Run, sync.Run),
        "fencepost.StreamReader": (fencepost.StreamReader, sync.StreamReader),
    }
    for path, (plain, blocking) in pairs.items():
        names = {name for name in (*dir(plain), *dir(blocking)) if name[0] != "_"} - inside
        assert names
        for name in names:
            ours, theirs = getattr(plain, name, None), getattr(blocking, name, None)
            assert ours is not None, name
            assert theirs is not None, name
            assert _forms(ours) == _forms(theirs), name
            assert f"See ``{path}.{name}``" in (theirs.__doc__ or ""), f"{path}.{name}"
    assert _parameters(fencepost.Client.__init__) == _parameters(sync.Client.__init__)


def _forms(function: Any) -> list[list[tuple[Any, ...]]]:
    """The parameters of a function, and of each of its overloads; none of a property's."""
    return [_parameters(form) for form in (function, *get_overloads(function))] if callable(function) else []


def _parameters(function: Any) -> list[tuple[Any, ...]]:
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default, each.annotation) for each in parameters]
