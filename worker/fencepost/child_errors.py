"""How a child's end is seen in its parent. Written as the exceptions of errors.py are."""

from __future__ import annotations

from fencepost.errors import USER_ERROR, FencepostError


class ChildFailed(FencepostError):
    """A child run failed; ``__cause__`` is the child's own exception, with its causes.

    ``run_id``, ``workflow``: the child's. ``type``, ``message``, ``traceback`` and ``code``: of its exception.
    """

    def __init__(
        self,
        run_id: str,
        message: str = "",
        *,
        workflow: str = "",
        code: str = USER_ERROR,
        type: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(run_id, message)
        self.run_id = run_id
        self.message = message
        self.workflow = workflow
        self.code = code
        self.type = type
        self.traceback = traceback

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"{self._what('failed')} ({self.code})", self.type, self.message)))

    def _what(self, ended: str) -> str:
        return f"child {self.workflow} {self.run_id} {ended}"


class ChildCancelled(ChildFailed):
    """A child run was cancelled, though not by the task that awaits it. ``message`` is the reason, if one was given."""

    def __str__(self) -> str:
        return self._what("was cancelled") + (f": {self.message}" if self.message else "")


class ChildTerminated(ChildFailed):
    """A child run was terminated. ``message`` is the reason, if one was given."""

    def __str__(self) -> str:
        return self._what("was terminated") + (f": {self.message}" if self.message else "")
