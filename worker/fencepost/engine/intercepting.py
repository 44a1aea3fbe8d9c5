"""The interceptors around one attempt's body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fencepost.authoring import interceptors
from fencepost.authoring.context import StepContext
from fencepost.authoring.interceptors import StepCall, StepInterceptor
from fencepost.authoring.step import Step

if TYPE_CHECKING:
    from fencepost.engine.bodies import Attempt


class Around:
    """Called with what runs the body, it runs that inside the interceptors."""

    __slots__ = ("_attempt", "_context", "_step", "interceptors")

    def __init__(
        self, chosen: Sequence[StepInterceptor], step: Step[..., Any], attempt: Attempt, context: StepContext
    ) -> None:
        self.interceptors: Sequence[StepInterceptor] = chosen
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
        they let it through, the error itself comes out.
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
            try:
                return await run()
            except BaseException as error:
                seen = shown(error)
                if seen is error:
                    raise
                hidden = (seen, error)
                raise seen from None

        try:
            return await interceptors.around(self.interceptors, call, proceed)
        except BaseException as error:
            if hidden is not None and error is hidden[0]:
                raise hidden[1] from None
            raise
