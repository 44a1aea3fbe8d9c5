"""What this worker's code cannot do, which is no fact about a step or a run: its message is refused, and another
worker's code does it (H131, H133).
"""

from __future__ import annotations

from fencepost.authoring.registry import Registry
from fencepost.engine.shell import Shell
from fencepost.errors import ArgumentError, PayloadError
from fencepost.records import StepCreated
from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery, QueueTrouble

TOLD_MAX = 1_000
"""Lacks that are counted by name; beyond that they are counted together."""


class Unfit(Exception):
    """An attempt was started, and then this worker's code turned out not to be able to run it."""


def step_lack(registry: Registry, created: StepCreated) -> str | None:
    """What this worker's code lacks for a step; None: nothing. Also None where this is the caller's own code, and
    cannot read what it wrote: that is the step's error, which the attempt will say.
    """
    step = registry.find_step(created.name)
    if step is None:
        return f"step {created.name!r} is not registered in this worker; start one with the module that defines it"
    if created.fingerprint == step.arguments.fingerprint:
        return None
    try:
        step.decode_args(created.args)
    except (PayloadError, ArgumentError) as error:
        return f"step {created.name!r} was called by other code, and its arguments do not fit this worker's: {error}"
    return None


async def refuse(shell: Shell, delivery: Delivery, lack: str, name: str) -> None:
    """Give the message to other code. If even that cannot be said, its lease runs out."""
    shell.keeper.drop(delivery.token)
    key = name if name in shell.lacks or len(shell.lacks) < TOLD_MAX else ""
    count = shell.lacks[key] = shell.lacks.get(key, 0) + 1
    if count == 10 ** (len(str(count)) - 1):  # the first, the tenth, the hundredth: a rollout refuses thousands
        run_id = delivery.key.split(":", 2)[1]
        if delivery.key.startswith("t:") and shell.registry.find_workflow(name) is None:
            note("workflow_missing", workflow=name, run=run_id, lack=lack, count=count)
        else:
            note("code_unfit", name=name, run=run_id, lack=lack, count=count)
    try:
        await shell.queue.refuse(delivery, shell.code, lack)
    except QueueTrouble as trouble:
        event = "release_failed" if shell.gates.trouble(trouble) else "handed_back"
        note(event, key=delivery.key, error=str(trouble))
