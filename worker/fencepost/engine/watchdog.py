"""systemd's watchdog: fed by the process that systemd knows, from its event loop, for as long as that loop turns."""

from __future__ import annotations

import asyncio
import os

from fencepost.service import report_alive

SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd tells its own child, and nobody further down: what they said would count for nothing."""


async def feed() -> None:
    """Say at half of the interval that systemd asks for that this process works. Returns at once where none is asked
    for.
    """
    asked = os.environ.get("WATCHDOG_USEC", "")
    if not asked.isdecimal() or not int(asked):
        return
    while True:
        report_alive()
        await asyncio.sleep(int(asked) / 2e6)
