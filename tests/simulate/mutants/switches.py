"""What a mutant is: a guard, and how it is taken out of the running process and put back. Only tests come here;
production code has no switch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.hazards.removals import REGISTRY

_INHERITED = object()


class Patch:
    """Replaced attributes, put back by ``undo``."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []
        self._removed: pytest.MonkeyPatch | None = None

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace; returns what was there."""
        real = getattr(owner, name)
        kept = owner.__dict__.get(name, _INHERITED) if isinstance(owner, type) else real
        self._before.append((owner, name, kept))
        setattr(owner, name, value)
        return real

    def remove(self, name: str) -> None:
        """Take out what ``make hazards`` takes out under that name (tests/hazards): SQL and Lua among it."""
        self._removed = pytest.MonkeyPatch()
        REGISTRY[name].apply(self._removed)

    def undo(self) -> None:
        """Put everything back."""
        if self._removed is not None:
            self._removed.undo()
        for owner, name, kept in reversed(self._before):
            if kept is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, kept)
        self._before.clear()


class Mutant(msgspec.Struct, frozen=True):
    """``name``, what it takes out or who once had it (``says``), ``apply``. ``seeds``: how many schedules it is given;
    0 where those that need the guard are too rare. ``test``: the test that finds it where no schedule of those has, a
    node of pytest below ``tests``. ``historical``: a bug that another engine has had.
    """

    name: str
    says: str
    apply: Callable[[Patch], None]
    test: str
    seeds: int
    historical: bool = False


MUTANTS: dict[str, Mutant] = {}
"""All of them, by name."""

SEEDS = 60
"""Schedules that a mutant is given before its test is run: about what the test costs, two seconds. More would find
more, and the test finds it for sure."""


def mutant(
    test: str, *, seeds: int = SEEDS, historical: bool = False
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Enter a function as a mutant; its docstring says what it is."""

    def enter(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        says = " ".join((apply.__doc__ or "").split())
        assert apply.__name__ not in MUTANTS, apply.__name__
        MUTANTS[apply.__name__] = Mutant(apply.__name__, says, apply, f"tests/{test}", seeds, historical)
        return apply

    return enter
