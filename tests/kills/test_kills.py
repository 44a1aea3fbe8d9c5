"""H40, H56: a worker process is killed between append and settle, and in a body, at default settings; another takes
over.

``FENCEPOST_KILLS=20`` (``make kills``) runs each scenario that often. A dead worker without a supervisor is noticed by
its lease.
"""

from __future__ import annotations

import os
import uuid

import pytest
from tests.kills.scenarios import BOUND_SECONDS, SCENARIOS, Scenario, drive_all

from fencepost.config import Config
from fencepost_store import migrations

TIMES = int(os.environ.get("FENCEPOST_KILLS", "1"))


@pytest.mark.timeout(120 + 60 * TIMES)
async def test_h40_h56_a_killed_worker_is_recovered_within_two_leases(postgres_url: str, valkey_url: str) -> None:
    """On a tick and on the hot path, with and without a pending wait, and mid-step."""
    pairs: list[tuple[Config, Scenario]] = []
    for _ in range(TIMES):
        for scenario in SCENARIOS:
            namespace = f"k_{uuid.uuid4().hex[:16]}"
            await migrations.migrate(postgres_url, namespace)
            config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
            pairs.append((config, scenario))
    recovered = await drive_all(pairs, at_once=5)
    for name in (scenario.name for scenario in SCENARIOS):
        mine = [one for one in recovered if one.scenario == name]
        worst = max(one.seconds for one in mine)
        twice = sum(one.bodies_twice for one in mine)
        print(f"{name}: {len(mine)} kills, worst recovery {worst:.1f} s, bodies started twice {twice}")
    worst = max(one.seconds for one in recovered)
    print(f"worst recovery {worst:.1f} s, bound {BOUND_SECONDS:.0f} s")
    assert worst <= BOUND_SECONDS
