"""The larger programs of examples/ come to the right end although a worker is killed with -9 in the middle of them."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from example_programs import Stage, bare_environ, copied


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str, valkey_url: str, namespace: str) -> Stage:
    """The examples, on servers of this test process."""
    servers = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": namespace,
    }
    return Stage(copied(tmp_path), {**bare_environ(), **servers})


BEHIND_AN_EFFECT = "append.before:3:kill"
"""A body has had its effect, and nobody knows: it will run again."""

BEHIND_A_COMMIT = "append.after:4:kill"
"""The log is ahead of the queue."""


@pytest.mark.parametrize("fault", [BEHIND_AN_EFFECT, BEHIND_A_COMMIT])
def test_the_saga_books_everything_once_and_undoes_what_failed(stage: Stage, fault: str) -> None:
    """One order goes through; the other is undone, in reverse; the books and the stock agree with that."""
    printed = stage.play("saga", fault)
    assert printed == "courier to Oslo\nundone: saga.NoCourier: nobody drives to Atlantis\ntaken in: 99.00\n"
    with sqlite3.connect(stage.folder / "shop.sqlite") as shop:
        books = shop.execute("SELECT substr(order_id, -1), what FROM books ORDER BY rowid").fetchall()
        (pieces,) = shop.execute("SELECT pieces FROM stock").fetchone()
    assert pieces == 8
    assert [what for order, what in books if order == "1"] == ["reserved", "paid"]
    assert [what for order, what in books if order == "2"] == ["reserved", "paid", "refunded", "put back"]


@pytest.mark.parametrize("fault", [BEHIND_AN_EFFECT, BEHIND_A_COMMIT])
def test_the_pipeline_indexes_every_document(stage: Stage, fault: str) -> None:
    """The index is that of the documents, counted anew here; what is no text is named and holds up nobody."""
    folder = stage.folder / "library"
    folder.mkdir()
    for page in (Path(__file__).parents[2] / "docs").glob("*.md"):
        (folder / page.name).write_bytes(page.read_bytes())
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 not text")
    index = stage.folder / "index.json"
    printed = stage.play("documents", fault, str(folder), str(index))
    expected: dict[str, dict[str, int]] = {}
    pages = sorted(folder.glob("*.md"))
    for page in pages:
        words = Counter(word.lower() for word in re.findall(r"[^\W\d_]{3,}", page.read_text(encoding="utf-8")))
        for word, times in words.items():
            expected.setdefault(word, {})[str(page)] = times
    assert json.loads(index.read_text(encoding="utf-8")) == expected
    assert printed == (
        f"{len(pages)} documents, {len(expected)} different words, in {index}\nno text: {folder / 'photo.jpg'}\n"
    )


BEHIND_THE_ANSWER = "append.after:3:kill"
"""The person's decision is in the log, with what follows from it. One append later the run has ended."""


@pytest.mark.parametrize("fault", [BEHIND_AN_EFFECT, BEHIND_THE_ANSWER])
def test_a_person_approves_by_webhook(stage: Stage, fault: str) -> None:
    """The letter's link reaches the workflow through the web app, and the workflow answers."""
    with stage.web("approval:app") as url:
        stage.environ["APPROVAL_URL"] = url
        printed = stage.play("approval", fault, "120.50")
        assert printed == "answered: {'thanks': 'Grace'}\n120.50 paid to Ada, approved by Grace\n"
    (letter,) = (stage.folder / "outbox").iterdir()
    assert json.loads(letter.read_text(encoding="utf-8"))["cents"] == 12050


IN_THE_MIDDLE_OF_A_SPEECH = "append.before:4:kill"


def library(stage: Stage) -> Path:
    """A folder with documents of known lengths."""
    folder = stage.folder / "library"
    folder.mkdir()
    for name, words in (("a.md", 3), ("b.md", 70), ("c.md", 12)):
        (folder / name).write_text("word " * words, encoding="utf-8")
    return folder


def test_the_agent_answers_and_is_heard_while_it_speaks(stage: Stage) -> None:
    """Whole speeches of every round, each at last from one attempt, and the answer."""
    folder = library(stage)
    printed = stage.play("agent", IN_THE_MIDDLE_OF_A_SPEECH, str(folder))
    expected = [f"First I look what is there: list_files({folder})"]
    expected += [
        f"I have seen {number} of 3 files, next is count_words({folder / name})"
        for number, name in enumerate(("a.md", "b.md", "c.md"))
    ]
    answer = "The longest of 3 files is b.md, with 70 words."
    assert [line.removeprefix("(once more) ") for line in printed.splitlines() if line.startswith("(once")] != []
    heard = [line.removeprefix("(once more) ") for line in printed.splitlines()]
    assert list(dict.fromkeys(line for line in heard if line)) == [*expected, answer, f"answer: {answer}"]


def test_the_agent_is_stopped_in_the_middle_and_cleans_up(stage: Stage) -> None:
    """Cancelled while it speaks, with a kill in between: the run is cancelled and its cleanup has run."""
    folder = library(stage)
    printed = stage.play("agent", BEHIND_A_COMMIT, str(folder), "--stop")
    assert printed.endswith("\nstopped: I have heard enough\n")
    assert (folder / "stopped.txt").read_text(encoding="utf-8").startswith(f"user: {folder}")


UNCOMMITTED = "joint.appended:2:kill"
"""The second fee and its event are written, and their transaction is open."""

COMMITTED = "joint.committed:2:kill"
"""The second fee is taken, and nobody was told: a step without ``transaction()`` would take it again."""


@pytest.mark.parametrize("fault", [UNCOMMITTED, COMMITTED])
def test_the_club_takes_each_fee_once_and_hides_its_members(stage: Stage, fault: str) -> None:
    """The books are right to the cent, nobody is a member without a run, and the log shows addresses to key holders."""
    key = base64.b64encode(bytes(range(32))).decode()
    hidden = {"FENCEPOST_PAYLOAD_CODECS": "aes-gcm", "FENCEPOST_PAYLOAD_KEYS": f"2026:{key}"}
    stage.environ |= hidden
    known, paid, thanks, books = stage.play("membership", fault).splitlines()
    email = thanks.removeprefix("thanks, ")
    assert known == "this address is known"
    assert paid == f"{email} has paid 3 fees, 62.50 are left"
    assert books == "the books: 3 fees, 62.50 left"
    listed = json.loads(stage.command("runs", "list", "--json"))["runs"]
    assert sorted((run["workflow"], run["status"]) for run in listed) == [
        ("membership", "completed"),
        ("thank", "completed"),
    ]
    shown = "".join(stage.command("runs", "show", run["id"], "--json") for run in listed)
    assert email in shown
    for name in hidden:
        del stage.environ[name]
    shown = "".join(stage.command("runs", "show", run["id"], "--json") for run in listed)
    assert email not in shown
    assert "encrypted_with_key" in shown
