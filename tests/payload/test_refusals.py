"""What cannot be encoded or decoded is refused by name: path, value, bound, way out. Never pickled."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import threading
from typing import Any

import msgspec
import pytest

from fencepost import payload
from fencepost.errors import PayloadError, PayloadTooLarge


@dataclasses.dataclass
class Item:
    lock: Any


@dataclasses.dataclass
class Basket:
    items: list[Item]


class Node(msgspec.Struct):
    next: Any = None


class Odd(enum.Enum):
    pair = (1, 2)
    thing = object()


def refused(value: object, kind: object = Any, path: str = "") -> str:
    with pytest.raises(PayloadError) as caught:
        payload.encode(value, kind, path=path)
    return str(caught.value)


def test_h33_the_message_names_the_path_inside_the_value() -> None:
    """Through dataclasses, lists, dicts and tuples, typed or not."""
    lock = threading.Lock()
    basket = Basket([Item(1), Item(2), Item({"deep": (0, lock)})])
    for kind in (Any, Basket):
        message = refused(basket, kind, "args[0]")
        assert message.startswith("args[0].items[2].lock['deep'][1]: _thread.lock cannot be encoded: ")
        assert "create it where it is used" in message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (pathlib.Path("x"), "pass str(path)"),
        (object(), "pass plain data"),
        (lambda: None, "pass plain data"),
        (Exception("x"), "pass plain data"),
        (1j, "complex cannot be encoded"),
        (Odd.thing, "give its members str or int values"),
        ("\ud800", "cannot be written as UTF-8"),
        (int, "type cannot be encoded"),
    ],
)
def test_h33_each_refusal_names_a_way_out(value: object, words: str) -> None:
    """What to do instead is part of the message."""
    message = refused({"k": [value]})
    assert message.startswith("['k'][0]: ")
    assert words in message


def test_a_typed_integer_beyond_64_bits_is_refused() -> None:
    """Untyped ones are marked and exact; typed ones would need a mark where the type expects a number."""
    assert "does not fit 64 bits" in refused([2**64], list[int])
    assert payload.decode(payload.encode([2**64, -(2**63) - 1, 10**5000])) == [2**64, -(2**63) - 1, 10**5000]


def test_a_cycle_is_named_as_one() -> None:
    """And does not run for ever, nor into the interpreter's limit."""
    loop: list[Any] = [1]
    loop.append({"self": loop})
    assert refused(loop, Any, "args[0]").startswith("args[0][1]['self']: refers back to a value that contains it")
    node = Node()
    node.next = node
    assert "refers back" in refused(node, Node)


@pytest.mark.parametrize(("bottom", "levels"), [(1, 20_000), ((1,), 300)])
def test_too_deep_a_nesting_is_refused(bottom: Any, levels: int) -> None:
    """Before the interpreter's limit where members are looked at one by one; at that limit else."""
    value = bottom
    for _ in range(levels):
        value = [value]
    assert "levels deep" in refused(value)


def test_an_object_that_would_come_back_as_a_dict_is_no_key_without_a_type() -> None:
    """It could be written but never read again."""

    @dataclasses.dataclass(frozen=True)
    class Key:
        id: int

    assert "annotate its class" in refused({Key(1): 2})
    assert "annotate its own class" in refused({Key(1)})


def test_types_that_cannot_be_decoded_are_refused_before_anything_is_written() -> None:
    """The reader would have no way to tell them apart."""
    assert "there is no way to decode the type" in refused([Item(1)], list[Item] | list[Basket])
    assert "there is no way to decode the type" in refused(1j, complex)


def test_a_value_that_was_never_awaited_says_so() -> None:
    """A plain function registered as a step that returns a coroutine."""

    async def late() -> None: ...

    pending = late()
    try:
        assert "never awaited" in refused(pending)
    finally:
        pending.close()


def test_a_value_over_the_limit_names_both_sizes() -> None:
    """The value, the bound, the way out."""
    with pytest.raises(PayloadTooLarge) as caught:
        payload.encode("x" * 2000, str, path="result of charge", limit=1024)
    assert (caught.value.size, caught.value.limit) == (2004, 1024)
    assert str(caught.value).startswith("result of charge: its encoding has 2,004 bytes, the limit is 1,024: ")
    assert "pass a reference" in str(caught.value)
    assert len(payload.encode("x" * 1020, str, limit=1024)) == 1024


@pytest.mark.parametrize("recorded", [dict[str, Any], dict[str, list[dict[str, str]]]])
def test_what_was_recorded_and_does_not_fit_names_path_and_types(recorded: object) -> None:
    """On both codecs alike."""

    @dataclasses.dataclass
    class Line:
        amount: int

    data = payload.encode({"lines": [{"amount": "ten"}]}, recorded)
    with pytest.raises(PayloadError) as caught:
        payload.decode(data, dict[str, list[Line]], path="result of charge")
    message = str(caught.value)
    assert message.startswith("result of charge[...][0].amount: the recorded value does not fit")
    assert "Expected `int`, got `str`" in message


@pytest.mark.parametrize("data", [b"", b"\x01\x80", b"\x09\x00", b"\x02", b"\x02\xc1", b"\x03\xd4\x63\x00"])
def test_what_is_no_user_value_is_refused(data: bytes) -> None:
    """Unknown codec, truncated, unknown mark."""
    with pytest.raises(PayloadError):
        payload.decode(data)
