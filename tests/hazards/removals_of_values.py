"""Guards of values: what is written can be read again."""

from __future__ import annotations

from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost import payload


@removal("H163", guard="a value is checked against its annotation when it is written", tests=[
    "payload/test_written_as_annotated.py::test_h163_what_its_annotation_cannot_read_is_refused_with_its_path",
    "engine/test_error_table.py::test_h163_a_result_of_another_type_is_the_error_of_that_attempt",
])  # fmt: skip
def values_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    """What can be encoded is recorded."""

    def encode_body(value: object, as_type: object, path: str) -> tuple[bytes, bool]:
        return written(payload.codec_of(as_type, path), value, path)

    written: Any = payload._written  # pyright: ignore[reportPrivateUsage] - a removal reaches where no caller does
    patch.setattr(payload, "encode_body", encode_body)
