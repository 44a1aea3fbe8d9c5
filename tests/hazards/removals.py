"""All removals: importing this fills ``REGISTRY``."""

from __future__ import annotations

from tests.hazards import (
    removals_of_bodies,
    removals_of_children,
    removals_of_errors,
    removals_of_facts,
    removals_of_failover,
    removals_of_leases,
    removals_of_processes,
    removals_of_replay,
    removals_of_roles,
    removals_of_signals,
    removals_of_skew,
    removals_of_streams_and_steps,
    removals_of_the_log,
    removals_of_the_queue,
    removals_of_ticks,
    removals_of_turns,
    removals_of_values,
)
from tests.hazards.registry import REGISTRY

__all__ = ["REGISTRY"]

MODULES = (
    removals_of_bodies,
    removals_of_skew,
    removals_of_the_log,
    removals_of_the_queue,
    removals_of_ticks,
    removals_of_replay,
    removals_of_turns,
    removals_of_leases,
    removals_of_errors,
    removals_of_facts,
    removals_of_children,
    removals_of_signals,
    removals_of_streams_and_steps,
    removals_of_processes,
    removals_of_values,
    removals_of_failover,
    removals_of_roles,
)
