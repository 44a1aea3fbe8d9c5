"""``hook``: a place in a workflow where somebody outside can hand values in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from types import TracebackType, UnionType
from typing import Any, Generic, Literal, TypeVar, cast, overload

from fencepost import payload
from fencepost import payload_places as places
from fencepost.answers import entity_of
from fencepost.authoring.fingerprint import type_fingerprint
from fencepost.durations import Duration
from fencepost.errors import HookConflict, NotInWorkflow, PayloadError, PayloadUnreadable
from fencepost.records import Answered, HookCreated, pack
from fencepost.replay import interface
from fencepost.replay.identity import stable_hash
from fencepost.signal_checks import answer_of, check_text, seconds_of
from fencepost.signal_errors import BadSignal
from fencepost.telemetry import note
from fencepost_store.events import Event, EventType

T = TypeVar("T")

Invalid = Literal["drop", "raise"]

RESPOND_SECONDS_MAX = 60.0
"""Servers and proxies give up on a request after about a minute."""


@overload
def hook(
    as_type: type[T],
    token: str | None = ...,
    *,
    metadata: Mapping[str, object] | None = ...,
    http: bool = ...,
    respond: Duration | None = ...,
    invalid: Invalid | None = ...,
) -> Hook[T]: ...
@overload
def hook(  # what mypy takes `int | str` for
    as_type: UnionType,
    token: str | None = ...,
    *,
    metadata: Mapping[str, object] | None = ...,
    http: bool = ...,
    respond: Duration | None = ...,
    invalid: Invalid | None = ...,
) -> Hook[Any]: ...
@overload
def hook(
    *,
    token: str | None = ...,
    metadata: Mapping[str, object] | None = ...,
    http: bool = ...,
    respond: Duration | None = ...,
    invalid: Invalid | None = ...,
) -> Hook[Any]: ...
def hook(
    as_type: Any = Any,
    token: str | None = None,
    *,
    metadata: Mapping[str, object] | None = None,
    http: bool = False,
    respond: Duration | None = None,
    invalid: Invalid | None = None,
) -> Hook[Any]:
    """Listen for payloads of a type, from now until the hook is closed, its ``async with`` is left, or the run ends.

    ``token`` is what senders name; by default 128 bits that nobody can guess, also not from the run's id: they are
    derived from random bytes that stand in the run's log. ``metadata`` is for senders, who get it from
    ``client.hook(token)``. ``http``: webhooks (``fencepost.web.webhooks``) may reach it. ``respond``: how long
    (seconds, a timedelta or ``"30s"``, up to a minute) a webhook's sender waits for what the code says with
    ``Hook.respond``.

    ``invalid``: what becomes of a payload that is not of the type. "drop": it is passed over, its sender is answered
    422 if it waits for an answer, and the worker logs it; "raise": awaiting the hook raises PayloadError. By default
    "drop" with ``http``, for what strangers send must not fail the run, else "raise".

    Raises NotInWorkflow elsewhere, PayloadError for metadata that cannot be encoded, BadSignal (a ValueError) for a
    token or a deadline that is out of bounds, ArgumentError for other types.
    """
    asking = interface.current()
    if asking is None:
        raise NotInWorkflow(
            "hook() is for workflows; to send a payload to one, use `await client.resume(token, payload)`"
        )
    entity = asking.new_id("hook")
    if token is not None:
        check_text("hook(token)", token)
    if invalid not in (None, "drop", "raise"):
        raise BadSignal(f"hook(invalid={invalid!r}): must be 'drop' or 'raise'")
    chosen = token if token is not None else asking.secret(entity)[:16].hex()
    seconds = _deadline(respond)
    told = None if metadata is None else payload.encode(dict(metadata), path=f"metadata of hook {chosen!r}")
    own = type_fingerprint(as_type)
    record = HookCreated(places.type_name(as_type), told, http, seconds, own)
    return Hook(asking, entity, chosen, as_type, record, drops=(invalid or ("drop" if http else "raise")) == "drop")


def _deadline(respond: Duration | None) -> float | None:
    why = "for a connection is held open meanwhile; let the sender ask again for what takes longer"
    return None if respond is None else seconds_of("hook(respond)", respond, RESPOND_SECONDS_MAX, why)


class Hook(Generic[T]):
    """An open hook.

    ``await hook`` is the next payload, ``async for payload in hook`` all of them, in the order in which they were
    accepted.

    Awaiting raises HookConflict if another run holds the token, and PayloadError if a payload is not of the type.
    """

    def __init__(
        self,
        asking: interface.Asking,
        entity: str,
        token: str,
        as_type: Any,
        record: HookCreated,
        *,
        drops: bool = False,
    ) -> None:
        self.token = token
        self._hash = stable_hash(f"{asking.run_id}/{entity}")
        self._type = as_type
        self._closed = False
        self._conflict_with: str | None = None
        self._asking = asking
        self._entity = entity
        self._fingerprint = record.fingerprint
        self._last: Event | None = None  # the payload that can be answered
        self._drops = drops
        self._answers = record.respond is not None
        # Built now, so that a type that cannot be decoded is refused here and not when somebody has sent one.
        if payload.codec_of(as_type, f"hook {token!r}").names:
            raise PayloadError(
                f"hook {token!r}: there is no way to decode the type {places.type_name(as_type)} from what senders "
                "give, for they do not say of which class it is: use Structs with a tag, or one class"
            )
        self._channel = asking.hook(entity, token, pack(record))

    async def conflict(self) -> HookConflict | None:
        """None as soon as the token is this hook's; the HookConflict that awaiting would raise if another hook holds
        it. Waits for no payload, and raises nothing for the conflict."""
        if self._closed:
            raise NotInWorkflow(f"the hook {self.token!r} is closed: ask it inside its `async with`")
        event = await self._channel.settled()
        if event is None:
            return None
        self._conflict_with = event.dedupe or "unknown"
        return HookConflict(self.token, self._conflict_with)

    def respond(self, value: object = None, *, status: int = 200) -> None:
        """Answer the payload that the hook gave last: its sender gets ``value`` as JSON (bytes as they are, None as an
        empty body) with this HTTP status, and the same again if it sends again.

        The answer is in the log before it is sent. A sender that does not wait never sees it. Where several tasks
        await one hook, answer before the next await. Raises ValueError if there is nothing to answer (each payload is
        answered once), for a status outside 200 to 599, or for a value with a status that has no body; PayloadError for
        what cannot be encoded, or is no JSON (NaN).
        """
        event = self._last
        if event is None:
            raise ValueError(f"hook {self.token!r}: no payload to answer: await one first; each is answered once")
        self._answer(event, answer_of(self.token, value, status), status)

    def _answer(self, event: Event, data: bytes, status: int) -> None:
        self._last = None
        self._asking.mark(entity_of(event.dedupe or f"seq:{event.seq}"), pack(Answered(data, status)))

    def close(self) -> None:
        """Stop listening: later payloads are refused to their senders. Idempotent."""
        if not self._closed:
            self._closed = True
            self._channel.close()

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"<hook {self.token!r} for {places.type_name(self._type)}{', closed' if self._closed else ''}>"

    def __await__(self) -> Generator[Any, None, T]:
        return self._next().__await__()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._closed:
            raise StopAsyncIteration
        return await self._next()

    async def __aenter__(self) -> Hook[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    async def _next(self) -> T:
        if self._closed:
            raise NotInWorkflow(f"the hook {self.token!r} is closed: await it inside its `async with`")
        if self._conflict_with is not None:
            raise HookConflict(self.token, self._conflict_with)
        while True:
            event = await self._channel.next()
            if event.type is EventType.hook_conflict:
                self._conflict_with = event.dedupe or "unknown"
                raise HookConflict(self.token, self._conflict_with)
            self._last = event
            try:
                return self._decoded(event)
            except PayloadUnreadable:
                raise
            except PayloadError as error:
                if not self._drops:
                    raise
                self._drop(event, error)

    def _drop(self, event: Event, error: PayloadError) -> None:
        """What does not fit is passed over: its sender hears so if it waits, and the worker's log."""
        if self._answers:
            self._answer(
                event, payload.encode("the payload does not fit what is expected here", path="the answer"), 422
            )
        self._last = None
        if not self._asking.muted:
            note("signal_dropped", run=self._asking.run_id, token=self.token, delivery=event.dedupe, error=str(error))

    def _decoded(self, event: Event) -> T:
        try:
            return cast(T, payload.decode(event.payload, self._type, path=f"payload of hook {self.token!r}"))
        except PayloadError as error:
            if self._asking.written_by(self._entity, 0, self._fingerprint) != self._fingerprint:
                self._asking.unfit(f"hook {self._entity} was opened by other code, for another type: {error}")
            raise
