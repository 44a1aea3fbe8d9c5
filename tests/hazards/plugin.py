"""Runs tests with a guard taken out. Loaded by ``python -m tests.hazards`` (``-p tests.hazards.plugin``), never by
production code.

Each selected test is run once as it is (``intact``) and once per removal that names it (``without=...``). What came of
each goes, a line of JSON each, into the file that HAZARDS_REPORT names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.hazards.elsewhere import ELSEWHERE
from tests.hazards.removals import REGISTRY

REPORT = "HAZARDS_REPORT"
ONLY = "HAZARDS_ONLY"  # names of removals, by commas; empty: all
INTACT = "intact"
WITHOUT = "without="
_WITHOUT = re.compile(r"without=(\w+)")
SECONDS_WITHOUT = 25
"""A stall is a way to go red as well. Intact these tests take a few seconds."""

_RED: set[tuple[str, str]] = set()
"""(removal, test) of this process: one red parameter is proof, the others would only take their time."""

_APPLIED = pytest.StashKey[pytest.MonkeyPatch]()


@pytest.fixture(autouse=True)
def hazard_removal(request: pytest.FixtureRequest) -> str:
    """Which guard is out in this test; it was taken out before anything was set up."""
    return str(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One variant per removal that names the test."""
    name = metafunc.definition.nodeid
    only = set(filter(None, os.environ.get(ONLY, "").split(",")))
    named = [each.name for each in REGISTRY.values() if name in each.tests and (not only or each.name in only)]
    ids = [INTACT, *(f"{WITHOUT}{each}" for each in named)]
    metafunc.parametrize("hazard_removal", [INTACT, *named], ids=ids, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stalls without its guard is ended soon."""
    for item in items:
        if removed_in(item) is not None:
            item.add_marker(pytest.mark.timeout(SECONDS_WITHOUT))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, for fixtures make namespaces and open queues."""
    name = removed_in(item)
    if name is not None:
        if (name, named_in(item.nodeid)) in _RED:
            pytest.skip("red already, with other parameters")
        item.stash[_APPLIED] = pytest.MonkeyPatch()
        item.stash[_APPLIED].setenv(ELSEWHERE, name)
        REGISTRY[name].apply(item.stash[_APPLIED])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """The guard is back when the test is over, whatever came of it."""
    try:
        return (yield)
    finally:
        applied = item.stash.get(_APPLIED, None)
        if applied is not None:
            applied.undo()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line per phase that says something: the call, or what failed beside it."""
    variant = _WITHOUT.search(report.nodeid)
    if variant is not None and report.failed and report.when == "call":
        _RED.add((variant[1], named_in(report.nodeid)))
    path = os.environ.get(REPORT)
    if path is None or "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and report.passed):
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    words = str(getattr(crash, "message", report.longrepr or "")).strip().splitlines()
    line = {"node": report.nodeid, "when": report.when, "outcome": report.outcome, "why": words[0] if words else ""}
    with Path(path).open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def named_in(node: str) -> str:
    """A node's ``file::name``, without its parameters."""
    return node.partition("[")[0]


def removed_in(item: pytest.Item) -> str | None:
    """The removal of a variant, None for the intact one."""
    callspec = getattr(item, "callspec", None)
    name = None if callspec is None else callspec.params.get("hazard_removal")
    return None if name in (None, INTACT) else str(name)
