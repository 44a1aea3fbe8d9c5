"""Annotations mean what they mean where they were written, whatever has decorated the function since."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import pytest
import tests.authoring.decorating as elsewhere

from fencepost import PayloadError, payload, workflow
from fencepost.authoring.arguments import Arguments
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers

    class Sketch: ...


T = TypeVar("T")


@dataclasses.dataclass
class Order:
    id: int


class Extras(TypedDict, total=False):
    order: Order
    count: int


def there_and_back(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The call, through the bytes."""
    arguments = Arguments(fn, "body")
    return arguments.decode(arguments.encode(args, kwargs))


@elsewhere.timed
def once(order: Order, more: list[Order] | None = None) -> Order:
    return order


@elsewhere.traced
@elsewhere.timed
@elsewhere.timed
async def thrice(order: Order, more: list[Order] | None = None) -> Order:
    return order


@pytest.mark.parametrize("fn", [once, thrice], ids=lambda fn: fn.__name__)
def test_h166_a_wrapped_functions_types_are_those_of_its_own_module(fn: Any) -> None:
    """Not another class of the same name, in the module of the decorator."""
    args, _ = there_and_back(fn, Order(1), [Order(2)])
    assert args == (Order(1), [Order(2)])
    assert type(args[0]) is Order
    made = step(registry=Registry())(fn)
    assert type(made.decode_result(made.encode_result(Order(3)))) is Order


def test_h166_a_workflow_is_wrapped_as_a_step_is() -> None:
    """And its result too."""
    made: Any = workflow(registry=Registry())(thrice)
    assert made.arguments.result_type is Order


def test_h166_what_a_decorator_adds_is_the_decorators() -> None:
    """The rest is the function's."""

    def body(order: Order) -> None: ...

    args, kwargs = there_and_back(elsewhere.with_note(body), Order(1), note=elsewhere.Order(2, "x"))
    assert type(args[0]) is Order
    assert type(kwargs["note"]) is elsewhere.Order


def test_a_wrapper_that_hides_the_signature_takes_values_without_a_type() -> None:
    """Nothing says what they are: that is no error, as without annotations."""
    for decorate in (elsewhere.bare, elsewhere.typed):
        assert there_and_back(decorate(once), (1, 2), a={3})[0] == ((1, 2),)


def test_h166_a_local_class_is_found_where_the_function_was_decorated() -> None:
    """Also if its body does not use it, under a decorator, inside a list, and at the second of two calls."""

    def made(n: int) -> tuple[Any, Any]:
        @dataclasses.dataclass
        class Local:
            id: int = n

        def body(one: Local, more: list[Local], quoted: "Local") -> dict[str, Local]:  # noqa: UP037
            return {}

        return Arguments(elsewhere.timed(body), "body"), Local

    for n in (1, 2):
        arguments, local = made(n)
        args, _ = arguments.decode(arguments.encode((local(), [local()], local()), {}))
        assert args == (local(n), [local(n)], local(n))
        assert arguments.result_type == dict[str, local]


def test_a_class_that_is_defined_further_down_is_found() -> None:
    """Annotations are read at the first call, not when the function is decorated."""
    made = Arguments(further_up, "further_up")
    assert made.decode(made.encode((Below(1),), {})) == ((Below(1),), {})


def further_up(below: Below) -> None: ...


@dataclasses.dataclass
class Below:
    id: int


def test_h166_a_name_for_type_checkers_only_is_refused_at_decoration() -> None:
    """By name and place, with the way out; for the result as well, and inside of other types."""

    async def body(order: Order, amount: dict[str, OnlyForCheckers]) -> None: ...
    async def result(order: Order) -> Sketch: ...

    said = (
        r"'dict\[str, OnlyForCheckers\]' of 'amount' of body .*test_annotations.py:\d+\) needs 'OnlyForCheckers', "
        r"which .*test_annotations.py:\d+ imports for type checkers only.*outside TYPE_CHECKING"
    )
    with pytest.raises(TypeError, match=said):
        step(registry=Registry())(body)
    with pytest.raises(TypeError, match="'Sketch' of 'return' of result"):
        workflow(registry=Registry())(result)
    with pytest.raises(TypeError, match="'Sketch' of 'return' of result"):
        step(registry=Registry())(elsewhere.timed(result))


def test_h166_a_name_that_nobody_knows_is_refused_at_the_call() -> None:
    """Its values would come back as dicts. The name, the parameter, the function and its place are told."""
    registry = Registry()

    @step(registry=registry)
    async def body(n: int, amount: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore

    said = r"'Nowhere' of 'amount' of body \(.*test_annotations.py:\d+\) cannot be resolved \(name 'Nowhere' is not"
    with pytest.raises(PayloadError, match=said):
        body.arguments.encode((1, 2), {})
    with pytest.raises(PayloadError, match=said):
        body.decode_args(payload.encode([[1, 2], {}]))


def test_unpacked_arguments_have_types_of_their_own() -> None:
    """``**kwargs`` by key, ``*args`` by position."""

    def body(*args: *tuple[int, Order], **kwargs: Unpack[Extras]) -> None: ...
    def star(*args: *tuple[Order, ...]) -> None: ...

    assert there_and_back(body, 1, Order(2), order=Order(3), count=4) == (
        (1, Order(2)),
        {"order": Order(3), "count": 4},
    )
    assert there_and_back(star, Order(1), Order(2)) == ((Order(1), Order(2)), {})
    with pytest.raises(PayloadError, match=r"kwargs\['count'\]: does not fit its annotation int"):
        there_and_back(body, 1, Order(2), count="x")


NEW_SYNTAX = """
import dataclasses
from typing import NotRequired, TypedDict

@dataclasses.dataclass
class Card:
    number: str

@dataclasses.dataclass
class Cash:
    cents: int

type Payment = Card | Cash
type Json = dict[str, Json] | list[Json] | str | int | float | bool | None
type Pair[T] = tuple[T, T]
type Tree[T] = list[Tree[T]] | T

class Told(TypedDict):
    by: NotRequired[Card | Cash]

@dataclasses.dataclass
class Box[T]:
    content: T
    more: "list[Box[T]]" = dataclasses.field(default_factory=list)

@dataclasses.dataclass
class Document:
    body: Json
    parts: "list[Document]" = dataclasses.field(default_factory=list)

def first[T: (int, str)](one: T, payment: Payment, told: Told) -> Pair[Payment]: ...

CASES = [
    (Payment, Cash(1)),
    (list[Payment], [Cash(1), Card("x")]),
    (Json, {"a": [1, 2.0, "x", True, None, {"b": []}]}),
    (Pair[Payment], (Cash(1), Card("x"))),
    (Tree[int], [1, [2, [3]]]),
    (Tree[Payment], [Cash(1), [Card("x")]]),
    (Told, {"by": Cash(1)}),
    (Told, {}),
    (Box[Payment], Box(Cash(1), [Box(Card("x"))])),
    (Document, Document({"a": 1}, [Document([None])])),
]
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type statements came with Python 3.12")
def test_type_statements_and_type_parameters() -> None:
    """Aliases by name, with parameters, and those that hold themselves."""
    module: Any = types.ModuleType("new_syntax")
    sys.modules["new_syntax"] = module
    try:
        exec(compile(NEW_SYNTAX, "new_syntax.py", "exec"), module.__dict__)
        for kind, value in module.CASES:
            again = payload.decode(payload.encode(value, kind), kind)
            assert again == value, kind
            assert type(again) is type(value), kind
        with pytest.raises(PayloadError, match=r"^\['a'\]\[0\]: set is none of"):
            payload.encode({"a": [{1}]}, module.Json)
        args, _ = there_and_back(module.first, 1, module.Cash(2), {"by": module.Card("x")})
        assert args == (1, module.Cash(2), {"by": module.Card("x")})
    finally:
        del sys.modules["new_syntax"]
