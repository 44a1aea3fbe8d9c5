"""Exceptions as people and libraries write them."""

from __future__ import annotations

import dataclasses
import enum
import threading
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import attrs

CALLS: list[str] = []
"""What of the classes below was called that nobody may call."""


class Kind(enum.Enum):
    hard = "h"
    soft = "s"


@dataclasses.dataclass
class Place:
    line: int
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    code: int


@attrs.define(frozen=True, auto_exc=True)
class FrozenAttrs(Exception):
    code: int


@attrs.define(auto_exc=True)
class Attrs(Exception):
    code: int
    kind: Kind = Kind.hard


class Annotated(Exception):
    """By the class, and by ``__init__`` alone."""

    kind: Kind
    at: datetime

    def __init__(self, kind: Kind, place: Place, at: datetime, amount: Decimal) -> None:
        CALLS.append("Annotated")
        super().__init__(kind, place)
        self.kind = kind
        self.place = place
        self.at = at
        self.amount = amount
        self.id = uuid.UUID(int=7)


class KeywordOnly(Exception):
    def __init__(self, *, limit: int) -> None:
        CALLS.append("KeywordOnly")
        super().__init__()
        self.limit = limit

    def __str__(self) -> str:
        return f"over {self.limit}"


class Made(Exception):
    """By ``__new__``, with another signature."""

    only: str

    def __new__(cls, *, only: str) -> Made:
        CALLS.append("Made")
        made = super().__new__(cls)
        made.only = only
        return made

    def __init__(self, *, only: str) -> None:
        super().__init__()


class Slotted(Exception):
    __slots__ = ("__hidden", "code")

    def __init__(self, code: int) -> None:
        super().__init__("slotted")
        self.code = code
        self.__hidden = code + 1

    @property
    def hidden(self) -> int:
        return self.__hidden


class Reduced(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.pair = (first, second)

    def __reduce__(self) -> Any:
        return Reduced, self.pair


class OverArgs(Exception):
    @property
    def code(self) -> int:
        return int(self.args[0])


class Disk(OSError):
    def __init__(self, device: str, number: int) -> None:
        super().__init__(number, "disk", device)
        self.device = device


class Handle:
    """No log can hold it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()


class ResponseError(Exception):
    """As aiohttp's: required arguments, and a text made of what no log can hold."""

    def __init__(self, request: Handle, history: tuple[Handle, ...], *, status: int = 0) -> None:
        CALLS.append("ResponseError")
        super().__init__(request, history)
        self.request = request
        self.history = history
        self.status = status

    def __str__(self) -> str:
        return f"{self.status} of {self.request.url}"


class StatusError(Exception):
    """As httpx's: a plain text, and properties that raise where there is nothing."""

    def __init__(self, message: str, response: Handle) -> None:
        super().__init__(message)
        self._request: Handle | None = response
        self.response = response

    @property
    def request(self) -> Handle:
        if self._request is None:
            raise RuntimeError("The .request property has not been set.")
        return self._request


class Registered(Exception):
    """Keeps a list of its subclasses, and has no text without its handle."""

    known: ClassVar[list[type]] = []

    def __init_subclass__(cls) -> None:
        Registered.known.append(cls)

    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self.handle = handle

    def __str__(self) -> str:
        return self.handle.url

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handle, name)  # for ever, where there is no handle


class Meta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        CALLS.append("Meta") if args == () else None
        return super().__call__(*args, **kwargs)


class Metaclassed(Exception, metaclass=Meta):
    pass


class Driver(Exception):
    """Carries the driver's own error, as SQLAlchemy's do."""

    def __init__(self, message: str, orig: BaseException) -> None:
        super().__init__(message)
        self.orig = orig


class Exits(ExceptionGroup[Exception]):
    """As the documentation of Python has it."""

    code: int

    def __new__(cls, errors: Any, code: Any) -> Exits:  # pyright: ignore[reportInconsistentConstructor]
        made = super().__new__(cls, f"exit code: {code}", errors)
        made.code = code
        return made

    def derive(self, excs: Any) -> Exits:
        made: Any = Exits
        return made(excs, self.code)  # type: ignore[no-any-return]
