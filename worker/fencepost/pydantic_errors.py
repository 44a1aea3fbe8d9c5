"""pydantic's ValidationError on its way through the log: its class has neither a constructor nor subclasses, and one
function that makes an instance. pydantic itself is never imported here.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from fencepost import payload

KEY = "__pydantic__"
"""The attribute under which a record keeps it."""


def data_of(exc: BaseException) -> dict[str, Any] | None:
    """What it consists of, as values that can be encoded; None of every other exception. Never raises."""
    core = sys.modules.get("pydantic_core")
    if core is None or not isinstance(exc, core.ValidationError):
        return None
    found: Any = exc
    try:
        return {"title": found.title, "errors": [_line(one) for one in found.errors(include_url=False)]}
    except Exception:  # noqa: BLE001 - a user's value whose repr raises, most often: message and traceback stay
        return None


def _line(error: Any) -> dict[str, Any]:
    told: dict[str, object] = error.get("ctx") or {}
    context = {name: _value(value) for name, value in told.items()}
    return {
        "type": error["type"],
        "loc": list(error["loc"]),
        "msg": error["msg"],
        "input": _value(error["input"]),
        "ctx": context,
    }


def _value(value: object) -> object:
    if isinstance(value, BaseException):
        return str(value)
    try:
        payload.encode(value)
    except Exception:  # noqa: BLE001 - it has no encoding: how it looked is kept
        return repr(value)
    return value


def error_of(data: Any) -> BaseException | None:
    """The ValidationError again; None if pydantic is not loaded. May raise."""
    core = sys.modules.get("pydantic_core")
    if core is None:
        return None
    lines: list[dict[str, Any]] = []
    for one in cast("list[dict[str, Any]]", data["errors"]):
        line: dict[str, Any] = {"type": one["type"], "loc": tuple(one["loc"]), "input": one["input"]}
        context = dict(one["ctx"])
        if "error" in context:
            context["error"] = ValueError(context["error"])
        try:
            core.ValidationError.from_exception_data(data["title"], [{**line, "ctx": context}])
            line["ctx"] = context
        except Exception:  # noqa: BLE001 - a type that the user named
            text = str(one["msg"]).replace("{", "{{").replace("}", "}}")
            line["type"] = core.PydanticCustomError(one["type"], text)
        lines.append(line)
    made: BaseException = core.ValidationError.from_exception_data(data["title"], lines)
    return made
