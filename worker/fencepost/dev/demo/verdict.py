"""The end of the demo: figures, promises, exit code."""

from __future__ import annotations

from typing import TextIO

import msgspec

from fencepost.dev.demo.facts import Facts
from fencepost.dev.demo.promises import Promise, judge
from fencepost.dev.demo.screen import Screen


class Document(msgspec.Struct, frozen=True):
    """What ``--json`` prints."""

    ok: bool
    promises: tuple[Promise, ...]
    facts: Facts


def conclude(facts: Facts, screen: Screen, *, json: TextIO | None = None) -> int:
    """Show figures and promises; 0 if all are kept, else 1."""
    promises = judge(facts)
    ok = all(promise.kept for promise in promises)
    for line in figures(facts):
        screen.say(line)
    screen.say()
    for promise in promises:
        screen.say(f"  {'kept  ' if promise.kept else 'BROKEN'}  {promise.promise}")
        if not promise.kept:
            screen.say(f"          seen: {promise.seen}")
    screen.say()
    broken = sum(not promise.kept for promise in promises)
    screen.say(
        f"all {len(promises)} promises were kept, in {facts.seconds} s"
        if ok
        else f"{broken} of {len(promises)} promises were BROKEN"
    )
    if json is not None:
        json.write(msgspec.json.encode(Document(ok, tuple(promises), facts)).decode() + "\n")
        json.flush()
    return 0 if ok else 1


def figures(facts: Facts) -> list[str]:
    """The figures that the demo is about."""
    index, report = facts.index, facts.index.report
    order_steps = sum(order.steps for order in facts.orders)
    begun = "never" if index.recovery_ms is None else f"after {index.recovery_ms:.0f} ms"
    most = ", ".join(f"{found.module} ({found.by})" for found in report.most_imported)
    return [
        f"report           {report.modules} modules, {report.functions} functions;"
        f" longest {report.longest.module}.{report.longest.name} ({report.longest.lines} lines)",
        f"                 imported most: {most}",
        f"ran twice        {len(index.ran_twice)} step bodies, of {len(index.begun_again)} begun again"
        f" and {index.steps} in all",
        f"recovery         work of the killed worker free for others {index.kill.handed_on_ms:.0f} ms after the kill,"
        f" first begun again {begun}",
        f"                 (in its turn, behind {index.before_them} steps that were ready before)",
        f"commits          index {index.commits / index.steps:.2f} per step ({index.commits} for {index.steps} steps),"
        f" orders {facts.order_commits / order_steps:.2f} ({facts.order_commits} for {order_steps} steps, with waits"
        " and signals)",
        "                 by the server's own transaction ids, of which everything that writes takes one",
    ]
