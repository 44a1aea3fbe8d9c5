"""Guards taken out one at a time, and bugs that other engines have had, put in: the simulator must find each."""

from tests.simulate.mutants import (
    of_blocking,
    of_failover,
    of_replay,
    of_roles,
    of_signals,
    of_the_engine,
    of_the_queue,
    of_the_rest,
    of_the_servers,
    of_the_store,
    of_ticks,
)
from tests.simulate.mutants.switches import MUTANTS, Mutant, Patch

__all__ = [
    "MUTANTS",
    "Mutant",
    "Patch",
    "of_blocking",
    "of_failover",
    "of_replay",
    "of_roles",
    "of_signals",
    "of_the_engine",
    "of_the_queue",
    "of_the_rest",
    "of_the_servers",
    "of_the_store",
    "of_ticks",
]
