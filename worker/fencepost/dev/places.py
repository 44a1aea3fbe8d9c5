"""Where the files of an embedded server live, and as whom Postgres runs.

Postgres refuses to run as root, so that root's Postgres runs as ``nobody``, who may not be able to look into the
project's folder (/root is closed to others) or into the virtual environment that holds the binaries. Parent folders are
never opened up for that: what ``nobody`` cannot reach is put into a folder of root's own under /var/lib instead, and a
pointer file in the state folder says where.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fencepost.dev.guarded import ServersError

OUTSIDE = "fencepost-dev"
SOCKET_PATH_MAX = 107 if sys.platform.startswith("linux") else 103
"""Bytes of sun_path without its final zero byte."""


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user to run a server as."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """Whom Postgres has to run as: None to stay who we are, ``nobody`` if we are root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(65534, 65534)
    return Account(entry.pw_uid, entry.pw_gid)


def reachable(path: Path, account: Account) -> bool:
    """True if the account may enter the folder (or execute the file): asked of the kernel, as that account."""
    answer = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        env={},
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return answer.returncode == 0


def server_home(state_dir: Path, name: str, account: Account | None) -> Path:
    """The folder that belongs to one server, made if need be. Mode 0700, owned by whoever runs the server."""
    pointer = home_pointer(state_dir, name)
    if account is None or reachable(state_dir, account):
        home = state_dir / name
        home.mkdir(mode=0o700, exist_ok=True)
    elif pointer.exists() and Path(pointer.read_text()).is_dir():
        home = Path(pointer.read_text())
    else:
        home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=outside_root(account)))
        pointer.write_text(str(home))
    if account is not None:
        os.chown(home, account.uid, account.gid)
    return home


def home_pointer(state_dir: Path, name: str) -> Path:
    """The file that says where a server's home is, if it is not in the state folder."""
    return state_dir / f"{name}.home"


def outside_root(account: Account) -> Path:
    """A folder owned by root, closed to writers, in which the account can reach what is its own."""
    for parent in (Path("/var/lib"), Path("/var/tmp"), Path(tempfile.gettempdir())):
        root = parent / OUTSIDE
        try:
            root.mkdir(mode=0o755, exist_ok=True)
            found = root.lstat()
        except OSError:  # read-only or missing: the next one
            continue
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if mine:
            root.chmod(0o755)  # made under a tight umask, it would be closed to the account
            if reachable(root, account):
                return root
    raise ServersError(
        "as root, Postgres runs as nobody, and no folder was found that nobody can reach"
        " (tried /var/lib, /var/tmp and the temporary folder);"
        " run as an ordinary user, or point FENCEPOST_DATABASE_URL at a Postgres of your own"
    )


def reachable_copy(trees: list[Path], name: str, account: Account) -> Path:
    """A folder with copies (hard links where the file system allows) of folders of binaries that the account cannot
    reach, side by side as they were. Made once per ``name``.
    """
    target = outside_root(account) / name
    if not target.exists():
        made = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=target.parent))
        for tree in trees:
            shutil.copytree(tree, made / tree.name, symlinks=True, copy_function=_link_or_copy)
        made.chmod(0o755)
        try:
            made.rename(target)
        except OSError:
            shutil.rmtree(made)
            if not target.exists():
                raise
    return target


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def socket_folder(home: Path, file_name: str, account: Account | None) -> tuple[Path, bool]:
    """The folder for a server's socket, and whether it was made for this run only (the home's path is too long or too
    odd for a socket address).
    """
    folder = home / "run"
    # A comma separates hosts in the URLs of libpq and asyncpg, even percent-encoded.
    if len(os.fsencode(folder / file_name)) <= SOCKET_PATH_MAX and "," not in str(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        made = False
    else:
        folder, made = Path(tempfile.mkdtemp(prefix="fp-", dir="/tmp")), True
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder, made
