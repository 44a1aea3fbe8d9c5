"""The interceptors around one attempt's body."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fencepost.authoring import interceptors
from fencepost.authoring.context import StepContext
from fencepost.authoring.interceptors import StepCall, StepInterceptor
from fencepost.authoring.step import Step

if TYPE_CHECKING:
    from fencepost.engine.bodies import Attempt
    from fencepost.engine.body_task import BodyTask
    from fencepost.engine.patience import Patience


class Around:
    """Called with what runs the body, it runs that inside the interceptors."""

    __slots__ = ("_attempt", "_body", "_context", "_patience", "_step", "interceptors")

    def __init__(
        self,
        chosen: Sequence[StepInterceptor],
        step: Step[..., Any],
        attempt: Attempt,
        context: StepContext,
        patience: Patience,
        body: BodyTask,
    ) -> None:
        self.interceptors: Sequence[StepInterceptor] = chosen
        self._patience = patience
        self._body = body
        self._step = step
        self._attempt = attempt
        self._context = context

    async def __call__(
        self,
        run: Callable[[], Awaitable[Any]],
        shown: Callable[[BaseException], BaseException],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What the outermost interceptor returns or raises. ``shown``: what interceptors see of an error of ``run``; if
        they let it through, the error itself comes out. Of an attempt whose time is over they see its TimeoutError, as
        around any timeout, not the CancelledError by which the body was stopped. Where they see a CancelledError and
        nobody has cancelled anything (``shown``), the attempt is none, whatever they make of that.
        """
        attempt = self._attempt
        call = StepCall(
            run_id=attempt.run_id,
            workflow=attempt.workflow,
            step_id=attempt.entity,
            step=self._step.name,
            attempt=attempt.number,
            queue=self._context.queue,
            args=args,
            kwargs=kwargs or {},
        )
        hidden: tuple[BaseException, BaseException] | None = None

        async def proceed() -> Any:
            nonlocal hidden
            self._patience.pause()
            try:
                return await run()
            except BaseException as error:
                seen = self._timeout(error) or shown(error)
                if seen is error:
                    raise
                hidden = (seen, error)
            raise hidden[0]  # out here it keeps its cause and its context

        try:
            value = await interceptors.around(self.interceptors, call, proceed)
            if hidden is None or not _no_attempt(*hidden):
                return value
        except BaseException as error:
            if hidden is None or not (error is hidden[0] or _groups_of_timeout(error, *hidden) or _no_attempt(*hidden)):
                raise
        raise hidden[1]

    def _timeout(self, error: BaseException) -> BaseException | None:
        if not isinstance(error, asyncio.CancelledError) or self._body.reasons[:1] != ["timeout"]:
            return None
        timeout = self._patience.error(self._step.name, self._attempt.number)
        timeout.__cause__ = error
        return timeout


def _no_attempt(seen: BaseException, hidden: BaseException) -> bool:
    return isinstance(seen, asyncio.CancelledError) and not isinstance(hidden, asyncio.CancelledError)


def _groups_of_timeout(error: BaseException, seen: BaseException, hidden: BaseException) -> bool:
    """True if task groups of interceptors have put the timeout, and nothing else, into groups. As a CancelledError it
    would have come out of them as it is.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return error is seen and isinstance(hidden, asyncio.CancelledError)
