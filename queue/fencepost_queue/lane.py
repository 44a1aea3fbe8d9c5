"""One lane as plain state and plain transitions: the executable specification that the Lua scripts are held to.

There are no sets here. A message's state says in which set the scripts keep it, and ``at`` by which score: ready by the
enqueue counter (ticks) or by its round (steps), leased by the lease's deadline, delayed by its due time. Instants are
milliseconds of the one clock whose ``now`` every call is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from fencepost_queue.limits import (
    BELL_TOKENS_MAX,
    FRONT,
    REFUSALS_MAX,
    REFUSED_BY_ALL_MS,
    REFUSED_RINGS,
    ROUNDS_MAX,
    WORK_PER_CLAIM,
)
from fencepost_queue.message import (
    Company,
    Kind,
    Message,
    Settling,
    State,
    in_turn,
    is_tick,
    kind_of,
    offered_to_all,
    run_of,
    unleased,
)
from fencepost_queue.protocol import (
    Claimed,
    Delivery,
    EnqueueOutcome,
    Entry,
    Settled,
    SettleOutcome,
)


class Lane:
    """All of one lane: messages by key, the enqueue counter, the generation and who made it, unheard rings, and until
    when somebody is at the sweep that a new generation calls for (None: it is done). ``round``: of the step that was
    taken last.
    """

    __slots__ = ("bells", "counter", "generation", "messages", "queue", "round", "server", "swept_until")

    def __init__(self, queue: str) -> None:
        self.queue: str = queue
        self.messages: dict[str, Message] = {}
        self.counter: int = 0
        self.round: int | None = None
        self.generation: str | None = None
        self.server: str = ""
        self.swept_until: int | None = None
        self.bells: dict[Kind, int] = dict.fromkeys(Kind, 0)

    def enqueue(self, now: int, entry: Entry, *, conflicts: int = 0) -> EnqueueOutcome:
        """Place or absorb; recover is OR-ed in whatever the state. ``conflicts``: of a message that this call makes."""
        held = self.messages.get(entry.key)
        if held is None:
            fresh = Message(State.ready, 0, body=entry.body, recover=entry.recover, conflicts=conflicts)
            if entry.delay_ms > 0:
                self._make_delayed(now, entry.key, fresh, entry.delay_ms)
                return EnqueueOutcome.delayed
            self._make_ready(now, entry.key, fresh)
            return EnqueueOutcome.ready
        if held.state is State.leased:
            return self._enqueue_leased(entry, held)
        held = replace(held, recover=held.recover or entry.recover)
        if held.refused and held.state is State.ready and entry.recover:
            self._make_ready(now, entry.key, offered_to_all(held))
            return EnqueueOutcome.absorbed
        if held.state is State.delayed and entry.delay_ms <= 0:
            self._make_ready(now, entry.key, held)
            return EnqueueOutcome.earlier
        if held.state is State.delayed and now + entry.delay_ms < held.at:
            self._make_delayed(now, entry.key, held, entry.delay_ms)
            return EnqueueOutcome.earlier
        self.messages[entry.key] = held
        return EnqueueOutcome.absorbed

    def claim(
        self,
        now: int,
        limit: int,
        room: dict[Kind, int],
        lease_ms: int,
        tokens: Callable[[], str],
        new_generation: str,
        code: str = "",
        server: str = "",
    ) -> Claimed:
        """Promote, reclaim, pop. Each of the three is bounded. Who finds the data gone or another server's is to sweep,
        and after a silence of a lease another. What others have refused comes first, unless ``code`` has too. ``room``:
        for how many of each kind there is."""
        sweep = self.swept_until is not None and self.swept_until <= now
        if self.generation is None or self.server != server:
            self.generation, self.server, sweep = new_generation, server, True
        if sweep:
            self.swept_until = now + lease_ms
        generation = self.generation
        for key in self._first(State.delayed, WORK_PER_CLAIM, until=now):
            self._make_ready(now, key, self.messages[key])
        self._reclaim(now)
        asked = {kind for kind in Kind if room[kind] > 0}
        room = {kind: min(count, limit) for kind, count in room.items()}
        chosen: list[str] = []
        for key in [*self.refused_in_order(code), *in_turn(self.in_order(State.ready), room, limit)]:
            if len(chosen) < limit and room[kind_of(key)] > 0:
                chosen.append(key)
                room[kind_of(key)] -= 1
        for key in chosen:
            held = self.messages[key]
            if not is_tick(key) and not held.refused and held.at >= 0:
                self.round = held.at
        taken = tuple(self._lease(now, key, lease_ms, tokens()) for key in chosen)
        if limit > 0:
            self._hand_on_the_watch(filled=len(taken) == limit, asked=asked, room=room)
        ends = [m.at for m in self.messages.values() if m.state is not State.ready]
        due = max(0, min(ends) - now) if ends else None
        return Claimed(taken, due, generation, sweep, self.steps_wait())

    def renew(self, now: int, delivery: Delivery, lease_ms: int, *, begin: bool) -> tuple[bool, bool]:
        """(still the caller's, withdrawn). What a loss of the server's data took from its owner is taken back."""
        held = self.messages.get(delivery.key)
        if held is not None and held.state is State.leased and held.token == delivery.token:
            self.messages[delivery.key] = replace(held, at=now + lease_ms, begun=held.begun or (now if begin else 0))
            return True, held.withdrawn
        taken_back = (held is None or held.state is State.ready) and delivery.generation != (self.generation or "")
        if not taken_back:
            return False, False
        self.messages[delivery.key] = Message(
            State.leased,
            now + lease_ms,
            token=delivery.token,
            body=delivery.body,
            crashes=max(delivery.crashes, held.crashes if held else 0),
            proofs=max(delivery.proofs, held.proofs if held else 0),
            conflicts=max(delivery.conflicts, held.conflicts if held else 0),
            recover=delivery.recover or (held is not None and held.recover),
            dirty=held is not None and is_tick(delivery.key),
            dirty_recover=held is not None and is_tick(delivery.key) and held.recover,
            refused="" if held is None else held.refused,
            why="" if held is None else held.why,
            forgiven=0 if held is None else held.forgiven,
            begun=now,
        )
        return True, False

    def settle(self, now: int, settling: Settling, follow_ups: Sequence[Entry]) -> Settled:
        """Remove or hand back the message and place every follow-up of this lane."""
        delivery = settling.delivery
        held = self._owned(delivery)
        outcome, again = SettleOutcome.lost, None
        carried = delivery.recover and not settling.recovered
        if held is not None:
            carried = held.recover and not settling.recovered
            outcome, again = self._finish(now, settling, held)
        placed = again is not None or outcome is SettleOutcome.requeued
        granted: list[Delivery] = []
        for asked in follow_ups:
            own = asked.key == delivery.key
            entry = replace(asked, recover=asked.recover or (own and carried))
            conflicts = settling.conflicts if own else 0
            if own and placed:  # F5: the next round places it. Its recover is not dropped with it.
                self._or_recover(entry)
                continue
            if entry.lease and held is not None and entry.key not in self.messages:  # F4, F8
                self.messages[entry.key] = Message(
                    State.ready, 0, body=entry.body, recover=entry.recover, conflicts=conflicts
                )
                granted.append(self._lease(now, entry.key, settling.lease_ms, settling.tokens()))
            else:
                self.enqueue(now, entry, conflicts=conflicts)
        if again is not None:
            again = replace(again, recover=self.messages[again.key].recover)
        return Settled(outcome, again, tuple(granted), self.steps_wait())

    def release(self, now: int, delivery: Delivery, delay_ms: int, proof: bool) -> bool:
        """Hand back. A dirty message is ready whatever the delay: somebody waits. Conflicts count anew (H225)."""
        held = self._owned(delivery)
        if held is None:
            return False
        back = replace(held, recover=True, proofs=held.proofs + (1 if proof else 0), conflicts=0)
        if held.dirty or delay_ms <= 0:
            self._make_ready(now, delivery.key, back)
        else:
            self._make_delayed(now, delivery.key, back, delay_ms)
        return True

    def refuse(self, now: int, delivery: Delivery, code: str, why: str) -> bool:
        """Hand back what this code cannot do: to others at once, to the same code not again. When many have refused it,
        it is offered to all anew after a pause. The owner has done nothing, so recover stays as it was.
        """
        held = self._owned(delivery)
        if held is None:
            return False
        codes = [one for one in held.refused.split(",") if one]
        if code not in codes:
            codes.append(code)
        told = "" if len(codes) > REFUSALS_MAX else ",".join(codes)
        if not told and not held.dirty:
            self._make_delayed(now, delivery.key, replace(held, refused="", why=why), REFUSED_BY_ALL_MS)
            return True
        self._make_ready(now, delivery.key, replace(held, refused=told, why=why))
        for _ in range(REFUSED_RINGS - 1):
            self.ring(kind_of(delivery.key))
        return True

    def expire(self, now: int, owner: str) -> int:
        """End every live lease of an owner; the next claim reclaims them."""
        mine = [
            key
            for key, m in self.messages.items()
            if m.state is State.leased and m.at > now and m.token.rpartition(".")[0] == owner
        ]
        for key in mine:
            self.messages[key] = replace(self.messages[key], at=now)
            self.ring(kind_of(key))
        return len(mine)

    def sweep(self, now: int, generation: str, lease_ms: int) -> bool:
        """Somebody is at it, or is done with it: False if there is nothing to be done any more."""
        if self.generation is None or self.swept_until is None or self.generation not in generation.split(","):
            return False
        self.swept_until = now + lease_ms if lease_ms > 0 else None
        return True

    def withdraw(self, key: str) -> str | None:
        """What nobody has begun goes; what is leased is marked for its owner's next renewal, and its token answered."""
        held = self.messages.get(key)
        if held is not None and held.state is State.leased:
            self.messages[key] = replace(held, withdrawn=True)
            return held.token
        if held is not None:
            del self.messages[key]
        return None

    def in_order(self, state: State) -> list[str]:
        """Keys in one state, in the order of their set; of those that are ready, what no code has refused."""
        chosen = (k for k, m in self.messages.items() if m.state is state and not (state is State.ready and m.refused))
        return sorted(chosen, key=lambda k: (self.messages[k].at, k))

    def refused_in_order(self, code: str = "") -> list[str]:
        """Keys of what is ready and was refused, but not by ``code``: by who has, then by key."""
        found = [(m.refused, key) for key, m in self.messages.items() if m.state is State.ready and m.refused]
        kept = [one for one in found if code not in one[0].split(",")]
        return [key for _, key in sorted(kept, key=lambda one: f"{one[0]}|{one[1]}")]

    def steps_wait(self) -> bool:
        """Whether a step is ready that no code has refused."""
        return any(m.state is State.ready and not m.refused and not is_tick(key) for key, m in self.messages.items())

    def ring(self, kind: Kind = Kind.tick) -> None:
        """One more unheard ring, up to the cap. The ticks' bell is the one that every waiting worker hears."""
        self.bells[kind] = min(self.bells[kind] + 1, BELL_TOKENS_MAX)

    def _reclaim(self, now: int) -> None:
        """Leases that have ended. Where an owner loses many that were lost before, that is taken for its fault."""
        lost = {key: self.messages[key] for key in self._first(State.leased, WORK_PER_CLAIM, until=now)}
        company = Company(lost.values())
        for key, held in lost.items():
            spared = held.begun > 0 and company.spares(held)
            counts = {"crashes": held.crashes + (held.begun > 0 and not spared), "forgiven": held.forgiven + spared}
            # To the front: it has waited its turn already, and whoever waits for it has waited for the lease as well.
            self._make_ready(now, key, replace(held, recover=True, **counts), first=True)

    def _enqueue_leased(self, entry: Entry, held: Message) -> EnqueueOutcome:
        if not is_tick(entry.key):
            self.messages[entry.key] = replace(held, recover=held.recover or entry.recover)
            return EnqueueOutcome.absorbed
        self.messages[entry.key] = replace(held, dirty=True, dirty_recover=held.dirty_recover or entry.recover)
        return EnqueueOutcome.dirty

    def _finish(self, now: int, settling: Settling, held: Message) -> tuple[SettleOutcome, Delivery | None]:
        key = settling.delivery.key
        if not held.dirty:
            del self.messages[key]
            return SettleOutcome.settled, None
        recover = (held.recover and not settling.recovered) or held.dirty_recover
        clean = replace(offered_to_all(held), crashes=0, proofs=0, conflicts=settling.conflicts, forgiven=0)
        clean = replace(clean, recover=recover)
        if held.rounds >= ROUNDS_MAX:
            self._make_ready(now, key, clean)
            return SettleOutcome.requeued, None
        again = self._lease(now, key, settling.lease_ms, settling.tokens(), clean, rounds=held.rounds + 1)
        return SettleOutcome.again, again

    def _or_recover(self, entry: Entry) -> None:
        held = self.messages[entry.key]
        self.messages[entry.key] = replace(held, recover=held.recover or entry.recover)

    def _owned(self, delivery: Delivery) -> Message | None:
        held = self.messages.get(delivery.key)
        return held if held is not None and held.state is State.leased and held.token == delivery.token else None

    def _lease(
        self, now: int, key: str, lease_ms: int, token: str, held: Message | None = None, rounds: int = 0
    ) -> Delivery:
        held = self.messages[key] if held is None else held
        self.messages[key] = leased = replace(
            held,
            state=State.leased,
            at=now + lease_ms,
            since=0,
            token=token,
            rounds=rounds,
            dirty=False,
            dirty_recover=False,
            withdrawn=False,
            begun=now if held.crashes == 0 else 0,
        )
        return Delivery(
            self.queue,
            key,
            token,
            leased.body,
            leased.crashes,
            leased.proofs,
            leased.conflicts,
            leased.recover,
            self.generation or "",
        )

    def _make_ready(self, now: int, key: str, held: Message, *, first: bool = False) -> None:
        """To the back of ready; ``first``: in front of everything that was enqueued."""
        self.counter += 1
        place = self.counter - FRONT if first else self.counter
        if held.refused:
            place = 0  # a set of its own, in the order of its members
        elif not first and not is_tick(key):
            self.round = place if self.round is None else self.round
            place = self.round + 1 + self._waiting(key)
        self.messages[key] = replace(unleased(held), state=State.ready, at=place, since=now)
        self.ring(kind_of(key))

    def _waiting(self, key: str) -> int:
        """How many other steps of the run are ready."""
        run = run_of(key)
        return sum(
            m.state is State.ready and not m.refused and other != key and not is_tick(other) and run_of(other) == run
            for other, m in self.messages.items()
        )

    def _make_delayed(self, now: int, key: str, held: Message, delay_ms: int) -> None:
        """Rings if it is the next to come due: whoever blocks must learn of it, or a short delay would wait for the end
        of their block."""
        self.messages[key] = replace(unleased(held), state=State.delayed, at=now + delay_ms)
        if self._first(State.delayed, 1) == [key]:
            self.ring()

    def _hand_on_the_watch(self, *, filled: bool, asked: set[Kind], room: dict[Kind, int]) -> None:
        """After a claim. A caller that still has room for a kind and left none ready knows when to come back: unheard
        rings are moot. A caller that took its fill has another of the idle look for what is left or comes due. A
        caller without room for a kind says nothing about it, or it would wake itself for ever. What somebody has
        refused may be what the unheard rings are for, so they stay."""
        waiting = [(kind_of(key), m) for key, m in self.messages.items() if m.state is State.ready]
        ready = {kind for kind, m in waiting if not m.refused}
        refused = any(m.refused for _, m in waiting)
        delayed = any(m.state is State.delayed for m in self.messages.values())
        for kind in Kind:
            if kind not in asked:
                continue
            if kind not in ready and not refused and not filled and room[kind] > 0:
                self.bells[kind] = 0
            elif self.bells[kind] == 0 and (kind in ready or (kind is Kind.tick and filled and delayed)):
                self.ring(kind)

    def _first(self, state: State, count: int, *, until: int | None = None) -> list[str]:
        chosen = ((m.at, k) for k, m in self.messages.items() if m.state is state and (until is None or m.at <= until))
        return [key for _, key in sorted(chosen)[:count]]
