"""What `fencepost runs show` says of a log's length."""

from __future__ import annotations

from fencepost.cli.runs_show import log_text
from fencepost.config import Config
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Loaded, Run, RunStatus


def loaded(*sizes: int) -> Loaded:
    run = Run("r", "w", "q", RunStatus.running, len(sizes), 1, None, None, None, None, 0, 0)
    events = tuple(
        Event(seq, EventType.attributes_set, "", 0, 0, None, None, None, b"x" * size)
        for seq, size in enumerate(sizes, 1)
    )
    return Loaded(run, events, 0)


def test_a_log_s_events_and_bytes_are_shown_and_the_bound_when_it_is_near() -> None:
    config = Config(events_max=100, log_bytes_max=1_048_576)
    assert log_text(loaded(10, 20), config) == "2 events, 30 bytes of payloads"
    assert (
        log_text(loaded(900_000), config)
        == "1 events, 900000 bytes of payloads; near its end: log_bytes_max is 1048576"
    )
    assert log_text(loaded(*[0] * 81), config).endswith("near its end: events_max is 100")
