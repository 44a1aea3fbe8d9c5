"""The parser that tests use."""

from __future__ import annotations

import ast
import gc
import inspect
from collections.abc import Callable

import pytest
from tests.syntax import parse

SOURCE = "\n".join(f"x{number} = [({number}, 'a'), f(y)]" for number in range(200))


class Trash:
    """In a cycle, so that only a garbage collection ends it; it tells whether that came inside ``ast.parse``."""

    def __init__(self, inside: list[bool]) -> None:
        self._me = self
        self._inside = inside

    def __del__(self) -> None:
        me = inspect.currentframe()
        self._inside.append(me is not None and me.f_back is not None and me.f_back.f_code is ast.parse.__code__)


@pytest.mark.parametrize(("how", "reached"), [(parse, False), (ast.parse, True)])
def test_no_finalizer_runs_while_a_tree_is_built(how: Callable[[str], ast.Module], reached: bool) -> None:
    """The same collections reach plain ``ast.parse``: this test can fail."""
    inside: list[bool] = []
    before = gc.get_threshold()
    gc.set_threshold(50, 1, 1)
    try:
        for _ in range(20):
            trash = [Trash(inside) for _ in range(20)]
            del trash
            assert len(how(SOURCE).body) == 200
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(inside) == 400
    assert any(inside) is reached
