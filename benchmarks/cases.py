"""What is measured, as data: one row per case."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

PAYLOAD_BYTES = 10_240
REAL_BODY_SECONDS = 0.003
"""What a real body waits for: about one request to a service in the same building."""
IN_FLIGHT = 64


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One row. ``steps``: of one run, which the per-step figures are divided by (a run without steps counts as one).
    ``payload_bytes``: in and out of each step. ``body_seconds``: what a body waits for, and the floor too. ``runs``:
    per round. ``goal``: the greatest ratio of the client's time to the floor's, or with ``goal_is_rate`` the least
    ratio of the throughputs; None: no target.
    """

    name: str
    group: str
    workflow: str
    steps: int
    args: tuple[int | str, ...]
    in_flight: int
    runs: int
    payload_bytes: int = 0
    body_seconds: float = 0.0
    goal: float | None = None
    goal_is_rate: bool = False
    quick: bool = False
    by_name: bool = False  # measured where its name is given, and never else

    @property
    def divisor(self) -> int:
        """What a round's counts are divided by."""
        return self.runs * max(1, self.steps)


def _sequence(steps: int, in_flight: int, runs: int, goal: float | None, body: str = "nothing", **more: bool) -> Case:
    name = f"seq {steps}" + ("" if body == "nothing" else f" {body}")
    return Case(
        name=_named(name, in_flight),
        group="seq" if body == "nothing" else "bodies",
        workflow="sequence",
        steps=steps,
        args=(steps, body),
        in_flight=in_flight,
        runs=runs,
        goal=goal,
        goal_is_rate=in_flight > 1 and goal is not None,
        body_seconds=REAL_BODY_SECONDS if body == "real" else 0.0,
        **more,
    )


def _wide(workflow: str, steps: int, in_flight: int, runs: int, goal: float | None, **more: bool) -> Case:
    return Case(
        name=_named(f"{workflow} {steps}", in_flight),
        group=workflow,
        workflow=workflow,
        steps=steps,
        args=(steps, "nothing"),
        in_flight=in_flight,
        runs=runs,
        goal=goal,
        **more,
    )


def _payload(shape: str, steps: int, in_flight: int, runs: int, goal: float | None) -> Case:
    return Case(
        name=_named(f"{shape} {steps} 10 KB", in_flight),
        group="payload",
        workflow="payload_sequence" if shape == "seq" else "payload_gather",
        steps=steps,
        args=(steps, PAYLOAD_BYTES),
        in_flight=in_flight,
        runs=runs,
        payload_bytes=PAYLOAD_BYTES,
        goal=goal,
    )


def _none(in_flight: int, runs: int, goal: float | None, **more: bool) -> Case:
    return Case(
        name=_named("no steps", in_flight),
        group="none",
        workflow="nothing",
        steps=0,
        args=(),
        in_flight=in_flight,
        runs=runs,
        goal=goal,
        **more,
    )


def _named(name: str, in_flight: int) -> str:
    return name if in_flight == 1 else f"{name} x{in_flight}"


CASES: tuple[Case, ...] = (
    _none(1, 60, 6.0, quick=True),
    _none(IN_FLIGHT, 512, None),
    _none(500, 500, 0.4, goal_is_rate=True),
    _sequence(1, 1, 60, 5.0),
    _sequence(1, IN_FLIGHT, 256, None),
    _sequence(10, 1, 20, 3.0),
    _sequence(10, IN_FLIGHT, 256, 0.6, quick=True),
    _sequence(25, 1, 10, 3.0),
    _sequence(25, IN_FLIGHT, 128, None),
    _sequence(50, 1, 8, 3.0, quick=True),
    _sequence(50, IN_FLIGHT, 64, None),
    _sequence(200, 1, 3, 2.5),
    _sequence(200, IN_FLIGHT, 64, None),
    _sequence(1000, 1, 1, 2.5),
    _sequence(200, 1, 1, None, "real", quick=True),
    _sequence(50, IN_FLIGHT, 64, None, "real", quick=True),
    _sequence(100, 1, 1, None, "real", by_name=True),
    _sequence(40, 16, 16, None, "real", by_name=True),
    _sequence(20, 1, 5, None, "thread"),
    _sequence(20, IN_FLIGHT, 64, None, "thread"),
    *(
        _wide(shape, width, 1, runs, goal, quick=width == 50)
        for shape, factor in (("gather", 1.0), ("race", 2.0))
        for width, runs, goal in ((10, 20, 3 * factor), (25, 10, 2 * factor), (50, 6, 1.2 * factor), (200, 3, factor))
    ),
    _wide("gather", 1000, 1, 1, 1.0),
    _wide("gather", 10, IN_FLIGHT, 128, None),
    _wide("gather", 50, IN_FLIGHT, 64, None),
    _wide("gather", 200, IN_FLIGHT, 64, None),
    _wide("race", 10, IN_FLIGHT, 128, None),
    _wide("race", 50, IN_FLIGHT, 64, None),
    _wide("race", 200, IN_FLIGHT, 64, None),
    *(_payload(shape, steps, 1, runs, goal) for shape, steps, runs, goal in (
        ("seq", 10, 10, 3.0), ("seq", 25, 6, 3.0), ("seq", 50, 4, 3.0),
        ("gather", 10, 10, 3.0), ("gather", 25, 6, 2.0), ("gather", 50, 4, 1.5),
    )),
    _payload("seq", 10, IN_FLIGHT, 64, None),
    _payload("gather", 10, IN_FLIGHT, 64, None),
)  # fmt: skip

GROUPS = tuple(dict.fromkeys(case.group for case in CASES))


def chosen(names: Sequence[str], *, quick: bool) -> list[Case]:
    """Cases by group or by name; none named: all, or those of the quick form. Raises ValueError for an unknown name."""
    if not names:
        return [case for case in CASES if not case.by_name and (case.quick or not quick)]
    known = {case.name for case in CASES} | set(GROUPS)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no case or group is called {unknown[0]!r}; groups: {', '.join(GROUPS)}; or a case's name")
    return [case for case in CASES if case.name in names or (case.group in names and not case.by_name)]
