"""Calls of steps and workflows as user values: binding, encoding and decoding ``[args, kwargs]`` by a function's
signature.

What is recorded is the whole call: an argument that was left out is recorded with the value that its default had then.
So a default that changes later changes no call that is under way, and nobody is handed the default object itself.
"""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Optional

import msgspec

from fencepost import payload
from fencepost.authoring.annotations import Annotations
from fencepost.authoring.fingerprint import fingerprint_of
from fencepost.errors import ArgumentError, PayloadError
from fencepost.payload_collections import unpacked
from fencepost.payload_plans import bare, hints_of

_call_encoder = msgspec.msgpack.Encoder()
_call_decoder = msgspec.msgpack.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]])

_UNKNOWN = object()

Written = tuple[bytes, bool]
"""A value's msgpack, and whether it is MARKED."""


class Arguments:
    """The signature of one function.

    Annotations are resolved at the first use, so that classes defined further down are found. Raises TypeError for an
    annotation that can never be.
    """

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        self._name = name
        self._what = f"the arguments of {name}"
        self._signature = inspect.signature(fn)
        self._annotations = Annotations(fn, name, self._signature)
        self._result: Any = _UNKNOWN
        self._result_known = False
        self._fingerprint = b""
        parameters = self._signature.parameters.values()
        self._positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        kinds = {p.kind: p for p in parameters}
        required = [p for p in parameters if p.default is p.empty]
        # Calls by position alone are bound without inspect, which takes as long as encoding their arguments.
        self._plain_counts = range(
            sum(p in self._positional for p in required),
            0 if any(p.kind is p.KEYWORD_ONLY for p in required) else len(self._positional) + 1,
        )
        self._rest = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        self._extra = kinds.get(inspect.Parameter.VAR_KEYWORD)
        self._kinds: dict[str, Any] = {}
        self._defaults: dict[str, Written] | None = None

    @property
    def types(self) -> Mapping[str, Any]:
        """The annotations by parameter, and ``return``. Raises PayloadError for one that cannot be resolved."""
        return self._annotations.types()

    @property
    def fingerprint(self) -> bytes:
        """Which version of the signature this is; see fingerprint.py."""
        if not self._fingerprint:
            self._fingerprint = fingerprint_of(self._signature, self._annotations.known())
        return self._fingerprint

    @property
    def result_type(self) -> Any:
        """The return annotation; Any without one."""
        if self._result is _UNKNOWN:
            hint = self.types.get("return", Any)
            self._result = Any if hint is typing.NoReturn or hint is typing.Never else hint
        return self._result

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call as the signature has it: positional where it allows it, defaults left out.

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
        """The user value ``[args, kwargs]``, defaults included. Raises ArgumentError, PayloadError, PayloadTooLarge."""
        args, kwargs = self.bind(args, kwargs)
        if not self._result_known:
            # Before anything is recorded: a body whose result cannot be written would do its work for nothing.
            payload.codec_of(self.result_type, f"the result of {self._name}")
            self._result_known = True
        marked = False
        positional: list[msgspec.Raw] = []
        for index, value in enumerate(args):
            body, one_marked = self._encode_one(value, index, f"args[{index}]")
            positional.append(msgspec.Raw(body))
            marked |= one_marked
        named: dict[str, msgspec.Raw] = {}
        for key, value in kwargs.items():
            body, one_marked = self._encode_one(value, key, f"kwargs[{key!r}]")
            named[key] = msgspec.Raw(body)
            marked |= one_marked
        positional, named, filled_marked = self._filled(positional, named)
        marked |= filled_marked
        return payload.stored(_call_encoder.encode((positional, named)), marked, limit, self._what)

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The recorded call, converted by annotation and checked against the signature. What it leaves out (it was
        recorded by a start by name, or by other code) has the default of this code, as a value of its own.

        Raises PayloadError, ArgumentError.
        """
        positional, named, marked = self._opened(data)
        args = tuple(
            payload.decode_body(bytes(raw), self._type(index), marked, f"args[{index}]")
            for index, raw in enumerate(positional)
        )
        kwargs = {
            k: payload.decode_body(bytes(raw), self._type(k), marked, f"kwargs[{k!r}]") for k, raw in named.items()
        }
        self.bind(args, kwargs)
        return args, kwargs

    def completed(self, data: bytes) -> bytes:
        """The recorded call with the defaults of this code for what it leaves out; the same bytes if that is nothing.
        Raises PayloadError.
        """
        positional, named, marked = self._opened(data)
        whole = (payload.MARKED if marked else payload.PLAIN) + _call_encoder.encode((positional, named))
        if whole == payload.opened(data, self._what):
            return data
        return payload.stored(whole[1:], marked, None, self._what)

    def same_call(self, one: bytes, other: bytes) -> bool:
        """Whether two recorded calls hand over the same. Raises PayloadError, ArgumentError."""
        first, second = self._opened(one), self._opened(other)
        return first[:2] == second[:2] or self.decode(one) == self.decode(other)

    def _opened(self, data: bytes) -> tuple[list[msgspec.Raw], dict[str, msgspec.Raw], bool]:
        data = payload.opened(data, self._what)
        tag = data[:1]
        if tag not in (payload.PLAIN, payload.MARKED):
            payload.decode(data, path=self._what)  # raises, and says why
        try:
            given = _call_decoder.decode(memoryview(data)[1:])
        except msgspec.DecodeError as error:
            raise PayloadError(f"the arguments of {self._name} are not a recorded call: {error}") from error
        positional, named, marked = self._filled(*given)
        return positional, named, marked or tag == payload.MARKED

    def _filled(
        self, positional: list[msgspec.Raw], named: dict[str, msgspec.Raw]
    ) -> tuple[list[msgspec.Raw], dict[str, msgspec.Raw], bool]:
        """With the defaults of what is left out, and whether one of them is MARKED. The one form of a call: by position
        up to the first parameter that has no value, then by name.
        """
        if len(positional) >= len(self._positional) and not self._named:
            return positional, named, False
        defaults, marked = self._written_defaults(), False
        row, left, gap = list(positional), dict(named), False
        for parameter in (*self._positional[len(positional) :], *self._named):
            by_name = parameter.kind is not parameter.POSITIONAL_ONLY
            body = left.pop(parameter.name, None) if by_name else None
            if body is None and parameter.name in defaults:
                written, one_marked = defaults[parameter.name]
                body, marked = msgspec.Raw(written), marked or one_marked
            gap = gap or body is None or parameter.kind is parameter.KEYWORD_ONLY
            if body is not None and not gap:
                row.append(body)
            elif body is not None and by_name:
                left[parameter.name] = body
        order = {p.name: n for n, p in enumerate((*self._positional, *self._named))}
        return row, dict(sorted(left.items(), key=lambda item: order.get(item[0], len(order)))), marked

    def _written_defaults(self) -> dict[str, Written]:
        """The defaults that a log can hold. Others (a lock, a client, a sentinel) are no part of a call: the body gets
        them from its own code.
        """
        if self._defaults is None:
            self._defaults = {}
            for parameter in (*self._positional, *self._named):
                if parameter.default is not parameter.empty:
                    with contextlib.suppress(PayloadError):
                        self._defaults[parameter.name] = payload.encode_body(
                            parameter.default, self._type_of(parameter), parameter.name
                        )
        return self._defaults

    def _encode_one(self, value: Any, place: int | str, path: str) -> Written:
        try:
            return payload.encode_body(value, self._type(place), path)
        except PayloadError as error:
            raise PayloadError(f"{error} (parameter {self._parameter(place)!r} of {self._name})") from error.__cause__

    def _parameter(self, place: int | str) -> str:
        if isinstance(place, str):
            return place
        if place < len(self._positional):
            return self._positional[place].name
        return self._rest.name if self._rest is not None else "?"

    def _type(self, place: int | str) -> Any:
        """Of the argument at a position, or of a name."""
        if isinstance(place, int):
            if place < len(self._positional):
                return self._type_of(self._positional[place])
            return Any if self._rest is None else _member(self._type_of(self._rest), place - len(self._positional))
        parameter = self._signature.parameters.get(place)
        if parameter is not None and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            return self._type_of(parameter)
        return Any if self._extra is None else _entry(self._type_of(self._extra), place)

    def _type_of(self, parameter: inspect.Parameter) -> Any:
        if parameter.name not in self._kinds:
            hint = self.types.get(parameter.name, Any)
            if isinstance(hint, (typing.ParamSpecArgs, typing.ParamSpecKwargs)):
                hint = Any
            if parameter.default is None and hint is not Any:
                hint = Optional[hint]  # noqa: UP045 - `name: str = None` means it, and `|` is not for every type
            self._kinds[parameter.name] = hint
        return self._kinds[parameter.name]

    def _resolved(self) -> Mapping[str, Any]:
        return self._annotations.known()


def _member(hint: Any, index: int) -> Any:
    """Of ``*args: Unpack[tuple[int, str]]`` one member; of any other annotation the annotation."""
    if (inner := unpacked(hint)) is None:
        return hint
    kinds = typing.get_args(inner) if typing.get_origin(inner) is tuple else ()
    if len(kinds) == 2 and kinds[1] is ...:
        return kinds[0]
    return kinds[index] if index < len(kinds) and unpacked(kinds[index]) is None else Any


def _entry(hint: Any, name: str) -> Any:
    """Of ``**kwargs: Unpack[Options]`` one entry; of any other annotation the annotation."""
    if (inner := unpacked(hint)) is None:
        return hint
    options = bare(inner)
    return bare(hints_of(options, typing.get_origin(options) or options).get(name, Any))
