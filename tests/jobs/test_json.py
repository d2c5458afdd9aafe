"""Values for metadata and outputs."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_river.exceptions import ArgumentTypeError, ArgumentValueError
from django_river.jobs.json import describe, encode_json

LIMIT = 1 << 20
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | numbers
    | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('ab\\"1e', max_size=4), inner),
    max_leaves=20,
)


def encode(value, limit=LIMIT):
    return encode_json(value, what="output", limit=limit)


@given(values)
def test_values_read_back_as_they_were(value):
    back = json.loads(encode(value))

    assert back == value
    assert repr(back) == repr(value)


@given(numbers.filter(lambda number: abs(number) >= 1e16))
def test_large_floats_are_written_without_exponent(number):
    """Postgres keeps ``1e16`` as ``10000000000000000``, which would come back as an int."""
    raw = encode(number)

    assert raw.endswith(b".0")
    assert b"e" not in raw
    assert math.copysign(1, float(raw)) * abs(float(raw)) == number


@pytest.mark.parametrize(
    ("value", "error", "why"),
    [
        ((1,), ArgumentTypeError, r"^output: expected a JSON value, got tuple \(\(1,\)\)$"),
        ({"a": {1}}, ArgumentTypeError, r"^output\['a'\]: expected a JSON value, got set \(\{1\}\)$"),
        (object(), ArgumentTypeError, r"^output: expected a JSON value: got object"),
        ([float("nan")], ArgumentValueError, r"^output\[0\]: expected a finite number, got nan$"),
        ("x" * 2000, ArgumentValueError, r"^output: 2002 bytes of JSON, more than the limit of 1000$"),
        ("\0", ArgumentValueError, r"^output: text must not contain NUL characters$"),
    ],
    ids=["tuple", "set", "object", "nan", "size", "nul"],
)
def test_what_json_cannot_hold_is_refused(value, error, why):
    with pytest.raises(error, match=why):
        encode(value, limit=1000)


def test_a_value_is_described_by_type_and_beginning():
    assert describe([1]) == "list ([1])"
    assert describe("x" * 100) == f"str ('{'x' * 76}...)"
