"""The frames of an exception that are the user's own, and tracebacks with the frames of everybody else folded.

Whose a frame is can only be said where the exception was raised: an application may be installed in ``site-packages``,
too, and the reader of a log may be on another machine. So the own frames are recorded (``Failure.frames``), the text of
the traceback is recorded whole, and a reader folds it. Of a frame its place is recorded and never its variables.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from fencepost.records import Failure, Frame

FRAMES_MAX = 16
"""Own frames in one record: what is left out of a recursion is its middle."""
FILE_CHARS_MAX = 300
"""Of a file's path: the end is kept."""

_OURS = ("fencepost", "fencepost_queue", "fencepost_store")
_own_packages: set[str] = set()
_FRAME = re.compile(r'^(?P<margin>[ |+-]*)File "(?P<file>.+?)", line (?P<line>\d+), in (?P<name>.+)$')


def own_code(module: str) -> None:
    """The package of this module is the user's, wherever it is installed: a workflow or a step is defined in it."""
    top = module.partition(".")[0]
    if top not in _OURS:
        _own_packages.add(top)


def own_frames(trace: TracebackType | None) -> tuple[Frame, ...]:
    """The user's frames, outermost first."""
    found: list[Frame] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_own(code.co_filename, str(trace.tb_frame.f_globals.get("__name__", ""))):
            found.append(
                Frame(_path(code.co_filename), trace.tb_lineno or code.co_firstlineno, _name(code.co_qualname))
            )
        trace = trace.tb_next
    return bounded(found)


def bounded(frames: list[Frame]) -> tuple[Frame, ...]:
    """At most FRAMES_MAX, without the middle."""
    half = FRAMES_MAX // 2
    return tuple(frames if len(frames) <= FRAMES_MAX else [*frames[:half], *frames[-half:]])


def without_engine(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from its first own frame on; as it is, if it has none."""
    inner = trace
    while inner is not None:
        frame = inner.tb_frame
        if is_own(frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))):
            return inner
        inner = inner.tb_next
    return trace


def is_own(filename: str, module: str = "") -> bool:
    """Whether code of this file is the user's: not fencepost's, not Python's, not of an installed package, unless that
    package has a workflow or a step of theirs.
    """
    top = module.partition(".")[0]
    return top not in _OURS and (top in _own_packages or _owner(filename) == "")


@lru_cache(maxsize=4096)
def _owner(filename: str) -> str:
    """Whose code a file is by its path: a package, "python", or empty for the user."""
    if filename.startswith("<frozen"):
        return "python"
    parts = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            after = parts[parts.index(folder) + 1 :]
            return after[0].removesuffix(".py") if after else folder
    if filename.startswith(_python_folders()) or re.search(r"[/\\]lib[/\\]python3\.\d+[/\\]", filename):
        return "python"
    return ""


@lru_cache(maxsize=1)
def _python_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({f"{paths[name].rstrip('/')}/" for name in ("stdlib", "platstdlib")})


def _path(filename: str) -> str:
    filename = _writable(filename)
    return filename if len(filename) <= FILE_CHARS_MAX else f"...{filename[-FILE_CHARS_MAX:]}"


def _name(qualname: str) -> str:
    return _writable(qualname.rpartition("<locals>.")[2] or qualname)[:FILE_CHARS_MAX]


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# --- for readers ------------------------------------------------------------------------------------------------------


def where(record: Failure) -> str:
    """``file:line`` of the user's innermost frame, of the first member if it is a group's; empty if none is known."""
    for one in tree(record):
        if one.frames:
            frame = one.frames[-1]
            return f"{_short(frame.file)}:{frame.line}"
    return ""


def tree(record: Failure) -> Iterator[Failure]:
    """The failure, and below it the members of groups."""
    yield record
    for member in record.exceptions:
        yield from tree(member)


def chain(record: Failure) -> Iterator[tuple[Failure, str]]:
    """As Python prints them: causes and contexts before what they led to, each with the words behind it."""
    before, words = record.cause, "The above exception was the direct cause of the following exception:"
    if before is None and not record.suppress_context:
        before, words = record.context, "During handling of the above exception, another exception occurred:"
    if before is not None:
        *earlier, (last, _) = chain(before)
        yield from earlier
        yield last, words
    yield record, ""


def report(record: Failure, *, full: bool = False) -> str:
    """The traceback with its causes and the members of groups, as Python prints it; unless ``full``, what is not the
    user's is folded. ``record`` is readable (``failure.told``), its causes too.
    """
    parts: list[str] = []
    for one, words in chain(record):
        parts.append(one.traceback.rstrip() if full else folded(one))
        if words:
            parts.append(f"\n{words}\n")
    return "\n".join(parts)


def folded(record: Failure) -> str:
    """The recorded traceback, with each row of frames that are not the user's in one line. A record without a
    traceback: class, message, and its own frames.
    """
    text = record.traceback.rstrip()
    if not text:
        head = ["Traceback (most recent call last):"] if record.frames else []
        rows = [f'  File "{one.file}", line {one.line}, in {one.name}' for one in record.frames]
        return "\n".join([*head, *rows, f"{record.type}: {record.message}" if record.message else record.type])
    own = {(frame.file, frame.line) for one in tree(record) for frame in one.frames}
    lines = text.split("\n")
    if not own:  # of a version that did not record them: by their paths alone
        places = [(match["file"], int(match["line"])) for one in lines if (match := _FRAME.match(one))]
        own = {(_path(file), line) for file, line in places if not _foreign(file)}
        if not own:
            return text
    return "\n".join(_fold(lines, own))


def _foreign(file: str) -> str:
    """Whose a file is, for a reader who has its path alone."""
    parts = Path(file).parts
    ours = next((name for name in _OURS if name in parts[-4:-1]), "")
    return _owner(file) or ours


def _fold(lines: list[str], own: set[tuple[str, int]]) -> Iterator[str]:
    folding: list[str] = []
    margin = ""
    for line in lines:
        match = _FRAME.match(line)
        if match is None and folding and _belongs(line, margin):
            continue
        foreign = match is not None and (_path(match["file"]), int(match["line"])) not in own
        if folding and not foreign:
            yield _folded_line(margin, folding)
            folding = []
        if match is not None and foreign:
            margin = match["margin"]
            folding.append(_foreign(match["file"]) or "other code")
        else:
            yield line
    if folding:
        yield _folded_line(margin, folding)


def _belongs(line: str, margin: str) -> bool:
    """The source line of a frame, the marks below it, and the note that it was repeated."""
    if not line.startswith(margin):
        return False
    rest = line[len(margin) :]
    return rest.startswith((" ", "[Previous line repeated")) and bool(rest.strip())


def _folded_line(margin: str, owners: list[str]) -> str:
    names = ", ".join(dict.fromkeys(owners))
    return f"{margin}... {len(owners)} {'frame' if len(owners) == 1 else 'frames'} of {names}"


def _short(file: str) -> str:
    """Relative to the working folder, where it is below it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def frames_json(record: Failure) -> list[dict[str, object]]:
    """The user's frames for a machine."""
    return [{"file": frame.file, "line": frame.line, "function": frame.name} for frame in record.frames]


def failure_json(record: Failure) -> dict[str, object]:
    """A readable failure for a machine: class, message, code, own frames, whole traceback, causes and members."""
    before = record.cause or (None if record.suppress_context else record.context)
    told: dict[str, object] = {
        "type": record.type,
        "code": record.code,
        "message": record.message,
        "frames": frames_json(record),
        "traceback": record.traceback,
    }
    if before is not None:
        told["cause" if record.cause is not None else "context"] = failure_json(before)
    if record.exceptions:
        told["exceptions"] = [failure_json(member) for member in record.exceptions]
    return told
