"""What users test with. Importing it loads nothing: each name is imported at its first use.

``replay_history(workflow, file)``: a recorded history still fits the code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fencepost.testing.histories import HistoryDiffers, replay_history

__all__ = ["HistoryDiffers", "replay_history"]

_HOMES = {"HistoryDiffers": "fencepost.testing.histories", "replay_history": "fencepost.testing.histories"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
