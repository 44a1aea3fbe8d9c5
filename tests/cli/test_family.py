"""Commands about runs with parents, children and successors, with a worker that runs them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.terminal import Terminal, eventually, stop

FLOWS = """
from fencepost import continue_as_new, hook, workflow


@workflow
async def leaf(n: int) -> int:
    async with hook(int, token=f"leaf-{n}") as numbers:
        return n + await numbers


@workflow
async def tree(n: int) -> int:
    return await leaf(n)


@workflow
async def chain(n: int) -> int:
    if n:
        continue_as_new(n - 1)
    return 7
"""


def test_a_family_as_commands_show_it(tmp_path: Path, terminal: Terminal) -> None:
    """list --parent, show on both sides, why with the child's id, and the two ends of a chain."""
    (tmp_path / "family_flows.py").write_text(FLOWS)
    live = terminal.start("worker", "family_flows")
    live.wait_for("ready: 1 worker process")
    parent = terminal("start", "tree", "1").stdout.strip()
    eventually(lambda: "leaf" in terminal("runs", "list", "--parent", parent).stdout)
    (child,) = json.loads(terminal("runs", "list", "--parent", parent, "--json").stdout)["runs"]
    assert (child["parent"], child["parent_entity"]) == (parent, "leaf#1")
    assert f"leaf#1 {child['id']}" in terminal("runs", "show", parent).stdout
    assert f"{parent} (leaf#1)" in terminal("runs", "show", child["id"]).stdout
    why = terminal("runs", "why", parent).stdout
    assert f"its child leaf#1: leaf {child['id']}" in why
    assert f"fencepost runs why {child['id']}" in why
    eventually(lambda: terminal("hooks", "resume", "leaf-1", "41").exit_code == 0)
    assert terminal("runs", "result", parent, "--timeout", "20").stdout.strip() == "42"
    first = terminal("start", "chain", "2").stdout.strip()
    assert terminal("runs", "result", first, "--timeout", "20").stdout.strip() == "7"
    listed = json.loads(terminal("runs", "list", "--workflow", "chain", "--json").stdout)["runs"]
    assert [run["status"] for run in listed] == ["completed", "continued", "continued"]
    shown = [terminal("runs", "show", run["id"]).stdout for run in listed]
    assert "continues" in shown[0]
    assert listed[1]["id"] in shown[0]
    assert "continued by" in shown[1]
    assert listed[0]["id"] in shown[1]
    assert terminal("runs", "list", "--status", "continued").stdout.count("chain") == 2
    stop(live)
