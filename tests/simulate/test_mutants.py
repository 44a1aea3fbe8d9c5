"""What ``make mutants`` rests on: every guard has a mutant, and every mutant a test that is there."""

# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import pytest
from tests.docs.markdown import ROOT
from tests.simulate.mutants import MUTANTS, Mutant
from tests.simulate.mutants.guards import GUARDS
from tests.simulate.mutants.hunt import hunt

HISTORICAL = 12
"""Bugs of other engines, at least."""


def test_every_guard_has_a_mutant() -> None:
    """And what stands in the list is one."""
    assert all(GUARDS.values())
    unknown = {name for names in GUARDS.values() for name in names} - set(MUTANTS)
    assert not unknown
    assert sum(mutant.historical for mutant in MUTANTS.values()) >= HISTORICAL


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_every_mutant_says_what_it_is_and_names_a_test(mutant: Mutant) -> None:
    """A whole file would be a test that nobody has looked at."""
    assert mutant.says.endswith((".", ")"))
    file, _, name = mutant.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()


def test_a_seed_that_is_violated_as_it_is_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of the guard; nor does a mutant that fails by itself."""
    from tests.simulate.mutants import hunt as hunting

    monkeypatch.setattr(hunting, "_by_test", lambda mutant, seeds: hunting.Found(mutant.name, "", seeds, "survived"))
    monkeypatch.setattr(hunting, "_violation", lambda seed: "log: a gap")
    assert hunt("no_touch", 3).by == ""
    monkeypatch.setattr(hunting, "_violation", lambda seed: "error: no_touch.<locals>.touch() got an argument")
    assert hunt("no_touch", 3).what.startswith("BROKEN")
