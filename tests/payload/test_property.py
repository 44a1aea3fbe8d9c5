"""Whatever docs/values.md promises comes back as itself: types and values at random, inside each other."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from tests.payload.samples import CLASSES, CONTAINERS, Sample, held, samples

from fencepost import payload

EXAMPLES = int(os.environ.get("FENCEPOST_VALUES_EXAMPLES", "250"))
"""Some 10 s. More by the environment: 20,000 take a quarter of an hour."""


WITH_FIELDS = ("dataclass", "struct", "attrs", "model")
PROPERTY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
pytestmark = pytest.mark.filterwarnings("ignore:.* is not a Python type")  # pydantic takes anything there


@PROPERTY
@given(samples(), st.data())
def test_every_value_comes_back_as_itself(sample: Sample, data: st.DataObject) -> None:
    """Equal, with the types of all that it holds, and with the same bytes when it is written again."""
    value = data.draw(sample.values)
    written = payload.encode(value, sample.kind)
    again = payload.decode(written, sample.kind)
    assert held(again) == held(value)
    assert payload.encode(again, sample.kind) == written
    payload.decode(written)  # what the command line does


@PROPERTY
@given(samples().filter(lambda sample: sample.made in WITH_FIELDS), st.data())
def test_an_object_that_is_given_without_a_type_comes_back_by_its_readers(sample: Sample, data: st.DataObject) -> None:
    """As a signal or a start by name gives it: its class says what its fields are, also to the writer."""
    value = data.draw(sample.values)
    written = in_list = b""
    with contextlib.suppress(payload.PayloadError):
        # Refused is an object inside that is a key, or in a set: it comes back as a dict there.
        written, in_list = payload.encode(value), payload.encode([value])
    if not in_list:
        with pytest.raises(payload.PayloadError, match=r"can(not)? be (a|no) key|annotate its own class"):
            payload.encode([value])
        return
    assert held(payload.decode(written, sample.kind)) == held(value)
    assert held(payload.decode(in_list, list[sample.kind])) == held([value])


@pytest.mark.parametrize("kind", [*CONTAINERS, *CLASSES])
def test_every_kind_of_type_can_be_met(kind: str) -> None:
    """Else the test above would hold in vain."""
    assert find(samples(), lambda sample: sample.made == kind).made == kind
