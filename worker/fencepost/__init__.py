"""fencepost: durable workflows for Python on Postgres and Redis (or Valkey).

Everything public is importable from here. ``import fencepost`` loads nothing: each name is imported at its first use
(PEP 562), so that command line tools and test plugins stay fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fencepost.authoring.attributes import set_attributes
    from fencepost.authoring.child import ChildHandle
    from fencepost.authoring.context import StepContext, current
    from fencepost.authoring.continuing import continue_as_new
    from fencepost.authoring.hook import Hook, hook
    from fencepost.authoring.interceptors import StepCall, WorkflowCall, step_interceptor, workflow_interceptor
    from fencepost.authoring.logger import WorkflowLogger, get_logger, logger
    from fencepost.authoring.patch import patched
    from fencepost.authoring.registry import Registry
    from fencepost.authoring.step import Step, step
    from fencepost.authoring.stream import BlockingWriter, Stream, StreamWriter, stream
    from fencepost.authoring.stream_reader import StreamChunk, StreamReader
    from fencepost.authoring.time import now, random, sleep, uuid4
    from fencepost.authoring.transaction import transaction
    from fencepost.authoring.worker_life import on_shutdown, on_startup, worker_lifespan
    from fencepost.authoring.workflow import Workflow, workflow
    from fencepost.child_errors import ChildCancelled, ChildFailed, ChildTerminated
    from fencepost.client import Client, HookInfo
    from fencepost.config import ConfigError
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
        NotSupportedHere,
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
        TransactionMisuse,
        WorkflowNotRegistered,
        WrongDatabase,
    )
    from fencepost.payload_codecs import PayloadCodec
    from fencepost.replay.limits import WorkflowRestriction
    from fencepost.signal_errors import BadSignal, DeliveryConflict
    from fencepost.stream_errors import StreamClosed, StreamFenced, StreamLimitExceeded

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "BadAttribute",
    "BadSignal",
    "BlockingWriter",
    "ChildCancelled",
    "ChildFailed",
    "ChildHandle",
    "ChildTerminated",
    "Client",
    "ConfigError",
    "DeliveryConflict",
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
    "NotSupportedHere",
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
    "StepCall",
    "StepContext",
    "StepCrashed",
    "StepFailed",
    "StepNotRegistered",
    "StepTimeout",
    "Stream",
    "StreamChunk",
    "StreamClosed",
    "StreamFenced",
    "StreamLimitExceeded",
    "StreamReader",
    "StreamWriter",
    "TooEarly",
    "TransactionMisuse",
    "Workflow",
    "WorkflowCall",
    "WorkflowLogger",
    "WorkflowNotRegistered",
    "WorkflowRestriction",
    "WrongDatabase",
    "__version__",
    "continue_as_new",
    "current",
    "get_logger",
    "hook",
    "logger",
    "now",
    "on_shutdown",
    "on_startup",
    "patched",
    "random",
    "set_attributes",
    "sleep",
    "step",
    "step_interceptor",
    "stream",
    "transaction",
    "uuid4",
    "worker_lifespan",
    "workflow",
    "workflow_interceptor",
]

_HOMES = {
    "BadSignal": "fencepost.signal_errors",
    "BlockingWriter": "fencepost.authoring.stream",
    "ChildCancelled": "fencepost.child_errors",
    "ChildFailed": "fencepost.child_errors",
    "ChildHandle": "fencepost.authoring.child",
    "ChildTerminated": "fencepost.child_errors",
    "Client": "fencepost.client",
    "ConfigError": "fencepost.config",
    "DeliveryConflict": "fencepost.signal_errors",
    "Hook": "fencepost.authoring.hook",
    "HookInfo": "fencepost.client",
    "PayloadCodec": "fencepost.payload_codecs",
    "Registry": "fencepost.authoring.registry",
    "Step": "fencepost.authoring.step",
    "StepCall": "fencepost.authoring.interceptors",
    "StepContext": "fencepost.authoring.context",
    "Stream": "fencepost.authoring.stream",
    "StreamChunk": "fencepost.authoring.stream_reader",
    "StreamClosed": "fencepost.stream_errors",
    "StreamFenced": "fencepost.stream_errors",
    "StreamLimitExceeded": "fencepost.stream_errors",
    "StreamReader": "fencepost.authoring.stream_reader",
    "StreamWriter": "fencepost.authoring.stream",
    "Workflow": "fencepost.authoring.workflow",
    "WorkflowCall": "fencepost.authoring.interceptors",
    "WorkflowLogger": "fencepost.authoring.logger",
    "WorkflowRestriction": "fencepost.replay.limits",
    "continue_as_new": "fencepost.authoring.continuing",
    "current": "fencepost.authoring.context",
    "get_logger": "fencepost.authoring.logger",
    "hook": "fencepost.authoring.hook",
    "logger": "fencepost.authoring.logger",
    "now": "fencepost.authoring.time",
    "on_shutdown": "fencepost.authoring.worker_life",
    "on_startup": "fencepost.authoring.worker_life",
    "patched": "fencepost.authoring.patch",
    "random": "fencepost.authoring.time",
    "set_attributes": "fencepost.authoring.attributes",
    "sleep": "fencepost.authoring.time",
    "step": "fencepost.authoring.step",
    "step_interceptor": "fencepost.authoring.interceptors",
    "stream": "fencepost.authoring.stream",
    "transaction": "fencepost.authoring.transaction",
    "uuid4": "fencepost.authoring.time",
    "worker_lifespan": "fencepost.authoring.worker_life",
    "workflow": "fencepost.authoring.workflow",
    "workflow_interceptor": "fencepost.authoring.interceptors",
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
