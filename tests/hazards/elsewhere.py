"""Takes the guard out in a process that a test has started, too: tests' own programs call ``take_out`` first."""

from __future__ import annotations

import os

import pytest

ELSEWHERE = "HAZARDS_WITHOUT"


def take_out() -> None:
    """What the environment names, for the rest of this process; nothing if it names nothing."""
    name = os.environ.get(ELSEWHERE)
    if name:
        from tests.hazards.removals import REGISTRY

        REGISTRY[name].apply(pytest.MonkeyPatch())
