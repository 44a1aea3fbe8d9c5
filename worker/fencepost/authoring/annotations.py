"""What a function's annotations mean: each is evaluated where it was written.

A decorator that uses ``functools.wraps`` copies the annotations of what it wraps, but its wrapper stands in a module of
its own. So an annotation belongs to the innermost function of the ``__wrapped__`` chain that has it, and is evaluated
with that function's module, closure and type parameters, and with what was there, in the function around it, when it
was decorated.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from fencepost.errors import PayloadError

WRAPPERS_MAX = 100
"""A chain of wrappers that is longer goes in circles."""

Scope = tuple[dict[str, Any], dict[str, Any]]
"""Names of a module, and names nearer than those."""


class Annotations:
    """The annotations of one function, as types.

    Evaluated at the first use, so that classes defined further down are found. What is known at once that it will never
    be found is refused at once: raises TypeError for a name that is imported for type checkers only.
    """

    def __init__(self, fn: Callable[..., Any], name: str, signature: inspect.Signature) -> None:
        self._fn = fn
        self._name = name
        self._signature = signature
        self._functions = _chain(fn)
        self._around = {id(one): _names_around(one) for one in self._functions}
        self._types: Mapping[str, Any] | None = None
        self._refuse_names_for_checkers()

    def types(self) -> Mapping[str, Any]:
        """By parameter, and ``return``. Raises PayloadError, with the name that cannot be found."""
        if self._types is None:
            self._types = {name: self._type(name, written) for name, written in self._written()}
        return self._types

    def known(self) -> Mapping[str, Any]:
        """The same, with Any for what cannot be found. Raises nothing."""
        found: dict[str, Any] = {}
        for name, written in self._written():
            try:
                found[name] = self._type(name, written)
            except PayloadError:
                found[name] = Any
        return found

    def _written(self) -> Iterator[tuple[str, Any]]:
        for parameter in self._signature.parameters.values():
            if parameter.annotation is not parameter.empty:
                yield parameter.name, _starless(parameter.annotation)
        if self._signature.return_annotation is not self._signature.empty:
            yield "return", self._signature.return_annotation

    def _type(self, parameter: str, written: Any) -> Any:
        trouble: Exception | None = None
        for names, nearer in self._scopes(parameter, written):
            try:
                return _evaluated(parameter, written, names, nearer)
            except Exception as error:  # noqa: BLE001 - evaluating an annotation runs whatever it says; it is told below
                trouble = trouble or error
        raise PayloadError(
            f"the annotation {written!r} of {parameter!r} of {self._name} ({_place(self._fn)}) cannot be resolved"
            f" ({trouble}): define the class at module level, or where the function can see it, and import it outside"
            " TYPE_CHECKING"
        ) from trouble

    def _scopes(self, parameter: str, written: Any) -> list[Scope]:
        """Where it may have been written, the likeliest place first."""
        owner = next((one for one in reversed(self._functions) if _has(one, parameter, written)), None)
        # A decorator that sets __signature__ writes annotations that no function has.
        places = self._functions if owner is None else [owner]
        return [(getattr(one, "__globals__", {}), self._near(one)) for one in places]

    def _near(self, fn: Callable[..., Any]) -> dict[str, Any]:
        return {**self._around[id(fn)], **_closure(fn)}

    def _refuse_names_for_checkers(self) -> None:
        for parameter, written in self._written():
            names, nearer = self._scopes(parameter, written)[0]
            unknown = [
                n for n in sorted(_names_in(written)) if n not in nearer and n not in names and not hasattr(builtins, n)
            ]
            file = str(names.get("__file__", ""))
            for name in unknown:
                if (line := _imported_for_checkers(file).get(name)) is not None:
                    raise TypeError(
                        f"the annotation {written!r} of {parameter!r} of {self._name} ({_place(self._fn)}) needs"
                        f" {name!r}, which {file}:{line} imports for type checkers only: values are read by their"
                        " annotations, so import it outside TYPE_CHECKING (ruff: noqa: TC001, TC002 or TC003)"
                    )


def _starless(written: Any) -> Any:
    """``*args: *Ts`` is no expression by itself."""
    return f"Unpack[{written[1:]}]" if isinstance(written, str) and written.startswith("*") else written


def _evaluated(parameter: str, written: Any, names: dict[str, Any], nearer: dict[str, Any]) -> Any:
    # get_type_hints takes all annotations of an object or none; one at a time names the one that is wrong.
    holder = types.SimpleNamespace(__annotations__={parameter: written})
    return typing.get_type_hints(
        holder, globalns=names, localns={"Unpack": typing.Unpack, **nearer}, include_extras=True
    )[parameter]


def _chain(fn: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The function and what it wraps, the outermost first."""
    found = [fn]
    while (inner := getattr(found[-1], "__wrapped__", None)) is not None and len(found) < WRAPPERS_MAX:
        found.append(inner)
    return found


def _has(fn: Callable[..., Any], parameter: str, written: Any) -> bool:
    mine = getattr(fn, "__annotations__", {}).get(parameter, inspect.Parameter.empty)
    return mine is written or (isinstance(mine, str) and _starless(mine) == written)


def _closure(fn: Callable[..., Any]) -> dict[str, Any]:
    """Classes of the enclosing function that the body uses, and type parameters (3.12)."""
    code = getattr(fn, "__code__", None)
    cells = getattr(fn, "__closure__", None)
    found: dict[str, Any] = {kind.__name__: kind for kind in getattr(fn, "__type_params__", ())}
    for name, cell in zip(code.co_freevars if code is not None else (), cells or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _names_around(fn: Callable[..., Any]) -> dict[str, Any]:
    """What the annotations name and the functions around this one have, which are running while it is decorated."""
    wanted = {name for one in getattr(fn, "__annotations__", {}).values() for name in _names_in(one)}
    code = getattr(fn, "__code__", None)
    if not wanted or code is None or "<locals>" not in fn.__qualname__:
        return {}
    found: dict[str, Any] = {}
    frame: types.FrameType | None = inspect.currentframe()
    while frame is not None:
        around = frame.f_code
        if around.co_filename == code.co_filename and fn.__qualname__.startswith(f"{around.co_qualname}.<locals>."):
            names: Mapping[str, Any] = frame.f_locals
            for name in wanted.difference(found):
                if name in names:
                    found[name] = names[name]
        frame = frame.f_back
    return found


def _names_in(written: Any) -> set[str]:
    """The names in the text of an annotation, also in texts inside (``list["Order"]``)."""
    try:
        tree = ast.parse(_starless(written) if isinstance(written, str) else repr(written), mode="eval")
    except SyntaxError:
        return set()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):  # list["Order"]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            names.add(node.value)
    return names


@cache
def _imported_for_checkers(file: str) -> dict[str, int]:
    """The names that a module imports or defines below ``if TYPE_CHECKING:`` and nowhere else, with their lines."""
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):  # no source: then nothing is known
        return {}
    inside: dict[str, int] = {}
    outside: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inside.update(dict(_bound_in(node.body)))
            outside.update(name for name, _ in _bound_in(node.orelse))
        else:
            outside.update(name for name, _ in _bound_in([node]))
    return {name: line for name, line in inside.items() if name not in outside}


def _bound_in(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    for statement in body:
        for node in ast.walk(statement):
            match node:
                case ast.Import() | ast.ImportFrom():
                    yield from ((one.asname or one.name.partition(".")[0], node.lineno) for one in node.names)
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    yield node.name, node.lineno
                case ast.Name(id=name, ctx=ast.Store()):
                    yield name, node.lineno
                case _:
                    pass


def _place(fn: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else fn.__module__
