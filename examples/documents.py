"""A pipeline over real files: every document is read and counted by itself, then all of it becomes one index.

In this folder, in one terminal:   fencepost dev documents
In this folder, in another one:    python documents.py FOLDER [INDEX.json]

Between the steps go paths, not contents: a run's log stays small however large the documents are. What a step writes it
writes whole or not at all, so a step that is repeated after a crash does no harm. Documents that are no text are named
in the index, and hold up nobody.
"""

import asyncio
import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fencepost import Client, Fatal, step, workflow
from fencepost.errors import RunFailed

AT_ONCE = 8
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


@step
def merge(parts: list[str], index: str) -> int:
    """One index of all words: in which documents, how often. Returns how many different words there are."""
    places: dict[str, dict[str, int]] = {}
    for part in parts:
        counted = json.loads(Path(part).read_text(encoding="utf-8"))
        for word, times in counted["words"].items():
            places.setdefault(word, {})[counted["document"]] = times
    write_whole(Path(index), places)
    return len(places)


@workflow
async def index_folder(folder: str, index: str) -> Index:
    parts = f"{index}.parts"
    documents = await find(folder, parts)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, document: str) -> str | None:
        part = f"{parts}/{number:06d}.json"
        async with room:
            try:
                await count(document, part)
            except Fatal:
                return None
        return part

    made = await asyncio.gather(*(one(number, document) for number, document in enumerate(documents)))
    good = [part for part in made if part is not None]
    bad = [document for document, part in zip(documents, made, strict=True) if part is None]
    return Index(index, len(good), await merge(good, index), bad)


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
