"""A folder for embedded servers that are the test's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dev.owners import gone


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that root's ``nobody`` can reach, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="fencepost-dev-"))
    made.chmod(0o711)
    yield made
    for state in [path.parent for path in made.rglob("owner.lock")]:
        assert gone(state)
    shutil.rmtree(made)
