"""What users test with. Importing it loads nothing: each name is imported at its first use.

``replay_history(workflow, file)``: a recorded history still fits the code. ``step_context()``: a
step's body that asks ``current()``, in a unit test.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fencepost.testing.histories import HistoryDiffers, replay_history
    from fencepost.testing.steps import StepTest, step_context

__all__ = ["HistoryDiffers", "StepTest", "replay_history", "step_context"]

_HOMES = {
    "HistoryDiffers": "fencepost.testing.histories",
    "StepTest": "fencepost.testing.steps",
    "replay_history": "fencepost.testing.histories",
    "step_context": "fencepost.testing.steps",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
