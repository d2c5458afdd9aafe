"""What is enqueued is what the function receives: equal, and of the same type."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from django_river.jobs.arguments import Arguments
from tests.storage.steps import claim, insert


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mode(StrEnum):
    FAST = "fast"


@dataclass(frozen=True)
class Leaf:
    at: datetime
    price: Decimal = Decimal("0.00")


@dataclass
class Tree:
    name: str
    leaves: list[Leaf] = field(default_factory=list)
    under: Tree | None = None


def job(
    anything: Any,
    untyped,
    /,
    number: int,
    ratio: float,
    text: str,
    flag: bool,
    nothing: None,
    mixed: int | float | str | None,  # noqa: PYI041  (they come back as what they are)
    items: list[Any],
    table: dict[str, Any],
    counts: dict[int, set[int]],
    pair: tuple[int, Decimal],
    moment: datetime,
    day: date,
    clock: time,
    span: timedelta,
    price: Decimal,
    key: UUID,
    raw: bytes,
    color: Color,
    level: Level,
    mode: Mode | None,
    choice: Literal["a", "b", 3],
    bounded: Annotated[int, Meta(ge=0, le=9)],
    *,
    tree: Tree,
    maybe: list[Leaf | None] = [],  # noqa: B006  (stored with each job)
) -> None: ...


texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
#: Zones in whole minutes, as JSON has them.
zones = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=zones)
prices = st.decimals(allow_nan=False, allow_infinity=False)
leaves = st.builds(Leaf, moments, prices)
trees = st.recursive(
    st.builds(Tree, texts, st.lists(leaves, max_size=2)),
    lambda inner: st.builds(Tree, texts, st.just([]), inner),
)
calls = st.tuples(
    st.tuples(json_values, json_values),
    st.fixed_dictionaries(
        {
            "number": st.integers(),
            "ratio": floats,
            "text": texts,
            "flag": st.booleans(),
            "nothing": st.none(),
            "mixed": st.none() | st.integers() | floats | texts,
            "items": st.lists(json_values, max_size=3),
            "table": st.dictionaries(texts, json_values, max_size=3),
            "counts": st.dictionaries(st.integers(), st.sets(st.integers(), max_size=3), max_size=3),
            "pair": st.tuples(st.integers(), prices),
            "moment": moments,
            "day": st.dates(),
            "clock": st.times(timezones=zones),
            "span": st.timedeltas(),
            "price": prices,
            "key": st.uuids(),
            "raw": st.binary(max_size=50),
            "color": st.sampled_from(Color),
            "level": st.sampled_from(Level),
            "mode": st.none() | st.sampled_from(Mode),
            "choice": st.sampled_from(["a", "b", 3]),
            "bounded": st.integers(0, 9),
            "tree": trees,
        },
        optional={"maybe": st.lists(st.none() | leaves, max_size=3)},
    ),
)
arguments = Arguments(job, kind="tests.work")
EXPECTED = {"maybe": []}


def received(raw: bytes | str) -> dict[str, Any]:
    return arguments.decode(raw)


def given_to(call) -> dict[str, Any]:
    (anything, untyped), named = call
    return {"anything": anything, "untyped": untyped, **EXPECTED, **named}


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down; keys of objects in any order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@settings(max_examples=200, deadline=None)
@given(calls)
def test_through_json(call):
    raw = arguments.encode(*call, limit=1 << 20)

    assert same(received(raw), given_to(call))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=calls)
def test_through_the_database(call, store):
    insert(store, args=arguments.encode(*call, limit=1 << 20))

    (claimed,) = claim(store)

    assert same(received(claimed.args), given_to(call))


@pytest.mark.parametrize("number", [1e15, 1e16, 1.5e300, -2e21, 5e-324, 1e-7, 0.1, 5.0, -0.0])
def test_a_float_that_nothing_names_a_float_stays_one(store, number):
    untyped = Arguments(lambda x: None, kind="tests.work")
    insert(store, args=untyped.encode(([number, {"a": number}],), {}, limit=1000))

    (claimed,) = claim(store)

    assert same(untyped.decode(claimed.args), {"x": [number, {"a": number}]})
