"""What steps, children and hooks of the replayed worlds raise in the code."""

from __future__ import annotations


class StepError(Exception):
    """What a failed step raises in these workflows."""


class ChildError(Exception):
    """What a failed child raises in these workflows."""


class Conflict(Exception):
    """What a hook whose token is taken raises in these workflows."""
