"""What a lane holds: messages, their states and kinds. The words of ``lane.py``."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec.structs import replace

from fencepost_queue.limits import COMPANY_MAX, FORGIVEN_MAX, YOUNG_MS
from fencepost_queue.protocol import Delivery


class State(enum.Enum):
    """Where a message stands. Absent is not a state of a message; dirty is a flag of a leased one."""

    delayed = "delayed"
    ready = "ready"
    leased = "leased"


class Message(msgspec.Struct, frozen=True):
    """The authority over one key. ``since``: when it became ready. ``rounds``: how often in a row it was handed back.
    ``refused``: the codes that cannot do it, each fingerprint once, in order; ``why``: what the last of them lacked.
    ``dirty_recover``: recover as it came with the dirty mark, kept apart because a settle that placed the recovery
    dispatch answers for what it was handed, not for what came after. ``forgiven``: crashes that it was not blamed for,
    as too many were lost together. ``begun``: since when the end of its lease is a crash (0: it is none)."""

    state: State
    at: int
    since: int = 0
    token: str = ""
    body: bytes = b""
    crashes: int = 0
    proofs: int = 0
    conflicts: int = 0
    rounds: int = 0
    recover: bool = False
    dirty: bool = False
    dirty_recover: bool = False
    withdrawn: bool = False
    refused: str = ""
    why: str = ""
    forgiven: int = 0
    begun: int = 1


class Kind(enum.Enum):
    """What a message asks for. Each kind has its ready set and its bell, so that a worker without room for a step's
    body is not woken for one."""

    tick = "tick"
    step = "step"


class Settling(msgspec.Struct, frozen=True):
    """The arguments of a settle but for its follow-ups. ``tokens`` makes a fresh delivery token."""

    delivery: Delivery
    lease_ms: int
    recovered: bool
    conflicts: int
    tokens: Callable[[], str]


def kind_of(key: str) -> Kind:
    """Ticks coalesce by the dirty mark, steps do not: a step's body runs once per delivery, whoever asks again."""
    return Kind.tick if key.startswith("t:") else Kind.step


def run_of(key: str) -> str:
    """The run of a step's message."""
    return key.split(":", 2)[1]


def is_tick(key: str) -> bool:
    """See ``kind_of``."""
    return kind_of(key) is Kind.tick


def owner_of(held: Message) -> str:
    """Who has or had the lease."""
    return held.token.rpartition(".")[0]


class Company:
    """What owners lose together: how many messages each had begun that had been lost before, and how many of those
    began with the last one.
    """

    def __init__(self, lost: Iterable[Message]) -> None:
        self._begun: dict[str, list[int]] = {}
        for held in lost:
            if held.begun and held.crashes:
                self._begun.setdefault(owner_of(held), []).append(held.begun)

    def spares(self, held: Message) -> bool:
        """Whether a message that was lost with its owner is not blamed for it."""
        begun = self._begun.get(owner_of(held), []) if held.crashes else []
        if len(begun) <= COMPANY_MAX:
            return False
        young = [one for one in begun if one > max(begun) - YOUNG_MS]
        return held.forgiven < FORGIVEN_MAX and (len(young) > COMPANY_MAX or held.begun not in young)


def in_turn(ready: Sequence[str], room: dict[Kind, int], limit: int) -> list[str]:
    """A tick and a step in turn, for as long as there are both."""
    ticks = [key for key in ready if is_tick(key)][: min(room[Kind.tick], limit)]
    steps = [key for key in ready if not is_tick(key)][: min(room[Kind.step], limit)]
    paired = [key for pair in zip(ticks, steps, strict=False) for key in pair]
    both = len(paired) // 2
    return [*paired, *ticks[both:], *steps[both:]]


def offered_to_all(held: Message) -> Message:
    """Whatever was refused before: every code may have a look at it."""
    return replace(held, refused="", why="")


def unleased(held: Message) -> Message:
    """Every mark that belonged to a lease goes with it."""
    return replace(held, since=0, token="", rounds=0, dirty=False, dirty_recover=False, withdrawn=False)
