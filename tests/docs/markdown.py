"""Reading the documents: sections, code blocks, table rows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/protocol.md",
    "docs/hazards.md",
    "docs/operations.md",
    "docs/changing-code.md",
    "docs/streams.md",
    "docs/workers.md",
    "docs/compare.md",
)

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    """A document of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a language, in order."""
    return [match["text"] for match in _BLOCK.finditer(text) if match["language"] == language]


def prose(text: str) -> str:
    """The text without its fenced code blocks."""
    return _BLOCK.sub("", text)


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of its rank or above. Raises LookupError."""
    match = re.search(rf"^(?P<rank>#+) {re.escape(title)}$", text, re.MULTILINE)
    if match is None:
        raise LookupError(f"no heading {title!r}")
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match['rank'])}}} ", rest, re.MULTILINE)
    return rest if end is None else rest[: end.start()]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows but heads and rules."""
    lines = text.splitlines()
    found: list[list[str]] = []
    for number, line in enumerate(lines):
        is_row = line.startswith("|") and not re.fullmatch(r"[|:\- ]+", line)
        is_head = number + 1 < len(lines) and re.fullmatch(r"[|:\- ]+", lines[number + 1] or "x") is not None
        if is_row and not is_head:
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found
