"""Guards of the tick queue: what the Lua scripts and their callers see to."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import pytest
from tests.hazards.registry import removal, without_lua

from fencepost.client import client
from fencepost_queue import bell, check, keys, pipeline, valkey

LEASES, MESSAGES, SETTLE = "queue/test_leases.py", "queue/test_messages.py", "queue/test_settle.py"
HEALING, WAITING = "queue/test_healing.py", "queue/test_waiting.py"


@removal(
    "H42",
    guard="a wake marks a leased tick dirty, and settle answers again",
    tests=[
        f"{SETTLE}::test_h42_a_wake_during_a_turn_hands_the_tick_back_to_its_owner",
    ],
)
def wakes_are_absorbed(patch: pytest.MonkeyPatch) -> None:
    """As if the turn under way would see it."""
    without_lua(
        patch, "", "message[DIRTY], message[DIRTY_RECOVER] = 1, either(message[DIRTY_RECOVER], recover)", "local _ = 1",
        everywhere=True,
    )  # fmt: skip


@removal(
    "H43",
    guard="an absorbed enqueue puts back the entry that the message's state calls for",
    tests=[
        f"{HEALING}::test_h43_an_absorbed_enqueue_puts_back_the_entry_that_was_lost",
        f"{HEALING}::test_h43_a_ready_entry_that_is_put_back_rings",
    ],
)
def lost_entries_stay_lost(patch: pytest.MonkeyPatch) -> None:
    """The mark is believed."""
    added = "local added = redis.call('ZADD', set, 'NX', message[AT], member)"
    without_lua(patch, "", added, "local added = 0", everywhere=True)


@removal(
    "H43",
    guard="claim asks the message whether its entry is right",
    tests=[
        f"{HEALING}::test_h43_an_entry_whose_message_is_gone_is_discarded",
        f"{HEALING}::test_h43_an_entry_in_a_set_that_the_message_does_not_call_for_is_discarded",
    ],
)
def entries_are_believed(patch: pytest.MonkeyPatch) -> None:
    """Whatever stands in the set is handed out."""
    without_lua(
        patch, "claim",
        "  if home ~= (from or set) or place ~= (member or key) then\n"
        "    redis.call('ZREM', from or set, member or key)\n"
        "    stale = stale + 1\n    return false",
        "  message = message or create('', 0, 0)\n  if message[STATE] == '' then\n    message[STATE] = 'r'\n"
        "    stale = stale + 0",
    )  # fmt: skip


@removal(
    "H55",
    guard="the generation is read on every claim, and who finds none sweeps",
    tests=[f"{LEASES}::test_h55_exactly_one_claim_is_told_that_the_generation_is_new"],
)
def nobody_notices_a_flush(patch: pytest.MonkeyPatch) -> None:
    """An empty server is taken for a quiet one."""
    without_lua(patch, "claim", "generation, sweep = ARGV[5], 1", "generation, sweep = ARGV[5], 0")


@removal(
    "H104",
    guard="of all claims after a flush one is told",
    tests=[f"{LEASES}::test_h104_one_of_many_claims_sweeps_after_a_flush"],
)
def everybody_sweeps(patch: pytest.MonkeyPatch) -> None:
    """Nobody writes the new generation down."""
    without_lua(patch, "claim", "  redis.call('SET', GENERATION, generation)\n", "")


@removal(
    "H127",
    guard="whoever is to sweep and is silent for a lease is followed by another",
    tests=[f"{LEASES}::test_h127_a_sweep_that_nobody_says_to_be_at_is_asked_of_another_after_a_lease"],
)
def a_sweep_is_asked_for_once(patch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of it."""
    without_lua(patch, "claim", "elseif swept_until and tonumber(swept_until) <= now then\n  sweep = 1\n", "")


@removal(
    "H127",
    guard="a sweep is ended by who sweeps for this loss of the data, not for one before",
    tests=[f"{LEASES}::test_h127_a_sweep_for_data_that_is_lost_again_ends_no_later_one"],
)
def any_sweep_will_do(patch: pytest.MonkeyPatch) -> None:
    """One that began before the loss ends the one that is owed since."""
    generations = "if not string.find(',' .. ARGV[3] .. ',', ',' .. generation .. ',', 1, true) then return 0 end\n"
    without_lua(patch, "sweep", generations, "")


@removal(
    "H46",
    guard="of two delays the earlier holds",
    tests=[f"{MESSAGES}::test_h46_of_two_delays_the_earlier_holds_and_one_message_comes"],
)
def the_first_delay_holds(patch: pytest.MonkeyPatch) -> None:
    """A wake that is asked for sooner comes late."""
    without_lua(
        patch, "", "message[STATE] == 'd' and now + delay < message[AT]", "message[STATE] == 'D'", everywhere=True
    )


@removal(
    "H48",
    guard="a key lives exactly as long as its message",
    tests=[f"{HEALING}::test_h48_nothing_in_a_lane_has_a_time_to_live"],
)
def messages_have_a_time_to_live(patch: pytest.MonkeyPatch) -> None:
    """As dedupe keys do elsewhere."""
    saved = "redis.call('HSET', MESSAGES, key, cmsgpack.pack(message))"
    without_lua(patch, "", saved, f"{saved} redis.call('EXPIRE', MESSAGES, 3600)", everywhere=True)


@removal(
    "H48",
    guard="a settled message leaves nothing behind that could swallow the next one",
    tests=[f"{MESSAGES}::test_h48_a_step_key_lives_exactly_as_long_as_its_message"],
)
def keys_outlive_their_messages(patch: pytest.MonkeyPatch) -> None:
    """The mark of a settled message stays."""
    without_lua(
        patch, "settle", "    leave(key, message)\n    redis.call('HDEL', MESSAGES, key)\n", "    leave(key, message)\n"
    )


@removal(
    "H55",
    guard="a ring in the hands of who will not use it is rung again",
    tests=[f"{WAITING}::test_h55_a_ring_in_the_hands_of_who_will_not_use_it_is_rung_again"],
)
def rings_are_lost(patch: pytest.MonkeyPatch) -> None:
    """Whoever took it has it."""

    async def recall(self: Any) -> None:
        if self._pop is not None:
            self._pop.cancel()
            self._pop = None

    patch.setattr(bell.Bell, "recall", recall)


@removal(
    "H57",
    guard="a request to recover is OR-ed into what it meets",
    tests=[f"{SETTLE}::test_h57_a_request_to_recover_is_or_ed_into_whatever_it_meets"],
)
def recovery_is_absorbed(patch: pytest.MonkeyPatch) -> None:
    """The message that is there keeps what it has."""
    next_line = "  if message[STATE] == 'r' and message[CODES] ~= '' and recover == 1 then"
    kept = f"  message[RECOVER] = either(message[RECOVER], recover)\n{next_line}"
    without_lua(patch, "", kept, next_line, everywhere=True)


@removal(
    "H63",
    guard="renew, settle and release ask for the delivery's token",
    tests=[
        f"{LEASES}::test_h63_only_the_delivery_that_holds_a_lease_may_renew_settle_or_release_it",
        f"{LEASES}::test_h63_what_was_released_or_reclaimed_is_not_stolen_back",
    ],
)
def anybody_may_settle(patch: pytest.MonkeyPatch) -> None:
    """A lease is a lease."""
    asked = "return message and message[STATE] == 'l' and message[TOKEN] == token and message"
    without_lua(patch, "", asked, "return message and message[STATE] == 'l' and message", everywhere=True)


@removal(
    "H64",
    guard="leases are looked through by their end",
    tests=[f"{LEASES}::test_h64_one_dead_lease_behind_10_000_live_ones_is_found_at_once"],
)
def leases_in_any_order(patch: pytest.MonkeyPatch) -> None:
    """A bounded look at the newest."""
    without_lua(
        patch, "claim", "redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, WORK_PER_CLAIM)",
        "redis.call('ZREVRANGE', set, 0, WORK_PER_CLAIM)",
    )  # fmt: skip


@removal(
    "H70",
    guard="a lease that has run out is reclaimed, whoever held it",
    tests=[f"{LEASES}::test_h70_the_message_of_a_silent_owner_is_reclaimed_as_a_crash"],
)
def leases_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A message stays with a worker that nobody knows any more."""
    without_lua(patch, "claim", "due(LEASES, 'l', function(key, message)", "due('', 'l', function(key, message)")


@removal(
    "H68",
    guard="a hand-back is no crash",
    tests=[f"{MESSAGES}::test_h68_a_hand_back_is_no_crash_and_asks_for_recovery"],
)
def hand_backs_are_crashes(patch: pytest.MonkeyPatch) -> None:
    """Every hand-over that did not settle counts."""
    without_lua(
        patch, "release", "message[RECOVER] = 1\n", "message[RECOVER], message[CRASHES] = 1, message[CRASHES] + 1\n"
    )


@removal(
    "H71",
    guard="a namespace is part of every key",
    tests=[f"{MESSAGES}::test_h71_namespaces_and_queues_do_not_see_each_other"],
)
def one_namespace_for_all(patch: pytest.MonkeyPatch) -> None:
    """Two applications share their lanes."""
    patch.setattr(valkey, "lane_keys", lambda namespace, queue, shard: keys.lane_keys("shared", queue, shard))


@removal(
    "H73",
    guard="a server that may drop keys is refused",
    tests=["queue/test_trouble.py::test_h73_an_evicting_server_is_refused_by_name_of_the_setting"],
)
def any_server_will_do(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks for the policy."""
    patch.setattr(check, "judge", lambda facts: None)


@removal(
    "H92",
    guard="a follow-up is leased only if its key is absent",
    tests=[f"{SETTLE}::test_h92_a_follow_up_is_leased_only_if_its_key_is_absent"],
)
def follow_ups_are_taken(patch: pytest.MonkeyPatch) -> None:
    """Whoever has the message loses it."""
    without_lua(
        patch, "settle", "and message and redis.call('HEXISTS', MESSAGES, ARGV[i]) == 0 then", "and message then"
    )


@removal(
    "H93",
    guard="on again, follow-ups for the settled key are dropped",
    tests=[f"{SETTLE}::test_h93_on_again_the_follow_ups_for_the_settled_key_are_dropped"],
)
def ticks_dirty_themselves(patch: pytest.MonkeyPatch) -> None:
    """The run's own delayed tick meets the tick that was just leased again."""
    without_lua(patch, "settle", "  if own and placed then", "  if own and placed == nil then")


@removal(
    "H94",
    guard="recover survives until a settle has recovered",
    tests=[
        f"{SETTLE}::test_h94_again_keeps_recover_until_a_settle_has_recovered",
        f"{SETTLE}::test_h94_the_own_tick_of_a_turn_that_left_keeps_recover_and_conflicts",
    ],
)
def recover_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A settle is a settle."""
    without_lua(patch, "settle", "  carried = recovered and 0 or message[RECOVER]", "  carried = 0")


@removal(
    "H94",
    guard="a hand-back asks for recovery",
    tests=[f"{SETTLE}::test_h94_recover_survives_a_hand_back_and_a_change_of_lane"],
)
def hand_backs_forget(patch: pytest.MonkeyPatch) -> None:
    """The next owner finds a plain message."""
    without_lua(patch, "release", "message[RECOVER] = 1\n", "message[RECOVER] = 0\n")


@removal(
    "H95",
    guard="follow-ups of a settle that lost are enqueued all the same",
    tests=[
        f"{SETTLE}::test_h95_follow_ups_of_a_settle_that_lost_are_enqueued_all_the_same",
        f"{SETTLE}::test_h95_after_a_flush_the_own_tick_of_a_settle_that_lost_is_a_message_again",
    ],
)
def losers_place_nothing(patch: pytest.MonkeyPatch) -> None:
    """Who has lost the lease has no say."""
    without_lua(patch, "settle", "for i = 9, #ARGV, 5 do", "for i = 9, message and #ARGV or 0, 5 do")


@removal(
    "H98",
    guard="a delivery token is never used twice",
    tests=[
        f"{SETTLE}::test_h98_no_token_is_ever_used_twice",
        f"{SETTLE}::test_h98_a_frozen_turn_cannot_settle_the_runs_next_tick",
    ],
)
def tokens_repeat(patch: pytest.MonkeyPatch) -> None:
    """The owner's name is all there is."""
    patch.setattr(valkey.ValkeyQueue, "_token_prefix", lambda self: f"{self._owner}.1-")


@removal(
    "H104",
    guard="a renewal takes back what a flush has taken",
    tests=[
        f"{LEASES}::test_h104_after_a_flush_renewals_take_leases_back",
        f"{LEASES}::test_h104_a_lease_that_is_taken_back_keeps_what_the_message_knew",
    ],
)
def a_flush_cancels_every_body(patch: pytest.MonkeyPatch) -> None:
    """What the server does not know is lost."""
    without_lua(patch, "renew", "and ARGV[i + 2] ~= generation then", "and ARGV[i + 2] == false then")


@removal(
    "H111",
    guard="the count of conflicts is an argument of settle",
    tests=[f"{SETTLE}::test_h111_conflicts_and_recover_are_arguments_of_settle"],
)
def conflicts_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A flood never reaches the limit."""
    counts = "message[CRASHES], message[PROOFS], message[CONFLICTS] = 0, 0, conflicts"
    without_lua(patch, "settle", counts, "message[CRASHES], message[PROOFS], message[CONFLICTS] = 0, 0, 0")


@removal(
    "H187",
    guard="an idle connection is asked before it is used",
    tests=[
        "engine/test_idle_queue_connections.py::test_h187_a_connection_that_was_dropped_in_silence_is_found_by_a_question"
    ],
)
def idle_queue_connections_are_trusted(patch: pytest.MonkeyPatch) -> None:
    """A call's whole time is waited for."""

    async def answers(connection: Any, known: str) -> bool:
        return True

    patch.setattr(pipeline, "_answers", answers)


@removal(
    "H187",
    guard="a tick whose connection breaks is sent once more",
    tests=["engine/test_idle_queue_connections.py::test_h187_a_tick_whose_connection_breaks_is_sent_once_more"],
)
def ticks_are_sent_once(patch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of them."""

    async def send(queue: Any, entry: Any) -> None:
        await queue.enqueue([entry])

    patch.setattr(client, "send_tick", send)


SHARDS = "queue/test_shards.py::test_h189"


@removal(
    "H189",
    guard="the number of shards is compared with the one that is recorded",
    tests=[f"{SHARDS}_another_number_of_shards_is_refused"],
)
def any_number_of_shards(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks."""

    async def agree_on_shards(self: Any) -> None:
        return

    patch.setattr(valkey.ValkeyQueue, "agree_on_shards", agree_on_shards)
