"""A pipeline over real files: every document is read and counted by itself, then all of it becomes one index.

In this folder, in one terminal:   fencepost dev documents
In this folder, in another one:    python documents.py FOLDER [INDEX.json]

Between the steps go paths, not contents: a run's log stays small however large the documents are. Every document has a
child run of its own, and after a batch the run continues as new: the log stays small however many there are, too. What
a step writes it writes whole or not at all, so a step that is repeated after a crash does no harm. Documents that are
no text are named in the index, and hold up nobody. `fencepost runs list --where stage=counting` shows who is at it.
"""

import asyncio
import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fencepost import Client, Fatal, current, set_attributes, step, workflow
from fencepost.errors import RunFailed

BATCH = 8
WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass
class Index:
    file: str
    documents: int
    words: int
    unreadable: list[str] = field(default_factory=list[str])


def write_whole(path: Path, value: object) -> None:
    """A file that is there is complete: written beside its place, then moved there."""
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
    beside.replace(path)


@step
def find(folder: str, parts: str) -> list[str]:
    """Sorted: the order of a folder differs between machines, and what a step returns stands in the log for good."""
    Path(parts).mkdir(parents=True, exist_ok=True)
    found = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    if not found:
        raise Fatal(f"no files in {folder}")
    return found


@step(process=True, retries=1)
def count(document: str, part: str) -> int:
    """In a process of its own: counting keeps a core busy, and the worker has other things to do."""
    try:
        text = Path(document).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Fatal(f"{document} is no text: {error.reason}") from None
    words = Counter(word.lower() for word in WORD.findall(text))
    write_whole(Path(part), {"document": document, "words": words})
    return words.total()


@step(heartbeat_timeout=60)
def merge(parts: list[str], index: str) -> int:
    """One index of all words: in which documents, how often. Returns how many different words there are."""
    places: dict[str, dict[str, int]] = {}
    for number, part in enumerate(parts):
        current().heartbeat(number)  # it may take long: who is silent for a minute is taken for stuck
        counted = json.loads(Path(part).read_text(encoding="utf-8"))
        for word, times in counted["words"].items():
            places.setdefault(word, {})[counted["document"]] = times
    write_whole(Path(index), places)
    return len(places)


@dataclass
class Progress:
    """What a run hands on to the one that continues it."""

    left: list[str]
    parts: list[str] = field(default_factory=list[str])
    unreadable: list[str] = field(default_factory=list[str])


@workflow
async def count_document(document: str, part: str) -> bool:
    try:
        await count(document, part)
    except Fatal:
        return False
    return True


@workflow
async def index_folder(folder: str, index: str, progress: Progress | None = None) -> Index:
    parts = f"{index}.parts"
    if progress is None:
        progress = Progress(await find(folder, parts))
    seen = len(progress.parts) + len(progress.unreadable)
    set_attributes(stage="counting", seen=seen, left=len(progress.left))
    batch, left = progress.left[:BATCH], progress.left[BATCH:]
    made = [f"{parts}/{seen + number:06d}.json" for number in range(len(batch))]
    good = await asyncio.gather(*(count_document(*pair) for pair in zip(batch, made, strict=True)))
    read = progress.parts + [part for part, ok in zip(made, good, strict=True) if ok]
    unreadable = progress.unreadable + [document for document, ok in zip(batch, good, strict=True) if not ok]
    if left:
        index_folder.continue_as_new(folder, index, Progress(left, read, unreadable))
    set_attributes(stage="merging")
    return Index(index, len(read), await merge(read, index), unreadable)


async def main(folder: str, index: str) -> None:
    async with Client() as client:
        run = await client.start(index_folder, folder, index)
        try:
            made = await run.result(timeout=300)
        except RunFailed as failed:
            sys.exit(str(failed.__cause__))
    print(f"{made.documents} documents, {made.words} different words, in {made.file}")
    for document in made.unreadable:
        print(f"no text: {document}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python documents.py FOLDER [INDEX.json]")
    # The worker may stand in another folder: paths that it is given are whole.
    asyncio.run(main(*(str(Path(name).resolve()) for name in [*sys.argv[1:], "index.json"][:2])))
