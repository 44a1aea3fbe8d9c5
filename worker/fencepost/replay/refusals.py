"""What a workflow's loop does not do: everything whose outcome is not in the log. Each call raises
WorkflowRestriction at once."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable
from typing import Any

from fencepost.replay.limits import WorkflowRestriction

REFUSED: dict[str, tuple[str, ...]] = {
    "threads (run_in_executor, to_thread)": ("run_in_executor", "set_default_executor"),
    "a call from another thread": ("call_soon_threadsafe",),
    "the network": (
        "getaddrinfo",
        "getnameinfo",
        "create_connection",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "create_datagram_endpoint",
        "connect_accepted_socket",
        "start_tls",
        "sendfile",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_recvfrom_into",
        "sock_sendall",
        "sock_sendto",
        "sock_connect",
        "sock_accept",
        "sock_sendfile",
    ),
    "a file descriptor": (
        "add_reader",
        "remove_reader",
        "add_writer",
        "remove_writer",
        "connect_read_pipe",
        "connect_write_pipe",
    ),
    "a subprocess": ("subprocess_shell", "subprocess_exec"),
    "a signal handler": ("add_signal_handler", "remove_signal_handler"),
    "running the loop from inside": (
        "run_forever",
        "run_until_complete",
        "stop",
        "close",
        "shutdown_asyncgens",
        "shutdown_default_executor",
    ),
}


def _refusing(what: str, method: str) -> Callable[..., Any]:
    def refuse(self: object, *args: Any, **kwargs: Any) -> Any:
        raise WorkflowRestriction(what)

    refuse.__name__ = method
    return refuse


class Refusals(asyncio.AbstractEventLoop):
    """Base of the workflow loop with the refused methods filled in."""

    def touched_from_outside(self) -> RuntimeError:
        """The error of who uses this loop while it is not driven. A WorkflowRestriction in another run."""
        if isinstance(events._get_running_loop(), Refusals):
            return WorkflowRestriction(
                "another run's event loop or futures, kept by something that runs share, such as a rate limiter or a"
                " cache of a module (make it in the workflow's function),"
            )
        return RuntimeError(
            "something outside the workflow touched a future or a timer of its loop; only steps, sleeps and hooks can"
            " wake it"
        )


for _what, _methods in REFUSED.items():
    for _method in _methods:
        setattr(Refusals, _method, _refusing(_what, _method))
