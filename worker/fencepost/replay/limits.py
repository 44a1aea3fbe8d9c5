"""How a live run is stopped from outside: thrown away, past its iterations, past its seconds.

``Evicted``, ``ReplayBudgetExceeded`` and ``ContinueAsNew`` are BaseExceptions, because user code that says ``except
Exception`` must not survive them; ``ReplayLimit`` never enters user code and is an ordinary error of the one run.
"""

from __future__ import annotations

from fencepost.errors import FencepostError


class Evicted(BaseException):
    """Raised at whatever asks for something while the instance is thrown away, or after the run's code has returned."""


class ReplayBudgetExceeded(BaseException):
    """Raised inside workflow code that ran longer than the replay budget: move the blocking work into a step."""


class ContinueAsNew(BaseException):
    """Raised by ``continue_as_new`` out of the workflow's code. ``encoded``: the user value ``[args, kwargs]`` of the
    run that goes on; ``fingerprint``: of the signature that encoded it.
    """

    def __init__(self, encoded: bytes, fingerprint: bytes = b"") -> None:
        super().__init__("the run goes on as another one: this is not an error, let it leave the workflow's function")
        self.encoded = encoded
        self.fingerprint = fingerprint


class CodeUnfit(Exception):
    """The log holds a value that other code has written and that this code cannot read. That is no fact about the run:
    a worker of other code can. Never enters user code; what is raised there is ``Evicted``.
    """


class ReplayLimit(Exception):
    """One event made the loop run more callbacks than the drain limit: the code spins without waiting for anything."""

    def __init__(self, run_id: str, limit: int) -> None:
        super().__init__(
            f"run {run_id}: one event led to more than {limit} callbacks without the code coming to rest; "
            f"let the loop await a step, a sleep or a hook, or split the fan-out"
        )
        self.run_id = run_id
        self.limit = limit


class WorkflowRestriction(FencepostError, RuntimeError):
    """Workflow code called what cannot be replayed (threads, sockets, processes, ...). The message names the way
    out."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} cannot be used in a workflow, because it cannot be replayed: do this in a step")
        self.what = what
