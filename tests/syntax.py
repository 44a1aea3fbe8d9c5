"""Source text as a syntax tree, for tests that read code without importing it."""

from __future__ import annotations

import ast
import gc


def parse(source: str) -> ast.Module:
    """``ast.parse`` that nothing can interrupt.

    CPython 3.11.0 to 3.11.7 count the depth of a tree that is being built in one place for the whole interpreter
    (gh-106905): a second parse while the first is under way raises "SystemError: AST constructor recursion depth
    mismatch". A garbage collection in the middle is enough, if it ends an object whose finalizer writes a traceback,
    or lets another thread run."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if enabled:
            gc.enable()
