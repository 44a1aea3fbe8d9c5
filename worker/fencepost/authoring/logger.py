"""Logging of workflows and steps: a workflow's lines are written once, and not again at each replay."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from fencepost.authoring.context import current_or_none
from fencepost.replay import interface


class WorkflowLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines are silent while a workflow's code is replayed, and say of which run they are.

    In a workflow a record has the attributes ``run_id`` and ``workflow``; in a step ``step_id`` and ``attempt``
    as well. A line may be written twice if its turn is lost to another worker, for it is written before the turn has
    landed.
    """

    def isEnabledFor(self, level: int) -> bool:
        """As a logger's; False while the code that asks is replayed."""
        asking = interface.current()
        return (asking is None or not asking.muted) and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """The message, with what is known of the run in ``extra``."""
        kwargs["extra"] = {**_here(), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _here() -> dict[str, Any]:
    asking = interface.current()
    if asking is not None:
        return {"run_id": asking.run_id, "workflow": asking.workflow}
    context = current_or_none()
    if context is None:
        return {}
    return {
        "run_id": context.run_id,
        "workflow": context.workflow,
        "step_id": context.step_id,
        "attempt": context.attempt,
    }


def get_logger(name: str) -> WorkflowLogger:
    """The standard logger of that name, for workflows and steps."""
    return WorkflowLogger(logging.getLogger(name), {})


logger: WorkflowLogger = get_logger("fencepost.code")
"""For workflows and steps; it is the standard logger ``fencepost.code``."""
