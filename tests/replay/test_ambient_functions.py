"""H157: what stands in the place of the standard library's clocks and chance is, for everybody else, what it was."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import logging
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from replay_world import START, Bench, W, completed, opened

from fencepost.replay import asyncio_patches
from fencepost.replay.ambient_time import CALENDAR, CLOCKS
from fencepost.replay.everywhere import StockFunction

asyncio_patches.install()
STOCK: dict[str, Any] = {
    **{name: getattr(time, name) for name in (*CLOCKS, *CALENDAR)},
    **{name: getattr(random, name) for name in ("random", "getrandbits", "gauss", "seed", "getstate", "setstate")},
    "urandom": os.urandom,
}


@pytest.mark.parametrize("name", sorted(STOCK))
def test_h157_in_a_class_it_is_no_method(name: str) -> None:
    """As functions written in C: ``clock = time.monotonic`` in a class is called without the object."""
    function = STOCK[name]
    assert getattr(type("Holder", (), {name: function})(), name) is function


def test_h157_a_log_formatter_may_have_another_clock() -> None:
    """The recipe of logging's own documents for lines in UTC."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    formatter = type("InUtc", (logging.Formatter,), {"converter": time.gmtime})
    handler.setFormatter(formatter("%(asctime)s %(message)s"))
    handler.handle(logging.makeLogRecord({"msg": "hello", "created": 0.0, "msecs": 0.0}))
    assert lines.getvalue() == "1970-01-01 00:00:00,000 hello\n"


@pytest.mark.parametrize("name", sorted(name for name, each in STOCK.items() if isinstance(each, StockFunction)))
def test_h157_it_is_pickled_copied_and_described_as_what_it_was(name: str) -> None:
    """By its name, so that another process finds its own."""
    function = STOCK[name]
    assert pickle.loads(pickle.dumps(function)) is copy.deepcopy(function) is function
    assert repr(function) == f"<built-in function {name}>"
    assert (function.__name__, function.__doc__) == (function.stock.__name__, function.stock.__doc__)
    if getattr(function.stock, "__text_signature__", None):
        assert inspect.signature(function) == inspect.signature(function.stock)


def test_h157_a_module_that_a_run_imports_draws_nothing_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run finds it imported; and what it keeps is for all of the process."""
    source = "import random, time, uuid\nDRAWN, AT, ID = random.random(), time.time(), uuid.uuid4()\n"
    (tmp_path / "late_chance.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    found: list[list[object]] = []

    async def flow(w: W) -> object:
        first = random.random()
        late: Any = importlib.import_module("late_chance")
        assert late.AT > START / 1e6 + 1e6
        found.append([first, random.random(), time.time()])
        await w.step("a")
        return None

    bench = Bench(flow)
    bench.turn()
    bench.land(completed("a#1"))
    with opened(flow) as replayed:
        replayed.deliver(bench.log.events)
    del sys.modules["late_chance"]
    assert found[0] == found[1]
    assert found[0][2] == START / 1e6 + 0.001


def test_h157_a_generator_that_a_library_makes_at_its_first_use_moves_nothing() -> None:
    """The next run finds it made. Two of the run's own are not alike."""
    kept: list[random.Random] = []
    found: list[list[float]] = []

    async def flow(w: W) -> object:
        first = random.random()
        if not kept:
            kept.append(random.Random())
        found.append([first, random.random()])
        assert random.Random().random() != random.Random().random()
        return None

    for _ in range(2):
        Bench(flow)
    assert found[0] == found[1]


def test_h157_a_worker_puts_them_in_place_before_it_imports_the_users_modules(tmp_path: Path) -> None:
    """So a default argument, a field's default factory or a class attribute of theirs, and of what they import, holds
    them."""
    (tmp_path / "kept.py").write_text(
        "import dataclasses, datetime, time, fencepost\n"
        "def wait(clock=time.monotonic): ...\n"
        "@dataclasses.dataclass\n"
        "class Entry:\n    at: datetime.datetime = dataclasses.field(default_factory=datetime.datetime.now)\n"
        "@fencepost.workflow\nasync def flow() -> None: ...\n"
    )
    look = (
        "import sys, types; from fencepost.engine.loading import load_modules\n"
        "from fencepost.authoring import registry; load_modules(['kept'], registry.default)\n"
        "import kept; print(type(kept.wait.__defaults__[0]).__name__,"
        " isinstance(kept.Entry.__dataclass_fields__['at'].default_factory, types.MethodType))"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    told = subprocess.run(
        [sys.executable, "-c", look],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.split() == ["_Clock", "True"]
