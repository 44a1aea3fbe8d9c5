"""How a run ended, for ``start --wait`` and ``runs result``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from fencepost.cli.output import emit, plain, shown
from fencepost.cli.trouble import FAILED

if TYPE_CHECKING:
    from fencepost.client import Run


async def outcome(run: Run[Any], seconds: float | None) -> dict[str, Any]:
    """Wait for the end, at most ``seconds``: ``status`` with ``result``, or with ``error``. Raises RunNotFound,
    ResultTimeout, ServerUnavailable.
    """
    from fencepost.errors import RunCancelled, RunFailed

    try:
        value = await run.result(seconds)
    except RunFailed as error:
        told = {"code": error.code, "type": error.type, "message": error.message, "traceback": error.traceback}
        return {"status": "failed", "error": told}
    except RunCancelled as error:
        told = {"code": "", "type": "", "message": error.detail, "traceback": ""}
        return {"status": "terminated" if error.terminated else "cancelled", "error": told}
    return {"status": "completed", "result": plain(value)}


def show(told: dict[str, Any], as_json: bool) -> None:
    """Print the end of a run; leave with exit code 1 if it was not a result."""
    failed = told["status"] != "completed"
    if as_json:
        emit(told)
    elif not failed:
        click.echo(shown(told["result"]))
    else:
        error = told["error"]
        kind = f"{error['type']}: " if error["type"] else ""
        code = f" ({error['code']})" if error["code"] else ""
        what = f": {kind}{error['message']}" if kind or error["message"] else ""
        click.echo(f"run {told['id']} {told['status']}{code}{what}", err=True)
    if failed:
        sys.exit(FAILED)
