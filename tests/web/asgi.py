"""Requests to an ASGI app without a server: what one would send it, in the chunks of the test's choice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``read``: how many of the request's chunks the app took."""

    status: int
    headers: dict[str, str]
    text: str
    read: int


async def request(
    app: App,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
) -> Answer:
    """One request. Several chunks come without a content-length; None of them is the client's disconnect."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    sent = dict(headers or {})
    if isinstance(body, bytes):
        sent.setdefault("content-length", str(len(body)))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        "client": ("test", 1),
        "server": ("test", 80),
    }
    read = 0
    got: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal read
        if read == len(chunks):
            return {"type": "http.disconnect"}
        read += 1
        return {"type": "http.request", "body": chunks[read - 1], "more_body": read < len(chunks)}

    async def send(message: dict[str, Any]) -> None:
        got.append(message)

    await app(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in got[0]["headers"]}
    text = b"".join(message.get("body", b"") for message in got[1:]).decode()
    return Answer(got[0]["status"], answered, text, read)
