"""The demo as a process: started, waited for line by line, signalled, and looked for afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = re.compile(r"in (/\S*fencepost-demo-\S+)")
END_SECONDS = 100


@dataclass
class DemoProcess:
    """``lines``: what it has shown so far. ``folder``: where it works, once it has said so."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list[str])

    @classmethod
    def start(cls, *arguments: str) -> DemoProcess:
        """In an environment that is empty but for HOME and PATH; a session of its own, as a terminal's job has."""
        process = subprocess.Popen(
            [sys.executable, "-m", "fencepost.dev.demo", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: os.environ[name] for name in ("HOME", "PATH")},
            start_new_session=True,
        )
        return cls(process)

    @property
    def folder(self) -> Path:
        """The temporary folder."""
        found = FOLDER.search("\n".join(self.lines))
        assert found is not None, self.lines
        return Path(found.group(1))

    def wait_for(self, words: str) -> None:
        """Read what it shows until a line has these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if words in line:
                return
        raise AssertionError(f"it ended without {words!r}:\n" + "\n".join(self.lines))

    def end(self) -> tuple[int, str]:
        """Wait for the end; exit code and standard output."""
        try:
            output, errors = self.process.communicate(timeout=END_SECONDS)
        finally:
            if self.process.poll() is None:  # it hangs: the test fails, and leaves no process either
                self.process.kill()
                self.process.communicate()
        self.lines.extend(errors.splitlines())
        return self.process.returncode, output

    def leftovers(self) -> list[str]:
        """Processes that work in its folder or were told of it, and the folder itself if it is there."""
        folder = str(self.folder)
        found = [folder] if self.folder.exists() else []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                place = os.readlink(entry / "cwd")
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone meanwhile, or not ours to see
                continue
            if folder in command or place.startswith(folder):
                found.append(f"{entry.name}: {command}")
        return found
