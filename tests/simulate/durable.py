"""The generated workflows as fencepost has them: one workflow and a few steps, registered once per process and version
of the code. Which tree a run plays is its argument; what a step's body does is asked of the world that is current.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from tests.simulate.blocking import block
from tests.simulate.bodies import BRIEF_SECONDS
from tests.simulate.plan import Node
from tests.simulate.programs import play, said, told

from fencepost import Hook, continue_as_new, hook, patched, set_attributes, sleep, step, stream, workflow
from fencepost.authoring.context import current
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import Step
from fencepost.authoring.workflow import Workflow

CLOSE_SECONDS, START_SECONDS = 3.0, 1.0
"""The bounds of steps that have one: on all attempts together, and on the wait for the first."""

MORE: dict[str, dict[str, Any]] = {
    "close": {"first_delay": 0.5, "cap": 4.0, "schedule_to_close": CLOSE_SECONDS},
    "begin": {"schedule_to_start": START_SECONDS},
    "beat": {"first_delay": 0.3, "cap": 4.0},
    "append": {"first_delay": 0.3, "cap": 4.0},
    "resume": {"first_delay": 0.3, "cap": 4.0},
    "joint": {"first_delay": 0.3, "cap": 4.0},
}
"""Steps of the additions, with their options."""


class Scene(Protocol):
    """The world that is current."""

    def tree(self, run: int, node: int) -> Node:
        """The tree of a run; of a child, the part of that node."""
        ...

    async def body(self, run_id: str, node: int, visit: int, entity: str, attempt: int) -> Any:
        """What a step's body does."""
        ...

    def quick(self, run_id: str, node: int, visit: int, entity: str, attempt: int) -> Any:
        """The same in a thread."""
        ...


class Stage:
    """Where the current world stands."""

    scene: Scene


LACKING = frozenset({"work", "elsewhere", "joint", "beat"})
"""Steps that partial code does not have; of ``once`` it has one with another signature."""


class Code:
    """A version of the code. ``new``: after the change. ``kind``: "partial" code has the workflows and some steps;
    "foreign" code is another application's. ``registry``: what its workers have.
    """

    def __init__(self, *, new: bool, kind: str = "") -> None:
        self.new = new
        self.registry = Registry()
        self.build = kind or ("new" if new else "old")
        self.steps = _steps(Registry() if kind else self.registry)
        if kind == "partial":
            for name, made in self.steps.items():
                if name not in LACKING and name != "once":
                    self.registry.add_step(made)
            _narrow(self.registry)
        code = self
        if kind == "foreign":
            _foreign(self.registry)
            return

        @workflow(registry=self.registry, name="main")
        async def main(run: int, generation: int = 0) -> Any:
            return await play(Stage.scene.tree(run, 0), _Durable(run, code, generation))

        @workflow(registry=self.registry, name="sub")
        async def sub(run: int, node: int, visit: int) -> Any:
            return await play(Stage.scene.tree(run, node), _Durable(run, code))

        self.main: Workflow[..., Any] = main
        self.sub: Workflow[..., Any] = sub


def _narrow(registry: Registry) -> None:
    @step(registry=registry, name="once")
    async def once(run: int) -> Any: ...

    assert once.name == "once"


def _foreign(registry: Registry) -> None:
    @workflow(registry=registry)
    async def unrelated() -> None: ...

    assert unrelated.name == "unrelated"


def _steps(registry: Registry) -> dict[str, Step[..., Any]]:
    @step(registry=registry, first_delay=0.5, cap=4.0)
    async def work(run: int, node: int, visit: int) -> Any:
        context = current()
        return await Stage.scene.body(context.run_id, node, visit, context.step_id, context.attempt)

    @step(registry=registry, retries=0)
    async def once(run: int, node: int, visit: int) -> Any:
        context = current()
        return await Stage.scene.body(context.run_id, node, visit, context.step_id, context.attempt)

    @step(registry=registry, retries=1, timeout=BRIEF_SECONDS, first_delay=0.1)
    async def brief(run: int, node: int, visit: int) -> Any:
        context = current()
        return await Stage.scene.body(context.run_id, node, visit, context.step_id, context.attempt)

    @step(registry=registry, first_delay=3.0, retries=2)
    def thread(run: int, node: int, visit: int) -> Any:
        context = current()
        return Stage.scene.quick(context.run_id, node, visit, context.step_id, context.attempt)

    @step(registry=registry, queue="other", first_delay=0.2)
    async def elsewhere(run: int, node: int, visit: int) -> Any:
        context = current()
        return await Stage.scene.body(context.run_id, node, visit, context.step_id, context.attempt)

    more = {name: _like(registry, name, **options) for name, options in MORE.items()}
    return {**more, "work": work, "once": once, "brief": brief, "thread": thread, "elsewhere": elsewhere}


def _like(registry: Registry, name: str, **options: Any) -> Step[..., Any]:
    async def body(run: int, node: int, visit: int) -> Any:
        context = current()
        return await Stage.scene.body(context.run_id, node, visit, context.step_id, context.attempt)

    return step(registry=registry, name=name, **options)(body)


class _Durable:
    """The primitives, as workflow code has them."""

    def __init__(self, run: int, code: Code, generation: int = 0) -> None:
        self._run = run
        self._code = code
        self._generation = generation
        self._visits: Counter[int] = Counter()

    async def step(self, node: Node) -> Any:
        self._visits[node.id] += 1
        return await self._code.steps[node.flavour](self._run, node.id, self._visits[node.id])

    async def child(self, node: Node) -> Any:
        self._visits[node.id] += 1
        return await self._code.sub(self._run, node.id, self._visits[node.id])

    async def sleep(self, seconds: float) -> None:
        await sleep(seconds)

    def hook(self, token: str) -> _Open:
        return _Open(hook(token=token))

    def patched(self, node: Node) -> bool:
        return self._code.new and patched(f"p{node.id}")

    def attributes(self, node: Node) -> None:
        self._visits[node.id] += 1
        set_attributes(said(node, self._visits[node.id]))

    async def tell(self, node: Node) -> None:
        self._visits[node.id] += 1
        visit = self._visits[node.id]
        async with stream(node.token, shared=True) as writer:
            for index in range(node.count):
                await writer.write(told(node, visit, index))

    async def block(self) -> None:
        await block()

    def again(self, node: Node) -> None:
        if self._generation < node.count:
            continue_as_new(self._run, self._generation + 1)


class _Open:
    def __init__(self, opened: Hook[Any]) -> None:
        self._hook = opened

    async def next(self) -> Any:
        return await self._hook

    def close(self) -> None:
        self._hook.close()


_codes: dict[tuple[bool, str], Code] = {}


def code(*, new: bool, kind: str = "") -> Code:
    """A version of the code, made once."""
    if (new, kind) not in _codes:
        _codes[new, kind] = Code(new=new, kind=kind)
    return _codes[new, kind]
