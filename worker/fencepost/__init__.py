"""fencepost: durable workflows for Python on Postgres and Redis (or Valkey).

Everything public is importable from here. ``import fencepost`` loads nothing: each name is imported at its first use
(PEP 562), so that command line tools and test plugins stay fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fencepost.authoring.attributes import set_attributes
    from fencepost.authoring.context import StepContext, current
    from fencepost.authoring.hook import Hook, hook
    from fencepost.authoring.patch import patched
    from fencepost.authoring.registry import Registry
    from fencepost.authoring.step import Step, step
    from fencepost.authoring.time import now, random, sleep, uuid4
    from fencepost.authoring.workflow import Workflow, workflow
    from fencepost.client import Client, HookInfo
    from fencepost.errors import (
        ArgumentError,
        BadAttribute,
        DuplicateName,
        Fatal,
        FencepostError,
        HookConflict,
        HookDisposed,
        HookFull,
        HookNotFound,
        HookRunEnded,
        NotInWorkflow,
        PayloadCodecMissing,
        PayloadError,
        PayloadKeyMissing,
        PayloadTooLarge,
        PayloadUnreadable,
        ResultTimeout,
        Retry,
        RunCancelled,
        RunEnded,
        RunFailed,
        RunNotFound,
        ServerUnavailable,
        StartConflict,
        StepCrashed,
        StepFailed,
        StepNotRegistered,
        StepTimeout,
        TooEarly,
        WorkflowNotRegistered,
    )
    from fencepost.payload_codecs import PayloadCodec

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "BadAttribute",
    "Client",
    "DuplicateName",
    "Fatal",
    "FencepostError",
    "Hook",
    "HookConflict",
    "HookDisposed",
    "HookFull",
    "HookInfo",
    "HookNotFound",
    "HookRunEnded",
    "NotInWorkflow",
    "PayloadCodec",
    "PayloadCodecMissing",
    "PayloadError",
    "PayloadKeyMissing",
    "PayloadTooLarge",
    "PayloadUnreadable",
    "Registry",
    "ResultTimeout",
    "Retry",
    "RunCancelled",
    "RunEnded",
    "RunFailed",
    "RunNotFound",
    "ServerUnavailable",
    "StartConflict",
    "Step",
    "StepContext",
    "StepCrashed",
    "StepFailed",
    "StepNotRegistered",
    "StepTimeout",
    "TooEarly",
    "Workflow",
    "WorkflowNotRegistered",
    "__version__",
    "current",
    "hook",
    "now",
    "patched",
    "random",
    "set_attributes",
    "sleep",
    "step",
    "uuid4",
    "workflow",
]

_HOMES = {
    "Client": "fencepost.client",
    "Hook": "fencepost.authoring.hook",
    "HookInfo": "fencepost.client",
    "PayloadCodec": "fencepost.payload_codecs",
    "Registry": "fencepost.authoring.registry",
    "Step": "fencepost.authoring.step",
    "StepContext": "fencepost.authoring.context",
    "Workflow": "fencepost.authoring.workflow",
    "current": "fencepost.authoring.context",
    "hook": "fencepost.authoring.hook",
    "now": "fencepost.authoring.time",
    "patched": "fencepost.authoring.patch",
    "random": "fencepost.authoring.time",
    "set_attributes": "fencepost.authoring.attributes",
    "sleep": "fencepost.authoring.time",
    "step": "fencepost.authoring.step",
    "uuid4": "fencepost.authoring.time",
    "workflow": "fencepost.authoring.workflow",
}
"""Where a public name lives; what is not here is in fencepost.errors."""


def __getattr__(name: str) -> Any:
    if name.startswith("__") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "fencepost.errors")), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return __all__
