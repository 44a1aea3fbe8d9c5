"""What a mutant is: a guard, and how it is taken out of the running process and put back. Only tests come here;
production code has no switch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

_INHERITED = object()


class Patch:
    """Replaced attributes, put back by ``undo``."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace; returns what was there."""
        real = getattr(owner, name)
        kept = owner.__dict__.get(name, _INHERITED) if isinstance(owner, type) else real
        self._before.append((owner, name, kept))
        setattr(owner, name, value)
        return real

    def undo(self) -> None:
        """Put everything back."""
        for owner, name, kept in reversed(self._before):
            if kept is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, kept)
        self._before.clear()


class Mutant(msgspec.Struct, frozen=True):
    """``name``, what it takes out or who once had it (``says``), ``apply``. ``seeds``: how many it is given.
    ``historical``: a bug that another engine has had. ``test``: arguments of pytest, for what finds it where no
    schedule of those has; with 0 ``seeds`` no schedule is tried.
    """

    name: str
    says: str
    apply: Callable[[Patch], None]
    seeds: int = 150
    historical: bool = False
    test: tuple[str, ...] = ()


MUTANTS: dict[str, Mutant] = {}
"""All of them, by name."""


_ROOMS: dict[str, tuple[str, ...]] = {
    "of_the_store": ("tests/store", "-k", "memory"),
    "of_the_queue": ("tests/queue", "-k", "memory"),
    "of_the_engine": ("tests/engine", "-k", "hazards or grace or cancel"),
    "of_replay": ("tests/replay/test_hooks.py", "tests/replay/test_divergence.py", "tests/replay/test_steps.py"),
}


def mutant(
    *, seeds: int = 150, historical: bool = False, test: tuple[str, ...] = ()
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Enter a function as a mutant; its docstring says what it is. Without ``test``, those of its module's room."""

    def enter(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        says = " ".join((apply.__doc__ or "").split())
        assert apply.__name__ not in MUTANTS, apply.__name__
        where = test or _ROOMS[apply.__module__.rpartition(".")[2]]
        MUTANTS[apply.__name__] = Mutant(apply.__name__, says, apply, seeds, historical, where)
        return apply

    return enter
