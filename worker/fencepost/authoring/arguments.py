"""Calls of steps and workflows as user values: binding, encoding and decoding ``[args, kwargs]`` by a function's
signature.
"""

from __future__ import annotations

import inspect
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fencepost import payload
from fencepost.errors import ArgumentError, PayloadError

_call_encoder = msgspec.msgpack.Encoder()
_call_decoder = msgspec.msgpack.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]])


class Arguments:
    """The signature of one function.

    Annotations are resolved at the first use, so that classes defined further down are found.
    """

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        self._fn = fn
        self._name = name
        self._signature = inspect.signature(fn)
        self._hints: Mapping[str, Any] | None = None
        self._result_known = False
        self._positional = [
            p for p in self._signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        kinds = {p.kind: p for p in self._signature.parameters.values()}
        required = [p for p in self._signature.parameters.values() if p.default is p.empty]
        # Calls by position alone are bound without inspect, which takes as long as encoding their arguments.
        self._plain_counts = range(
            sum(p in self._positional for p in required),
            0 if any(p.kind is p.KEYWORD_ONLY for p in required) else len(self._positional) + 1,
        )
        self._rest = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        self._extra = kinds.get(inspect.Parameter.VAR_KEYWORD)

    @property
    def result_type(self) -> Any:
        """The return annotation; Any without one."""
        hint = self._resolved().get("return", Any)
        return Any if hint is typing.NoReturn or hint is typing.Never else hint

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call in its one canonical form: positional where the signature allows it, defaults left out.

        Raises ArgumentError.
        """
        if not kwargs and len(args) in self._plain_counts:
            return args, {}
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self._name}{self._signature}: {error}") from None
        return bound.args, bound.kwargs

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, limit: int | None = None) -> bytes:
        """The user value ``[args, kwargs]``. Raises ArgumentError, PayloadError, PayloadTooLarge."""
        args, kwargs = self.bind(args, kwargs)
        if not self._result_known:
            # Before anything is recorded: a body whose result cannot be written would do its work for nothing.
            payload.codec_of(self.result_type, f"the result of {self._name}")
            self._result_known = True
        marked = False
        positional: list[msgspec.Raw] = []
        for index, value in enumerate(args):
            body, one_marked = self._encode_one(value, self._positional_name(index), f"args[{index}]")
            positional.append(msgspec.Raw(body))
            marked |= one_marked
        named: dict[str, msgspec.Raw] = {}
        for key, value in kwargs.items():
            body, one_marked = self._encode_one(value, key, f"kwargs[{key!r}]")
            named[key] = msgspec.Raw(body)
            marked |= one_marked
        return payload.stored(
            _call_encoder.encode((positional, named)), marked, limit, f"the arguments of {self._name}"
        )

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The recorded call, converted by annotation and checked against the signature.

        Raises PayloadError, ArgumentError.
        """
        data = payload.opened(data, f"the arguments of {self._name}")
        tag = data[:1]
        if tag not in (payload.PLAIN, payload.MARKED):
            payload.decode(data, path=f"the arguments of {self._name}")  # raises, and says why
        marked = tag == payload.MARKED
        try:
            positional, named = _call_decoder.decode(memoryview(data)[1:])
        except msgspec.DecodeError as error:
            raise PayloadError(f"the arguments of {self._name} are not a recorded call: {error}") from error
        args = tuple(
            payload.decode_body(bytes(raw), self._type(self._positional_name(i)), marked, f"args[{i}]")
            for i, raw in enumerate(positional)
        )
        kwargs = {
            k: payload.decode_body(bytes(raw), self._type(k), marked, f"kwargs[{k!r}]") for k, raw in named.items()
        }
        self.bind(args, kwargs)
        return args, kwargs

    def _encode_one(self, value: Any, parameter: str | None, path: str) -> tuple[bytes, bool]:
        try:
            return payload.encode_body(value, self._type(parameter), path)
        except PayloadError as error:
            raise PayloadError(f"{error} (parameter {parameter!r} of {self._name})") from error.__cause__

    def _positional_name(self, index: int) -> str | None:
        if index < len(self._positional):
            return self._positional[index].name
        return self._rest.name if self._rest is not None else None

    def _type(self, parameter: str | None) -> Any:
        hints = self._resolved()
        if parameter in self._signature.parameters or self._extra is None:
            return hints.get(parameter or "", Any)
        return hints.get(self._extra.name, Any)

    def _resolved(self) -> Mapping[str, Any]:
        if self._hints is None:
            self._hints = resolve_hints(self._fn, self._name)
        return self._hints


def resolve_hints(fn: Callable[..., Any], name: str) -> Mapping[str, Any]:
    """The function's annotations as types.

    One that cannot be resolved (a class local to another function, an import under TYPE_CHECKING) counts as Any, with
    one warning that names it.
    """
    local = _closure(fn)
    hints: dict[str, Any] = {}
    for parameter, annotation in fn.__annotations__.items():
        try:
            hints[parameter] = _resolve_one(fn, parameter, annotation, local)
        except Exception as error:  # noqa: BLE001 - evaluating an annotation runs whatever it says; the warning names it
            hints[parameter] = Any
            _warn_unresolved(fn, name, parameter, annotation, error)
    return hints


def _resolve_one(fn: Callable[..., Any], parameter: str, annotation: Any, local: dict[str, Any]) -> Any:
    # get_type_hints takes all annotations of an object or none; one at a time keeps the good ones.
    holder = types.SimpleNamespace(__annotations__={parameter: annotation})
    scope: dict[str, Any] = getattr(fn, "__globals__", {})
    return typing.get_type_hints(holder, globalns=scope, localns=local, include_extras=True)[parameter]


def _warn_unresolved(fn: Callable[..., Any], name: str, parameter: str, annotation: Any, error: Exception) -> None:
    code = getattr(fn, "__code__", None)
    warnings.warn_explicit(
        f"the annotation {annotation!r} of {parameter!r} of {name} cannot be resolved ({error}): "
        "its values are passed without a type, and dataclasses come back as dicts. "
        "Define the class at module level, and import it outside TYPE_CHECKING",
        RuntimeWarning,
        code.co_filename if code is not None else "<unknown>",
        code.co_firstlineno if code is not None else 0,
        module=fn.__module__,
    )


def _closure(fn: Callable[..., Any]) -> dict[str, Any]:
    """Names beyond the module's: classes of the enclosing function that the body uses, and type parameters (3.12)."""
    code = getattr(fn, "__code__", None)
    cells = getattr(fn, "__closure__", None)
    found: dict[str, Any] = {kind.__name__: kind for kind in getattr(fn, "__type_params__", ())}
    for name, cell in zip(code.co_freevars if code is not None else (), cells or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found
