"""The comparison keeps its form: every row has a dated cell for every product, with its source."""

from __future__ import annotations

import datetime
import re

import pytest
from tests.docs.markdown import ROOT, read, rows, section

PAGE = read("docs/compare.md")
PRODUCTS = ["fencepost", "Vercel Workflow", "Temporal Python", "DBOS", "Restate", "Absurd"]
ROWS = {
    "What must be run", "Storage", "Languages", "Programming model", "How determinism is enforced",
    "Step retries, timeouts, heartbeats", "Transactional steps", "Start inside the caller's transaction", "Sleeps",
    "Signals, hooks, webhooks", "Children", "History limits and continue-as-new", "Streams", "Cancellation",
    "Changing code", "Schedules", "Queues, concurrency, rate limits", "Search attributes", "Encryption and codecs",
    "Command line, dashboard, observability", "Testing kit", "Recovery after kill -9", "Loss of the broker",
    "Correctness evidence published", "Known issues, as read", "Licence", "Maturity and production use",
}  # fmt: skip
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
UNSOURCED = re.compile(r"not found|no broker|broker outside|no other broker|not looked for", re.IGNORECASE)
"""What says that there is no source to give."""


def titles(page: str) -> list[str]:
    """The rows, in order."""
    return re.findall(r"^### (.+)$", section(page, "Rows"), re.MULTILINE)


def faults(page: str) -> list[str]:
    """What is wrong with the form of the page."""
    found: list[str] = []
    for title in titles(page):
        text = section(page, title)
        dated = re.search(r"^Looked up on (\d{4}-\d\d-\d\d)\.", text, re.MULTILINE)
        if dated is None:
            found.append(f"{title}: no date")
        else:
            datetime.date.fromisoformat(dated[1])
        cells = rows(text)
        if [cell[0] for cell in cells] != PRODUCTS:
            found.append(f"{title}: not one cell for each product in order: {[cell[0] for cell in cells]}")
        for cell in cells:
            name, says = cell[0], " ".join(cell[1:])
            if len(cell) != 2 or len(says) < 4:
                found.append(f"{title}, {name}: an empty cell, or one that a | cuts in two")
            elif name != "fencepost" and not LINK.search(says) and not UNSOURCED.search(says):
                found.append(f"{title}, {name}: no source")
    return found


def test_every_row_is_there_once() -> None:
    """A row that is left out flatters somebody."""
    assert sorted(titles(PAGE)) == sorted(ROWS)


def test_the_form_is_kept() -> None:
    """One cell per product, dated, with a link, or the words that none was found."""
    assert faults(PAGE) == []


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        (r"^\| Absurd \| .*\n", "", "Storage: not one cell"),
        (r"^\| DBOS \| .*$", "| DBOS | |", "Storage, DBOS: an empty cell"),
        (r"^\| DBOS \| .*$", "| DBOS | one | two |", "Storage, DBOS: an empty cell, or one that a | cuts"),
        (r"^\| DBOS \| .*$", "| DBOS | Yes. |", "Storage, DBOS: no source"),
        (r"^Looked up on", "Seen on", "Storage: no date"),
    ],
)
def test_a_fault_is_found(was: str, becomes: str, said: str) -> None:
    """The check can fail: each time one line of one row is changed."""
    before, title, after = PAGE.partition("### Storage\n")
    changed = re.sub(was, becomes, after, count=1, flags=re.MULTILINE)
    assert [fault for fault in faults(before + title + changed) if fault.startswith(said)] != []


def test_the_figures_name_all_products_and_their_versions() -> None:
    """Each line of the table has a figure, or says why not, for every product that was measured; and the date stands
    there."""
    text = section(PAGE, "Performance")
    assert "2026-11-21" in text
    assert "one** machine" in text
    head = next(line for line in text.splitlines() if line.startswith("| workload"))
    assert [cell.strip() for cell in head.split("|")[2:-1]] == [
        "floor", "Vercel 4.8.9", "Vercel 5.0β", "DBOS 3.4", "Restate 1.7.12", "Absurd 0.5.1",
    ]  # fmt: skip
    table = rows(text)
    assert len(table) > 10
    assert [line for line in table if len(line) != 7 or not all(line)] == []


def test_links_are_secure_and_files_are_there() -> None:
    """https for what is outside, a file or a heading of this page for what is not."""
    headings = {
        re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", PAGE, re.M)
    }
    for target in LINK.findall(PAGE.replace("\n", " ")):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" in target:
            assert target.startswith("https://"), target
        else:
            assert (ROOT / "docs" / target.partition("#")[0]).exists(), target


def test_it_says_what_is_not_there_and_when_to_choose_another() -> None:
    """For each of the others by name."""
    choose = section(PAGE, "When to choose another one")
    for name in ("Vercel Workflow", "Temporal", "DBOS", "Restate", "Absurd"):
        assert f"**{name}** if" in choose
    assert len(re.findall(r"^- \*\*", section(PAGE, "What fencepost does not do"), re.MULTILINE)) >= 10
