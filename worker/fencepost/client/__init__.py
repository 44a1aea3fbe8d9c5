"""For producers: start runs, send signals, read results. A client never consumes and never reconciles (H72)."""

from fencepost.client.client import Client
from fencepost.client.run import Run, RunInfo

__all__ = ["Client", "Run", "RunInfo"]
