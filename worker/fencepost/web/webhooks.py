"""Webhooks: an ASGI app that turns ``POST /TOKEN`` into signals. Needs ``pip install 'fencepost[web]'``.

It reaches hooks that were declared with ``http=True`` and no others, for tokens that people choose can be guessed. What
it answers with success is in the run's log; the same webhook-id is taken in once.

| status | means |
|---|---|
| 202, or as ``response`` says | the event is in the log |
| as the workflow says | it is in the log, and the hook was declared with ``respond=`` |
| 400 | the body is not JSON, or the webhook-id is none |
| 401 | secrets are configured, and the signature does not fit or is not from now |
| 404 | nobody listens on the token, or not over HTTP |
| 405 | only POST |
| 409 | the webhook-id was accepted before with another body |
| 410 | it is in the log, and the run has ended, or closed its hook, without an answer |
| 413 | the body is too large, also once it is decompressed |
| 415 | a Content-Encoding other than gzip |
| 422 | the workflow has passed the body over, for it does not fit the hook's type |
| 429 | the run's log is as long as it may be |
| 500 | it is in the log, and the run has failed without an answer |
| 503 | Postgres is away: send it again |
| 504 | it is in the log, and the workflow has not answered in time: send again under the same webhook-id |
"""

from __future__ import annotations

import codecs
import time
import zlib
from collections.abc import Callable, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fencepost import errors
from fencepost.client import Client, Reply
from fencepost.signal_checks import text_problem
from fencepost.signal_errors import DeliveryConflict
from fencepost.web.signatures import BadSignature, key_of, verify

BODY_BYTES_MAX = 262_144
"""Far more than senders of webhooks send, and little enough to hold for as many requests as come at once."""

DELIVERY_CHARS_MAX = 256
"""Of a webhook-id: it stands in an index."""


def webhooks(
    client: Client,
    *,
    secrets: str | Sequence[str] = (),
    body_bytes_max: int = BODY_BYTES_MAX,
    response: Response | None = None,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The app, to be mounted: ``app.mount("/hooks", webhooks(client, secrets=...))``.

    ``client`` must be open while requests come in: open it in the lifespan of the app it is mounted in. ``secrets``:
    one or, while they are changed, several, each ``whsec_...``; requests must then be signed with one of them.
    ``response`` is what an accepted request is answered with. ``clock``: seconds since the epoch.

    Raises ValueError for a secret that is none.
    """
    keys = [key_of(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    accepted = response or PlainTextResponse("accepted\n", 202)

    async def receive(request: Request) -> Response:
        try:
            body = await _body(request, body_bytes_max)
            delivery = verify(keys, request.headers, body, clock()) if keys else request.headers.get("webhook-id")
            if delivery and (len(delivery) > DELIVERY_CHARS_MAX or text_problem("webhook-id", delivery)):
                raise _Refused(400, f"webhook-id has more than {DELIVERY_CHARS_MAX} characters, or some that are none")
            token = request.path_params["token"]
            if text_problem("token", token):
                raise errors.HookNotFound(token)
            body = _decompressed(body, request.headers.get("content-encoding", ""), body_bytes_max)
            reply = await client.ask(token, _value(body), id=delivery or None, http=True)
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            return refusal
        return _answer(reply) if reply.expected else accepted

    return Starlette(routes=[Route("/{token:path}", receive, methods=["POST"])])


def _answer(reply: Reply) -> Response:
    """What the workflow said."""
    if reply.ended == "failed":
        return PlainTextResponse("accepted, and its run has failed without an answer\n", 500)
    if reply.ended is not None:
        return PlainTextResponse("accepted, and no answer will come: its run has ended or does not listen\n", 410)
    if reply.status is None:
        return PlainTextResponse("accepted, and not answered in time\n", 504, {"retry-after": "5"})
    if reply.value is None or reply.status in (204, 304):
        return Response(status_code=reply.status)
    if isinstance(reply.value, bytes):
        return Response(reply.value, reply.status, media_type="application/octet-stream")
    body = msgspec.json.encode(reply.value, enc_hook=str)
    return Response(body, reply.status, media_type="application/json")


class _Refused(Exception):
    """``args``: status, words for the sender."""


def _refusal(error: Exception) -> Response | None:
    """What an error is to the sender; None for a bug of ours. It is not told what else there is."""
    match error:
        case _Refused(args=(int(status), str(words))):
            return PlainTextResponse(f"{words}\n", status)
        case BadSignature():
            return PlainTextResponse("the signature does not fit\n", 401)
        case errors.HookNotFound():
            return PlainTextResponse("nobody listens here\n", 404)
        case DeliveryConflict():
            return PlainTextResponse("this webhook-id was accepted with another body\n", 409)
        case errors.HookFull():
            return PlainTextResponse("its run takes nothing more\n", 429, {"retry-after": "60"})
        case errors.PayloadTooLarge():
            return PlainTextResponse("the body is too large\n", 413)
        case errors.PayloadError():
            return PlainTextResponse("the body cannot be recorded\n", 400)
        case errors.ServerUnavailable():
            return PlainTextResponse("try again\n", 503, {"retry-after": "5"})
        case ClientDisconnect():
            return PlainTextResponse("the request broke off\n", 400)  # nobody reads it
        case _:
            return None


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, never more of it in memory than the limit and one chunk."""
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told[:20]) > limit:
        raise _Refused(413, f"the body has more than {limit} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _Refused(413, f"the body has more than {limit} bytes")
    return bytes(body)


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before its Content-Encoding; never more of it in memory than the limit and one byte. The
    signature is over what was sent."""
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("", "identity"):
            continue
        if name not in ("gzip", "x-gzip"):
            raise _Refused(415, "Content-Encoding: gzip or none is understood here")
        unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            body, packed = unpacking.decompress(body, limit + 1), body
        except zlib.error:
            raise _Refused(400, "the body is not gzip, as its Content-Encoding says") from None
        if len(body) > limit:
            raise _Refused(413, f"the body has more than {limit} bytes once it is decompressed")
        if packed and not unpacking.eof:
            raise _Refused(400, "the body's gzip breaks off")
    return body


def _value(body: bytes) -> object:
    """The JSON in a body, which may begin with a byte order mark; None for an empty one."""
    body = body.removeprefix(codecs.BOM_UTF8)
    if not body:
        return None
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Refused(400, "the body is not JSON") from None
    return value
