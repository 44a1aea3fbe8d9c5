"""JSON from the command line as a workflow's arguments."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from fencepost.authoring.workflow import Workflow


class BadArgument(Exception):
    """An argument on the command line cannot be used. The message names it and the way out."""


def parse_json(text: str, what: str) -> Any:
    """One JSON value. Raises BadArgument."""
    try:
        return json.loads(text)
    except ValueError as error:
        quoted = json.dumps(text)
        raise BadArgument(
            f"{what} is not JSON: {text!r}: {error}; for a string write '{quoted}', with its quotes inside the shell's"
        ) from None


def parse_kwargs(text: str | None) -> dict[str, Any]:
    """``--kwargs``: one JSON object. Raises BadArgument."""
    if text is None:
        return {}
    value = parse_json(text, "--kwargs")
    if not isinstance(value, dict):
        raise BadArgument(f"--kwargs is not a JSON object: {text!r}; write '{{\"name\": value}}'")
    return value  # pyright: ignore[reportUnknownVariableType]


def parse_attributes(given: Sequence[str]) -> dict[str, Any]:
    """``--attribute``: a name and a JSON value; what is no JSON is a text. Raises BadArgument."""
    found: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals:
            raise BadArgument(f"--attribute {one!r} is not NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def parse_instant(text: str | None) -> datetime | None:
    """``--at``. Raises BadArgument."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise BadArgument(
            f"--at is no instant with a time zone: {text!r}; write 2030-01-31T08:00:00+01:00, or end it with Z"
        )
    return instant


def typed(
    workflow: Workflow[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The JSON values as the workflow's signature has them. Raises ArgumentError (count, names), BadArgument
    (types).
    """
    workflow.arguments.bind(tuple(args), kwargs)
    hints = workflow.arguments.types
    parameters = list(inspect.signature(workflow.fn).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    extra = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
    by_name = {p.name: p for p in parameters}

    def convert(value: Any, parameter: inspect.Parameter | None) -> Any:
        name = parameter.name if parameter is not None else "?"
        return _converted(value, hints.get(name, Any), f"{workflow.name}: argument {name!r}")

    return (
        [convert(value, positional[i] if i < len(positional) else rest) for i, value in enumerate(args)],
        {name: convert(value, by_name.get(name, extra)) for name, value in kwargs.items()},
    )


def _converted(value: Any, hint: Any, what: str) -> Any:
    try:
        # As from JSON: a datetime, UUID or Decimal stands there as text, bytes in base64.
        return msgspec.json.decode(json.dumps(value).encode(), type=hint)
    except msgspec.ValidationError as error:
        raise BadArgument(f"{what}: {error}; given: {json.dumps(value, ensure_ascii=False)}") from None
    except TypeError as error:  # the annotation is nothing that JSON can be turned into
        raise BadArgument(f"{what} cannot be given as JSON: {error}") from None
