"""For producers: start runs, send signals, read results. A client never consumes and never reconciles (H72)."""

from fencepost.client.client import Client
from fencepost.client.replies import Reply
from fencepost.client.run import Run, RunInfo
from fencepost.client.signals import HookInfo

__all__ = ["Client", "HookInfo", "Reply", "Run", "RunInfo"]
