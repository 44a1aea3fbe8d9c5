"""Equal values have equal bytes in every process, whatever its hash seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fencepost import payload

SCRIPT = """
from fencepost import payload
words = {"delta", "alpha", "charlie", "bravo", "echo", "foxtrot"}
sets = {frozenset("ab"), frozenset("cd"), frozenset("e")}
value = {"words": words, "pairs": {("a", 1), ("b", 2), ("c", 3)}, "sets": sets}
print(payload.encode(value).hex())
print(payload.encode(words, set[str]).hex())
print(payload.encode(sets, set[frozenset[str]]).hex())
"""


def in_another_process(seed: int) -> str:
    """What the script prints under a hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_sets_are_written_in_the_same_order_by_every_process() -> None:
    """Iteration order of sets of strings differs between processes; their bytes must not."""
    assert len({in_another_process(seed) for seed in (1, 2, 3, 4)}) == 1


@pytest.mark.parametrize("kind", [dict[str, int], dict, object])
def test_dicts_keep_their_order(kind: object) -> None:
    """A dict's order is part of it: it is not sorted away."""
    value = {"z": 1, "a": 2, "m": 3}
    assert list(payload.decode(payload.encode(value, kind), kind)) == ["z", "a", "m"]
