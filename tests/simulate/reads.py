"""Calls that write nothing."""

from __future__ import annotations

READS = {
    "store": frozenset(
        {
            *("load", "load_entity", "last_beat", "find_hook", "trace_token", "get", "find_key", "newest_child", "now"),
            *("list_runs", "details", "scan_deadlines", "near", "read_stream", "list_streams", "settle_stream"),
        }
    ),
    "queue": frozenset({"depth", "peek", "lanes", "scan", "look", "clock_ms", "publish"}),
}
"""What a server that is read-only carries out."""
