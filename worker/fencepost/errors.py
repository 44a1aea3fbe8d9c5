"""Every exception that user code meets, and the codes by which a failure says whose fault it was.

Engine code tells failures apart by type or by code, never by their wording. Errors of one room only stay in that room
(``ConfigError`` in config.py, ``StoreTrouble`` in the store, ``ReplayDivergence`` in replay).

Conventions: an exception's ``args`` rebuild it (``cls.__new__(cls, *args)``), and what else it knows stands in plain
instance attributes, so that it survives the way through the log as any exception of the user's does (failure.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fencepost.durations import Duration, seconds_of

if TYPE_CHECKING:
    from fencepost.records import Failure

USER_ERROR = "USER_ERROR"
RUNTIME_ERROR = "RUNTIME_ERROR"
STEP_CRASHED = "STEP_CRASHED"
STEP_TIMEOUT = "STEP_TIMEOUT"
MAX_DELIVERIES_EXCEEDED = "MAX_DELIVERIES_EXCEEDED"
REPLAY_TIMEOUT = "REPLAY_TIMEOUT"
LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
CORRUPTED_EVENT_LOG = "CORRUPTED_EVENT_LOG"
PAYLOAD_ERROR = "PAYLOAD_ERROR"

CODES = frozenset(
    {
        USER_ERROR,
        RUNTIME_ERROR,
        STEP_CRASHED,
        STEP_TIMEOUT,
        MAX_DELIVERIES_EXCEEDED,
        REPLAY_TIMEOUT,
        LIMIT_EXCEEDED,
        CORRUPTED_EVENT_LOG,
        PAYLOAD_ERROR,
    }
)

NOT_RETRYABLE_CODES = frozenset({RUNTIME_ERROR, STEP_CRASHED, LIMIT_EXCEEDED, CORRUPTED_EVENT_LOG, PAYLOAD_ERROR})
"""Codes under which another attempt would end the same way: the step fails at once."""


class FencepostError(Exception):
    """The root of every exception that fencepost raises for operating reasons."""


# --- raised by step bodies to steer their retries ---------------------------------------------------------------------


class Fatal(FencepostError):
    """Raised by a step's body: do not retry.

    Only what left the body counts: a Fatal that is merely the cause or context of another exception does not make that
    one fatal. An exception group is fatal if one of its members is.
    """


class Retry(FencepostError):
    """Raised by a step's body: try again ``after`` seconds, a timedelta or a text (``"90s"``) from now, instead of the
    policy's delay.

    It counts as an error of the attempt like any other: it does not add to the policy's retries.
    """

    def __init__(self, message: str = "", *, after: Duration | None = None) -> None:
        super().__init__(message)
        self.after: float | None = None if after is None else seconds_of(after, "after")


# --- how a step's failure is seen in the workflow ---------------------------------------------------------------------


class StepFailed(FencepostError):
    """A step failed with an exception whose class is not loaded here (otherwise that class itself is raised).

    ``type``: its module-qualified class name. ``message``: its text. ``traceback``: as recorded where it happened.
    ``code``: whose fault it was.
    """

    def __init__(self, message: str, *, type: str = "", traceback: str = "", code: str = USER_ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.type = type
        self.traceback = traceback
        self.code = code

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.type, self.message)))


class StepTimeout(StepFailed, TimeoutError):
    """A step ran out of time. ``which`` of its bounds it was: ``timeout`` and ``heartbeat_timeout``, of the last
    attempt, when every attempt was used up; ``schedule_to_start``, before any attempt; ``schedule_to_close``, of all of
    them together.
    """

    def __init__(self, message: str, *, code: str = STEP_TIMEOUT, which: str = "timeout", **told: str) -> None:
        super().__init__(message, code=code, **told)
        self.which = which


class StepCrashed(StepFailed):
    """The step's body ended its worker process, proven twice in a process of its own."""

    def __init__(self, message: str, *, type: str = "", traceback: str = "", code: str = STEP_CRASHED) -> None:
        super().__init__(message, type=type, traceback=traceback, code=code)


class StepNotRegistered(StepFailed):
    """The worker that was asked to run the step does not have its code."""

    def __init__(self, message: str, *, type: str = "", traceback: str = "", code: str = RUNTIME_ERROR) -> None:
        super().__init__(message, type=type, traceback=traceback, code=code)


# --- payloads and calls -----------------------------------------------------------------------------------------------


class PayloadError(FencepostError, ValueError):
    """A value cannot be encoded, or what was recorded does not fit the type that is expected.

    The message starts with the path inside the value.
    """


class PayloadUnreadable(PayloadError):
    """A value is whole, and this process lacks what it takes to read it. Another one may have it, so nothing fails by
    it: a worker hands the work back.
    """


class PayloadCodecMissing(PayloadUnreadable):
    """A value was written by a codec of yours that is not configured here. ``codec``: its name."""

    def __init__(self, codec: str) -> None:
        super().__init__(
            f"the value was written by the codec {codec!r}, which is not configured here: name it as MODULE:NAME in "
            "payload_codecs, or in payload_codecs_read if new values are not to go through it"
        )
        self.codec = codec


class PayloadKeyMissing(PayloadUnreadable):
    """A value is encrypted with a key that is not configured here. ``key``: its id. ``other``: there is a key of that
    id, and it is another one.
    """

    def __init__(self, key: str, *, other: bool = False) -> None:
        what = f"a key {key!r} is configured here, but it is another one" if other else "it is not configured here"
        super().__init__(f"the value is encrypted with key {key!r}, and {what}: add it to the keys of payload_key_file")
        self.key = key
        self.other = other


class PayloadTooLarge(PayloadError):
    """A value's encoding is larger than the limit. ``size`` and ``limit`` in bytes (0: not known)."""

    def __init__(self, message: str, *, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class ArgumentError(FencepostError, TypeError):
    """A step or workflow was called with arguments that do not fit its signature. Nothing was written."""


class BadAttribute(FencepostError, ValueError):
    """An attribute cannot be kept: its name, its value, or that there are too many. Nothing was written."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"attribute {self.name!r}: {self.problem}" if self.name else self.problem


class NotInWorkflow(FencepostError, RuntimeError):
    """Something that only makes sense inside a workflow, or inside a step, was used elsewhere.

    The message names the way out.
    """


class NotSupportedHere(FencepostError, RuntimeError):
    """A step's body asked for what its kind of step cannot have: a heartbeat from another process, a transaction in a
    thread.
    """


class TransactionMisuse(Fatal, RuntimeError):
    """``transaction()`` twice in one attempt, committed by hand, or still open when the body returned. The step fails
    and is not retried, for what was committed by hand would be written again.
    """


class DuplicateName(FencepostError, ValueError):
    """Two different functions are registered under one name. The message has both locations."""


# --- hooks ------------------------------------------------------------------------------------------------------------


class HookNotFound(FencepostError, LookupError):
    """No run listens on the token. If one did, HookDisposed or HookRunEnded, which are HookNotFound too."""

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token

    def __str__(self) -> str:
        return f"no run listens on the hook token {self.token!r}: not yet, or its run was pruned"


class HookDisposed(HookNotFound):
    """The run that listened on the token has closed its hook and goes on. ``run_id``: that run's id."""

    def __init__(self, token: str, run_id: str) -> None:
        super().__init__(token)
        self.args: tuple[Any, ...] = (token, run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id} has closed its hook {self.token!r}: nobody listens on this token now"


class HookRunEnded(HookDisposed):
    """The run that listened on the token has ended. ``run_id``: that run's id."""

    def __str__(self) -> str:
        return f"run {self.run_id}, which listened on the hook token {self.token!r}, has ended"


class HookFull(FencepostError):
    """The run that listens on the token can take nothing more: its log is as long as it may be. Nothing was written.

    ``run_id``: that run's id. ``bound``: how many ``what`` its log may have, by the setting ``limit``.
    """

    def __init__(self, token: str, run_id: str, bound: int, what: str = "events", limit: str = "events_max") -> None:
        super().__init__(token, run_id, bound, what, limit)
        self.token: str = token
        self.run_id: str = run_id
        self.bound: int = bound
        self.what: str = what
        self.limit: str = limit

    def __str__(self) -> str:
        return (
            f"run {self.run_id}, which listens on the hook token {self.token!r}, may have a log of {self.bound}"
            f" {self.what} ({self.limit}) and takes nothing more"
        )


class HookConflict(FencepostError):
    """Another hook holds the token; raised in the workflow where the hook is awaited. ``owner``: that run's id."""

    def __init__(self, token: str, owner: str) -> None:
        super().__init__(token, owner)
        self.token = token
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"the hook token {self.token!r} is held by run {self.owner}: "
            "use another token, or wait until that run has disposed it"
        )


# --- client side ------------------------------------------------------------------------------------------------------


class RunFailed(FencepostError):
    """The run ended in an error.

    ``code`` says whose fault it was; ``__cause__`` is the workflow's exception, with its own causes.
    """

    def __init__(
        self, run_id: str, message: str, *, code: str = USER_ERROR, type: str = "", traceback: str = ""
    ) -> None:
        super().__init__(run_id, message)
        self.run_id = run_id
        self.message = message
        self.code = code
        self.type = type
        self.traceback = traceback

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"run {self.run_id} failed ({self.code})", self.type, self.message)))


class _RunError(FencepostError):
    """An error about one run, named by its id."""

    wording = "run {run_id}: {detail}"

    def __init__(self, run_id: str, detail: str = "") -> None:
        super().__init__(run_id, detail)
        self.run_id = run_id
        self.detail = detail

    def __str__(self) -> str:
        return self.wording.format(run_id=self.run_id, detail=self.detail) + (f": {self.detail}" if self.detail else "")


class RunCancelled(_RunError):
    """The run was cancelled, or terminated (``terminated`` is True: its code was not asked, or did not end in time).

    ``detail`` is the reason that was given, empty if there was none.
    """

    wording = "run {run_id} was cancelled"

    def __init__(self, run_id: str, detail: str = "", *, terminated: bool = False) -> None:
        super().__init__(run_id, detail)
        self.terminated = terminated

    def __str__(self) -> str:
        text = super().__str__()
        return text.replace("was cancelled", "was terminated", 1) if self.terminated else text


class RunNotFound(_RunError, LookupError):
    """There is no such run in this namespace: the id is wrong, or the run was pruned."""

    wording = "there is no run {run_id} in this namespace"


class RunEnded(_RunError):
    """What was asked needs a run that has not ended."""

    wording = "run {run_id} has ended"


class ResultTimeout(_RunError, TimeoutError):
    """The run had not ended when the caller's timeout was over. The run goes on."""

    wording = "run {run_id} has not ended yet"


class TooEarly(_RunError):
    """What was asked for is not there yet, and the caller did not want to wait."""

    wording = "run {run_id} is not there yet"


class WorkflowNotRegistered(FencepostError, LookupError):
    """No workflow of this name is loaded in this process."""


class StartConflict(FencepostError):
    """The key was used before with other arguments, and the caller asked to be strict. ``run_id``: the first run's."""

    def __init__(self, workflow: str, key: str, run_id: str) -> None:
        super().__init__(workflow, key, run_id)
        self.workflow = workflow
        self.key = key
        self.run_id = run_id

    def __str__(self) -> str:
        return (
            f"{self.workflow} was started before with the key {self.key!r} and other arguments (run {self.run_id}): "
            "use another key, or call start without strict to get that run"
        )


class WrongDatabase(FencepostError, ValueError):
    """``start(connection=...)``: the connection's database is not the one that the client's workers look at."""


class ServerUnavailable(FencepostError, ConnectionError):
    """Postgres or Redis could not be reached or refused for its own reasons.

    What was asked for may or may not have happened.
    """


# --- the way through the log ------------------------------------------------------------------------------------------


def failure_of(exc: BaseException, *, code: str = USER_ERROR) -> Failure:
    """The exception as a record for the log, see ``fencepost.failure``. Never raises for what exc is made of."""
    # Imported here, as failure.py encodes values and payload.py raises the errors above.
    from fencepost import failure

    return failure.failure_of(exc, code=code)


def exception_of(record: Failure) -> BaseException:
    """The exception that the record stands for, see ``fencepost.failure``. Never raises."""
    from fencepost import failure

    return failure.exception_of(record)
