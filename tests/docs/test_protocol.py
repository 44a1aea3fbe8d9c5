"""The documents say what the code says: the tables that are made from it, and those that are written by hand."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs import generated
from tests.docs.markdown import DOCUMENTS, ROOT, read, rows, section

from fencepost import errors
from fencepost.config import Config, field_names
from fencepost_queue.states import TRANSITIONS, mermaid
from fencepost_store.events import EventType
from fencepost_store.protocol import FactOutcome, Outcome, Reason

PROTOCOL = read("docs/protocol.md")


def test_every_event_stands_in_the_table_with_its_kind_and_ordinal() -> None:
    """The four columns that KINDS decides, event by event, in the order of the numbers."""
    found = [tuple(row[:4]) for row in rows(section(PROTOCOL, "3. Events"))]
    assert found == [generated.event_row(event_type) for event_type in EventType]


def test_generated_parts_are_current() -> None:
    """``python -m tests.docs.generated`` writes them anew."""
    found: list[str] = []
    for name in DOCUMENTS:
        text = read(name)
        assert generated.renewed(text) == text, f"{name} is behind the code"
        found += generated.names(text)
    assert {"queue diagram", "queue transitions", "defaults", "error codes"} <= set(found)


def test_a_part_that_is_behind_is_noticed() -> None:
    """A comparison that cannot fail compares nothing."""
    assert generated.renewed(PROTOCOL.replace("`lease_seconds` | `10.0`", "`lease_seconds` | `11.0`")) == PROTOCOL
    assert "`lease_seconds` | `10.0`" in PROTOCOL


def test_the_states_are_all_there() -> None:
    """Every row of the queue's table, and the diagram letter by letter."""
    part = section(PROTOCOL, "5. Queue")
    assert f"```mermaid\n{mermaid()}```" in part
    table = {tuple(row) for row in rows(part) if len(row) == 5}
    assert table == {(t.operation.value, t.before.value, t.when, t.after.value, t.answer) for t in TRANSITIONS}


def test_every_setting_stands_with_its_default() -> None:
    """Also those that the text above the table names with a number."""
    table = {row[0]: row[1] for row in rows(section(PROTOCOL, "9. Defaults"))}
    assert table == {f"`{name}`": f"`{getattr(Config(), name)!r}`" for name in field_names()}
    config = Config()
    for words, value in (
        (r"A lease lasts (\d+) s", config.lease_seconds),
        (r"is renewed every (\d+) s", config.renewal_seconds),
        (r"After (\d+) conflicts in a row", config.conflict_limit),
        (r"of its own of at most (\d+) ms", config.lock_budget_ms),
        (r"once per period \((\d+) s", config.reconcile_period_seconds),
        (r"the next due time or (\d+) s", config.idle_block_seconds),
    ):
        match = re.search(words, " ".join(PROTOCOL.split()))
        assert match is not None, words
        assert float(match[1]) == value, words


def test_settings_that_nobody_reads_are_named_and_no_others() -> None:
    """A setting that is read somewhere beyond its declaration is off the list, and the other way round."""
    files = [path for path in (ROOT / "worker").rglob("*.py") if path.name != "config.py"]
    code = "\n".join(path.read_text() for path in files)
    config = (ROOT / "worker" / "fencepost" / "config.py").read_text().partition("servers_source")[2]
    unused = {name for name in field_names() if not re.search(rf"\b{name}\b", code + config)}
    listed = re.search(r"Accepted and not used yet: (.*?)\n\n", PROTOCOL, re.DOTALL)
    told = set(re.findall(r"`(\w+)`", listed[1])) if listed is not None else set[str]()
    assert told == unused


def test_every_verdict_is_explained() -> None:
    """Verdicts of batches and of facts have a row each; reasons stand in the row of refused."""
    table = dict(row for row in rows(section(PROTOCOL, "4. Store")) if len(row) == 2)
    assert list(table) == list(dict.fromkeys([*(o.name for o in Outcome), *(o.name for o in FactOutcome)]))
    told = table["refused"].partition("reason: ")[2].split(", ")
    assert told == [reason.name for reason in Reason]


def test_every_error_code_is_in_the_table_of_errors() -> None:
    """Above the generated list, with what leads to it."""
    told = section(PROTOCOL, "8. Errors").partition("<!-- generated")[0]
    for code in errors.CODES:
        assert code in told, code


def test_what_code_cites_of_this_page_is_there() -> None:
    """Sections by number, rules by mark."""
    cited: set[str] = set()
    for room in ("worker", "queue", "store", "tests"):
        for path in [*(ROOT / room).rglob("*.py"), *(ROOT / room).rglob("*.lua"), *(ROOT / room).rglob("*.sql")]:
            if path.parent != Path(__file__).parent:
                text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
                cited |= {f"\n## {number}. " for number in re.findall(r"protocol\.md section (\d+)", text)}
                cited |= set(re.findall(r"\b[FGI]\d{1,2}\b", text))
    assert {"\n## 6. ", "I5", "F4"} <= cited
    assert {what for what in cited if not re.search(rf"{re.escape(what)}(?!\d)", PROTOCOL)} == set()


def test_links_lead_somewhere() -> None:
    """Relative links name files of the checkout."""
    for name in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(name)):
            path = (ROOT / name).parent / target
            assert path.exists(), f"{name} links to {target}"


def test_named_files_exist() -> None:
    """Files of the rooms that the documents name in backquotes, by their path or by its end."""
    rooms = ("worker", "queue", "store", "tests", "deploy", "examples", "docs", "benchmarks")
    found = (path for room in rooms for path in [ROOT / room, *(ROOT / room).rglob("*")])
    there = [str(path.relative_to(ROOT)) for path in found]
    ours = ("config.example.toml", "fencepost.toml", "pyproject.toml")
    for name in DOCUMENTS:
        if name == "README.md":  # whose files are the newcomer's
            continue
        for path in re.findall(r"`([\w./-]+(?:/|\.(?:py|lua|sql|toml|service)))[`:]", read(name)):
            named = path.rstrip("/")
            assert named in ours or any(f"/{one}".endswith(f"/{named}") for one in there), f"{name} names {path}"
