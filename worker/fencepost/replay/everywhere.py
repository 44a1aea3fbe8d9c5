"""Functions of the standard library that are replaced wherever a module holds them.

``from time import monotonic`` binds the function to a name of the importing module, and a new ``time.monotonic`` would
not reach that. So all modules that are there are searched, once; those that are imported later find the new one. What
holds the old function in another place (a default argument, a class attribute, a ``partial``) is not found.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

OWN = frozenset({"fencepost", "fencepost_store", "fencepost_queue"})
"""This product's own modules keep what they have."""


Function = Callable[..., Any]


class StockFunction:
    """What stands in the place of a function that is written in C. It is none of Python's functions, which become
    methods in a class: ``logging.Formatter.converter = time.gmtime`` must not hand it a formatter. Subclasses have
    ``__call__``.
    """

    __name__: str
    __qualname__: str

    def __init__(self, stock: Function) -> None:
        wrapper: Any = self
        functools.update_wrapper(wrapper, stock)
        self.stock = stock

    def __reduce__(self) -> str:
        return self.__qualname__  # as functions are pickled and copied: by their name

    def __repr__(self) -> str:
        return repr(self.stock)


def stock(function: Function) -> Function:
    """The function that a StockFunction stands in the place of; any other as it is."""
    return function.stock if isinstance(function, StockFunction) else function


def replace_everywhere(replacements: Mapping[Function, Function], keep: frozenset[str] = OWN) -> None:
    """Put the values in the places of the keys. ``keep``: top-level packages that are left alone."""
    by_id = {id(original): new for original, new in replacements.items()}
    for name, module in list(sys.modules.items()):
        attributes: dict[str, Any] | None = getattr(module, "__dict__", None)  # sys.modules may hold anything
        if name.partition(".")[0] in keep or attributes is None:
            continue
        for attribute in [each for each, value in list(attributes.items()) if id(value) in by_id]:
            attributes[attribute] = by_id[id(attributes[attribute])]
