"""What a supervisor and a worker process say to each other: one socket pair per child, whose other end is the child's
standard input.

The parent sends one line, the order. The child answers in lines: ``Ready`` or ``Failed``, then ``Alive`` at times, and
``Draining`` when it begins to end. Nothing more is said; what remains is that each end notices the other's death, by
whatever death, as the end of the stream.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import msgspec


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker consumes. ``owner``: its queue id, which the parent names to the queue if this process dies.
    ``files``: the project's files that it
    has loaded, each with the time of its last change (nanoseconds).
    """

    owner: str
    workflows: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    files: dict[str, int] = {}


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker could not start, or ended by an error that has words. ``code``: the exit code it stands for."""

    code: int
    message: str
    files: dict[str, int] = {}


class Draining(msgspec.Struct, frozen=True, tag="draining"):
    """The worker consumes no more, whatever told it so. If it has not ended soon, it never will."""


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """The process works: said again and again by a thread, so that code which blocks the loop does not hush it. Only a
    process that is frozen, or in which no thread gets a turn, is silent; its leases are lost by then.
    """


Word = Ready | Failed | Draining | Alive
PULSE_SECONDS = 1.0
"""How often a child says that it is alive: a tenth of what a supervisor puts up with."""
_words: msgspec.json.Decoder[Word] = msgspec.json.Decoder(Word)


def read_word(line: bytes) -> Word:
    """A line of a child's. Raises msgspec.DecodeError."""
    return _words.decode(line)


class ParentLink:
    """The child's end."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._reader = link.makefile("rb")
        self._telling = threading.Lock()

    @classmethod
    def from_stdin(cls) -> ParentLink:
        """Take the link from standard input and leave an empty one there, so that user code cannot read from it."""
        link = socket.socket(fileno=os.dup(0))
        os.set_inheritable(link.fileno(), False)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(link)

    def order(self) -> bytes:
        """The parent's one line; empty if it has died."""
        return self._reader.readline()

    def tell(self, word: Word) -> None:
        """Send a word. A parent that is gone is noticed by ``watch``, so its absence is no error here."""
        try:
            with self._telling:
                self._link.sendall(msgspec.json.encode(word) + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            return

    def pulse(self) -> None:
        """Say ``Alive`` from a thread of its own until this process ends."""

        def beat() -> None:
            while True:
                time.sleep(PULSE_SECONDS)
                self.tell(Alive())

        threading.Thread(target=beat, name="fencepost-pulse", daemon=True).start()

    def watch(self, gone: Callable[[], None]) -> None:
        """Call ``gone`` in a thread of its own when the parent has died or let go."""

        def wait() -> None:
            while True:
                try:
                    if not self._reader.readline():
                        break
                except ConnectionResetError:  # it died with words of ours unread
                    break
            gone()

        threading.Thread(target=wait, name="fencepost-parent-watch", daemon=True).start()
