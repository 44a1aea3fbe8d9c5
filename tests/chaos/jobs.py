"""What producers are told to do, and what they answer: lines of JSON on their pipes."""

from __future__ import annotations

from typing import Any

import msgspec

from fencepost.config import Config


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start a run. The answer carries its id."""

    job: int
    workflow: str
    args: list[Any]
    key: str


class Send(msgspec.Struct, frozen=True, tag="send"):
    """Send one signal under this delivery id, after a pause (seconds), until it is accepted or its run has ended."""

    job: int
    token: str
    value: int
    id: str
    after: float = 0.0


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel a run, after a pause, under this id."""

    job: int
    run: str
    reason: str
    id: str
    after: float = 0.0


Job = Start | Send | Cancel


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first line: where the servers are."""

    config: Config


class Answer(msgspec.Struct, frozen=True):
    """``job`` is done. ``run``: its run's id. ``accepted`` False: it was refused for good (the run had ended).
    ``tries``: how often it was asked.
    """

    job: int
    run: str = ""
    accepted: bool = True
    tries: int = 1
