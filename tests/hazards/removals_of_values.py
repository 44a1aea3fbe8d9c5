"""Guards of values: what is written can be read again."""

# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost import payload, payload_check
from fencepost import payload_marks as marks
from fencepost.authoring import annotations
from fencepost.authoring.arguments import Arguments
from fencepost.authoring.workflow import Workflow
from fencepost.payload_models import Model


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


@removal("H165", guard="defaults are part of the recorded call", tests=[
    "authoring/test_recorded_defaults.py::test_h165_defaults_are_part_of_the_recorded_call",
    "authoring/test_recorded_defaults.py::test_h165_a_changed_default_changes_no_recorded_call",
    "authoring/test_recorded_defaults.py::test_h165_each_run_has_mutable_defaults_of_its_own",
    "authoring/test_recorded_defaults.py::test_h165_a_default_that_changed_parks_no_run",
    "authoring/test_recorded_defaults.py::test_h165_a_strict_start_takes_a_default_that_is_spelled_out_for_the_same_call",
])  # fmt: skip
def defaults_are_left_out(patch: pytest.MonkeyPatch) -> None:
    """What the caller said is all that is recorded, and the body's own code supplies the rest."""
    patch.setattr(Arguments, "_filled", lambda self, positional, named: (positional, named, False))


@removal("H166", guard="an annotation is read where it was written", tests=[
    "authoring/test_annotations.py::test_h166_a_wrapped_functions_types_are_those_of_its_own_module",
    "authoring/test_annotations.py::test_h166_what_a_decorator_adds_is_the_decorators",
])  # fmt: skip
def annotations_are_read_in_the_wrappers_module(patch: pytest.MonkeyPatch) -> None:
    """That of the outermost function."""
    patch.setattr(annotations, "_chain", lambda fn: [fn])


@removal("H166", guard="the names of the functions around are known", tests=[
    "authoring/test_annotations.py::test_h166_a_local_class_is_found_where_the_function_was_decorated",
])  # fmt: skip
def local_classes_are_unknown(patch: pytest.MonkeyPatch) -> None:
    """Only what the body closes over."""
    patch.setattr(annotations, "_names_around", lambda fn: {})


@removal("H166", guard="names for type checkers only are refused at decoration", tests=[
    "authoring/test_annotations.py::test_h166_a_name_for_type_checkers_only_is_refused_at_decoration",
])  # fmt: skip
def names_for_checkers_are_found_out_later(patch: pytest.MonkeyPatch) -> None:
    """As names that nobody knows."""
    patch.setattr(annotations, "_imported_for_checkers", lambda file: {})


@removal("H164", guard="a model is made again of what it held", tests=[
    "payload/test_models.py::test_h164_a_model_comes_back_as_what_it_was",
])  # fmt: skip
def models_are_validated_again(patch: pytest.MonkeyPatch) -> None:
    """From its fields, as what comes from elsewhere."""
    patch.setattr(Model, "read", lambda self, tree: self.validated(marks.untold(tree)))


@removal("H164", guard="a model is compared with what is read", tests=[
    "payload/test_models.py::test_h164_what_would_be_lost_of_a_model_is_refused",
])  # fmt: skip
def models_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    """What pydantic calls valid is taken for the same."""
    patch.setattr(payload_check, "_in_model", lambda before, after, where: None)


@removal("H165", guard="the first turn keeps the defaults of a start by name", tests=[
    "engine/test_started_by_name.py::test_h165_a_start_by_name_keeps_the_defaults_of_the_first_turns_code",
])  # fmt: skip
def defaults_of_a_start_by_name_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    """Each replay supplies those of its own code."""
    patch.setattr(Workflow, "completed", lambda self, data: data)
