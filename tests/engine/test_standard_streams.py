"""H148, the descriptor itself: it never raises, never blocks for long, and counts what it loses."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Generator

import pytest

from fencepost.standard_streams import LOCK_SECONDS, WAIT_SECONDS, Lossy
from fencepost.telemetry import note

SOON = 20 * WAIT_SECONDS
"""Far below "for ever", far above what is promised: this machine has other work too."""


def _drain(fd: int) -> bytes:
    os.set_blocking(fd, False)
    found = b""
    try:
        while more := os.read(fd, 1 << 16):
            found += more
    except BlockingIOError:
        pass
    return found


@pytest.fixture
def pipe() -> Generator[tuple[int, int]]:
    """A pipe that nobody reads: (read, write)."""
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_h148_a_line_that_has_room_is_written(pipe: tuple[int, int]) -> None:
    """As any other stream."""
    read, write = pipe
    raw = Lossy(write)
    assert raw.write(b"one\n") == 4
    assert raw.write(b"x" * 30_000 + b"\n") == 30_001
    assert (_drain(read), raw.lost) == (b"one\n" + b"x" * 30_000 + b"\n", 0)


def test_h148_an_unread_pipe_makes_one_line_wait_and_the_rest_not(pipe: tuple[int, int]) -> None:
    """Ten thousand lines take no ten thousand waits; what is lost is counted, and said when there is room again."""
    read, write = pipe
    raw = Lossy(write)
    began = time.monotonic()
    for _ in range(10_000):
        assert raw.write(b"y" * 99 + b"\n") == 100
    assert time.monotonic() - began < SOON
    got = _drain(read)
    whole = got.count(b"\n")
    assert raw.lost == raw.lost_ever == 10_000 - whole > 9_000
    raw.write(b"after\n")
    said, after = _drain(read).decode().splitlines()[-2:]
    assert (said, after) == (
        f"fencepost: {10_000 - whole} lines could not be written here (its reader does not read)",
        "after",
    )
    assert (raw.lost, raw.lost_ever) == (0, 10_000 - whole)


def test_h148_a_socket_that_nobody_reads_does_not_block() -> None:
    """systemd's journal is one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        raw = Lossy(ours.fileno())
        began = time.monotonic()
        for _ in range(10_000):
            raw.write(b"z" * 99 + b"\n")
        assert time.monotonic() - began < SOON
        assert raw.lost > 0


@pytest.mark.parametrize("kind", ["reader gone", "full disk", "closed"])
def test_h148_what_cannot_be_written_raises_nothing(pipe: tuple[int, int], kind: str) -> None:
    """EPIPE, ENOSPC, EBADF; and the reason is kept."""
    read, write = pipe
    if kind == "full disk":
        os.dup2(os.open("/dev/full", os.O_WRONLY), write)
    elif kind == "closed":
        os.close(write)
    os.close(read)
    raw = Lossy(write)
    assert [raw.write(b"a\nb\n"), raw.write(b"c")] == [4, 1]
    assert raw.lost == 3
    why = {"reader gone": "Broken pipe", "full disk": "No space left on device", "closed": "Bad file descriptor"}
    assert raw._why == why[kind]  # pyright: ignore[reportPrivateUsage]


class _Stale:
    """What poll has said before another process took the room."""

    def register(self, fd: int, events: int) -> None:
        self.fd = fd

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        return [(self.fd, select.POLLOUT)]


def test_h148_room_that_another_process_has_taken_blocks_nobody(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes share one pipe: between the look whether there is room and the write, it may be gone."""
    read, write = pipe
    raw = Lossy(write)
    os.set_blocking(write, False)
    for size in (1 << 16, 1):  # to the last byte: what is full for poll may have room in its last page
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write, b"w" * size)
    os.set_blocking(write, True)
    monkeypatch.setattr(select, "poll", _Stale)
    racer = threading.Thread(target=raw.write, args=(b"one more\n",), daemon=True)
    racer.start()
    racer.join(SOON)
    stuck = racer.is_alive()
    _drain(read)
    assert not stuck


def test_h148_a_thread_that_is_stuck_in_a_line_holds_up_no_other(pipe: tuple[int, int]) -> None:
    """A lock that is held, by a thread that is stopped or was not copied by a fork, bounds the wait."""
    read, write = pipe
    raw = Lossy(write)
    lock = raw._lock  # pyright: ignore[reportPrivateUsage]
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        held.wait()
        began = time.monotonic()
        raw.write(b"on\n")
        assert LOCK_SECONDS <= time.monotonic() - began < SOON
        assert _drain(read) == b"on\n"
    finally:
        go.set()
        thread.join()


def test_h148_a_gone_reader_is_no_signal_either(pipe: tuple[int, int]) -> None:
    """User code may have put SIGPIPE back to what kills: a log line is never what is killed for."""
    read, write = pipe
    os.close(read)
    got: list[int] = []
    before = signal.signal(signal.SIGPIPE, lambda number, frame: got.append(number))
    try:
        Lossy(write).write(b"a\n")
        assert got == []
    finally:
        signal.signal(signal.SIGPIPE, before)


class _Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_h148_an_event_that_cannot_be_logged_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A value without a ``repr``, a filter of the application's that raises; both are said."""

    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("no filter")

    logger = logging.getLogger("fencepost.worker")
    note("claim_failed", queue=_Unprintable(), error="", delay_ms=1)
    logger.addFilter(refuse)
    try:
        note("claim_failed", queue="q", error="", delay_ms=1)
    finally:
        logger.removeFilter(refuse)
    said = capsys.readouterr().err
    assert [text in said for text in ("no words", "no filter", "claim_failed")] == [True] * 3
