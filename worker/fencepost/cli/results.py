"""How a run ended, for ``start --wait`` and ``runs result``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from fencepost.cli.output import emit, plain, printable, shown
from fencepost.cli.trouble import FAILED

if TYPE_CHECKING:
    from fencepost.client import Client, Run
    from fencepost.errors import RunFailed


async def outcome(client: Client, run: Run[Any], seconds: float | None) -> dict[str, Any]:
    """Wait for the end, at most ``seconds``: ``status`` with ``result``, or with ``error``. Raises RunNotFound,
    ResultTimeout, ServerUnavailable.
    """
    from fencepost.errors import RunCancelled, RunFailed

    try:
        value = await run.result(seconds)
    except RunFailed as error:
        return {"status": "failed", "error": await _failure(client, error)}
    except RunCancelled as error:
        told = {"code": "", "type": "", "message": error.detail, "traceback": ""}
        return {"status": "terminated" if error.terminated else "cancelled", "error": told}
    return {"status": "completed", "result": plain(value)}


async def _failure(client: Client, error: RunFailed) -> dict[str, Any]:
    """What the log has of it: with the user's frames, its causes and the members of groups. ``text`` and ``full``: the
    traceback for people."""
    from fencepost.failure import opened
    from fencepost.records import RunFailed as Record
    from fencepost.records import unpack
    from fencepost.tracebacks import failure_json, report
    from fencepost_store.events import EventType

    of = client.run(error.run_id)  # the last of a chain
    async for event in of.events((await of.status()).events - 1):
        if event.type is EventType.run_failed:
            record = opened(unpack(event.payload, Record).error)
            return {**failure_json(record), "text": report(record), "full": report(record, full=True)}
    return {"code": error.code, "type": error.type, "message": error.message, "traceback": error.traceback}


def show(told: dict[str, Any], as_json: bool, *, full: bool = False) -> None:
    """Print the end of a run; leave with exit code 1 if it was not a result."""
    error: dict[str, Any] = told.get("error") or {}
    texts = {name: error.pop(name, "") for name in ("text", "full")}
    failed = told["status"] != "completed"
    if as_json:
        emit(told)
    elif not failed:
        click.echo(shown(told["result"]))
    else:
        kind = f"{error['type']}: " if error["type"] else ""
        code = f" ({error['code']})" if error["code"] else ""
        what = f": {kind}{error['message']}" if kind or error["message"] else ""
        click.echo(f"run {told['id']} {told['status']}{code}{what}", err=True)
        if trace := texts["full" if full else "text"]:
            click.echo("\n".join(printable(line) for line in trace.splitlines()), err=True)
    if failed:
        sys.exit(FAILED)
