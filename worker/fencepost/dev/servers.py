"""Embedded Postgres and Valkey for a project on one machine: the demo, ``fencepost dev`` and the tests.

One folder (``./.fencepost`` by default) holds the data of one pair of servers. The process that starts them owns them:
they end when it stops them or dies, by whatever death, and their data stays. Other processes of the same project find
and use them while the owner lives. Servers listen on unix sockets only.

Who is authoritative: ``owner.lock``, held by the owner for as long as it lives, says whether anybody owns the folder;
``servers.json`` says where the servers listen; whether they are there is decided by connecting. Process ids decide
nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import weakref
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from fencepost.dev.guarded import POLL_SECONDS, START_SECONDS, Guarded, ServersError, try_lock, wait_lock
from fencepost.dev.places import home_pointer
from fencepost.dev.postgres import DATABASE, SOCKET_NAME, USER, start_postgres
from fencepost.dev.probe import postgres_answers, valkey_answers
from fencepost.dev.valkey import start_valkey

STATE_DIR = Path(".fencepost")
"""Where a project's servers live unless the caller says otherwise, relative to the working folder."""


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``servers.json``: where the owner's servers listen. None: not started by this owner."""

    postgres_url: str | None
    redis_url: str | None


class EmbeddedServers:
    """A pair of running servers. ``owned``: started here, and ended by ``stop`` or the death of this process; else
    another process's, and ``stop`` leaves them.
    """

    def __init__(self, state_dir: Path, published: Published, guards: list[Guarded], owner_lock: int | None) -> None:
        self.state_dir = state_dir
        self.owned: bool = owner_lock is not None
        self._published = published
        self._guards = guards
        self._owner_lock = owner_lock
        if self.owned:
            _owned.add(self)

    @property
    def postgres_url(self) -> str:
        """For asyncpg and libpq. Raises ServersError if this pair has no Postgres."""
        if self._published.postgres_url is None:
            raise ServersError(f"the dev servers of {self.state_dir} were started without Postgres")
        return self._published.postgres_url

    @property
    def redis_url(self) -> str:
        """For redis-py. Raises ServersError if this pair has no Valkey."""
        if self._published.redis_url is None:
            raise ServersError(f"the dev servers of {self.state_dir} were started without Valkey")
        return self._published.redis_url

    def gone(self) -> str | None:
        """Why a server is not there any more; None: all are. Blocks for milliseconds: another process's are asked."""
        if self._owner_lock is not None:
            return next(filter(None, (guard.gone() for guard in self._guards)), None)
        if find_running(self.state_dir) is not None:
            return None
        return f"the process that ran the servers of {self.state_dir} has ended, or they have"

    def stop(self) -> None:
        """Stop the servers if they are ours and wait until they have ended; keep their data. Idempotent. Raises
        ServersError if one does not end.
        """
        if self._owner_lock is None:
            return
        _owned.discard(self)
        lock, self._owner_lock = self._owner_lock, None
        (self.state_dir / "servers.json").unlink(missing_ok=True)
        try:
            with contextlib.ExitStack() as stack:
                for guard in self._guards:
                    stack.callback(guard.close)
                for guard in self._guards:
                    guard.let_go()  # all at once, then wait for each
        finally:
            os.close(lock)

    def __enter__(self) -> EmbeddedServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def forget_after_fork(self) -> None:
        """In a forked child: close the copies of pipes and lock, so that only the true owner's life counts."""
        for guard in self._guards:
            guard.let_go()
        if self._owner_lock is not None:
            os.close(self._owner_lock)
        self._guards, self._owner_lock, self.owned = [], None, False


def start(state_dir: Path = STATE_DIR, *, postgres: bool = True, valkey: bool = True) -> EmbeddedServers:
    """Start the servers of a project, or join those that another process of it runs already. Blocks until they answer.

    Takes about 2 s the first time (initdb), then a few 100 ms. Raises ServersError: not installed, folder not writable,
    a server that does not come up.
    """
    state_dir = state_dir.absolute()
    _make_state_dir(state_dir)
    deadline = time.monotonic() + START_SECONDS
    while True:
        lock = try_lock(state_dir / "owner.lock")
        if lock is not None:
            return _start_owned(state_dir, lock, postgres=postgres, valkey=valkey)
        running = find_running(state_dir)
        if running is not None:
            _ = (postgres and running.postgres_url, valkey and running.redis_url)  # raises if the owner left one out
            return running
        if time.monotonic() > deadline:
            raise ServersError(
                f"another process owns the dev servers of {state_dir}, but they did not answer within"
                f" {START_SECONDS:g} s; end it, or see the logs there"
            )
        time.sleep(POLL_SECONDS)


def find_running(state_dir: Path = STATE_DIR) -> EmbeddedServers | None:
    """The servers that another process (or this one) runs for this folder, verified by connecting; None if there are
    none. Starts nothing.
    """
    state_dir = state_dir.absolute()
    if not (state_dir / "owner.lock").exists():
        return None
    lock = try_lock(state_dir / "owner.lock", shared=True)
    if lock is not None:  # nobody owns them: what may still answer is about to stop
        os.close(lock)
        return None
    published = _read(state_dir)
    if published is None or not _answers(published) or _read(state_dir) != published:
        return None
    return EmbeddedServers(state_dir, published, [], None)


def erase(state_dir: Path) -> None:
    """Delete all that servers left for this folder, data included, wherever it is. Raises ServersError while a process
    owns or uses them.
    """
    state_dir = state_dir.absolute()
    if not state_dir.exists():
        return
    lock = try_lock(state_dir / "owner.lock")
    if lock is None:
        raise ServersError(f"the dev servers of {state_dir} are running: stop their owner first")
    try:
        for name in ("postgres", "valkey"):
            os.close(wait_lock(state_dir / f"{name}.lock", f"the {name} server"))
            pointer = home_pointer(state_dir, name)
            if pointer.exists():
                shutil.rmtree(pointer.read_text(), ignore_errors=True)
        shutil.rmtree(state_dir)
    finally:
        os.close(lock)


def _start_owned(state_dir: Path, lock: int, *, postgres: bool, valkey: bool) -> EmbeddedServers:
    """With the owner's lock in hand: nobody else starts or uses servers here until we publish ours."""
    guards: list[Guarded] = []
    postgres_url = redis_url = None
    try:
        (state_dir / "servers.json").unlink(missing_ok=True)
        if valkey:
            guard, redis_url = start_valkey(state_dir)
            guards.append(guard)
        if postgres:
            guard, postgres_url = start_postgres(state_dir)
            guards.append(guard)
        published = Published(postgres_url, redis_url)
        draft = state_dir / "servers.json.new"
        draft.write_bytes(msgspec.json.encode(published))
        draft.replace(state_dir / "servers.json")
    except BaseException:
        for guard in guards:
            guard.close()
        os.close(lock)
        raise
    return EmbeddedServers(state_dir, published, guards, lock)


def _make_state_dir(state_dir: Path) -> None:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        ignore = state_dir / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise ServersError(
            f"cannot use {state_dir} for the dev servers: {error.strerror}; run this in a folder that you may write,"
            " or remove what is in the way"
        ) from error


def _read(state_dir: Path) -> Published | None:
    try:
        return msgspec.json.decode((state_dir / "servers.json").read_bytes(), type=Published)
    except (FileNotFoundError, msgspec.DecodeError):  # not published yet, or by another version
        return None


def _answers(published: Published) -> bool:
    if published.postgres_url is not None:
        folder = parse_qs(urlsplit(published.postgres_url).query)["host"][0]
        if not postgres_answers(Path(folder) / SOCKET_NAME, USER, DATABASE):
            return False
    return published.redis_url is None or valkey_answers(Path(unquote(urlsplit(published.redis_url).path)))


_owned: weakref.WeakSet[EmbeddedServers] = weakref.WeakSet()


def _after_fork() -> None:
    for servers in list(_owned):
        servers.forget_after_fork()
    _owned.clear()


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["STATE_DIR", "EmbeddedServers", "ServersError", "erase", "find_running", "start"]
