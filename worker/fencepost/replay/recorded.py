"""Whether a recorded log fits a workflow's code: the log is replayed, and the first difference told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fencepost.replay.instance import Instance
from fencepost.replay.interface import Program, ReplayDivergence
from fencepost.replay.limits import CodeUnfit, ReplayBudgetExceeded, ReplayLimit
from fencepost_store.events import Event


@dataclass(frozen=True, slots=True)
class Difference:
    """Where log and code disagree first: the seq, both sides in words, ``file:line`` of the code (empty: unknown)."""

    seq: int
    recorded: str
    asked: str
    source: str


@dataclass(frozen=True, slots=True)
class Fit:
    """The outcome: a difference or None. ``changed``: entities whose recorded arguments are other than the code's,
    which is no difference."""

    difference: Difference | None
    changed: tuple[str, ...]


def fit(run_id: str, program: Program, events: Sequence[Event], *, queue: str = "default") -> Fit:
    """Replay the log from its first event. What the code asks for beyond the log is no difference."""
    instance = Instance(run_id, program, queue=queue)
    instance.rehearsing = True
    difference = None
    try:
        instance.deliver(events)
    except ReplayDivergence as error:
        difference = Difference(error.seq, error.recorded, error.asked, error.source)
    except CodeUnfit as unfit:
        difference = Difference(instance.work.seen, "a value that other code has written", str(unfit), "")
    except (ReplayLimit, ReplayBudgetExceeded) as error:
        difference = Difference(instance.work.seen, "a turn that came to rest", f"without rest: {error}", "")
    finally:
        instance.evict()
    return Fit(difference, tuple(instance.changed_arguments))
