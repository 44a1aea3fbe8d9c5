"""What a stream's write must be before it is worth a lock, see ``admission.py``."""

from __future__ import annotations

from fencepost_store.admission import ATTEMPT_MAX, PAYLOAD_BYTES_MAX, TEXT_BYTES_MAX, Unstorable
from fencepost_store.streams import StreamWrite

NAME_CHARS_MAX = 100
"""Of a stream's name, which stands in the key of each of its chunks."""


def admit_write(write: StreamWrite) -> None:
    """Raise Unstorable if the write could never land, whatever is in the store."""
    problem = _problem(write)
    if problem is not None:
        raise Unstorable(f"run {write.run_id}, stream {write.name!r}: {problem}")


def name_problem(name: str) -> str | None:
    """What is wrong with a stream's name, if anything."""
    if not 1 <= len(name) <= NAME_CHARS_MAX or "\0" in name:
        return f"a stream's name has 1 to {NAME_CHARS_MAX} characters and no NUL, this one has {len(name)}"
    return None


def _problem(write: StreamWrite) -> str | None:
    if not write.writer or "\0" in write.writer or len(write.writer.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        return f"the writer {write.writer!r} is no entity id"
    if not 1 <= write.attempt <= ATTEMPT_MAX or write.first < 0:
        return f"attempt {write.attempt} (1 to {ATTEMPT_MAX}), first {write.first} (0 and more)"
    for chunk in write.chunks:
        if len(chunk) > PAYLOAD_BYTES_MAX:
            return f"a chunk has {len(chunk)} bytes, at most {PAYLOAD_BYTES_MAX} can be stored"
    return name_problem(write.name)
