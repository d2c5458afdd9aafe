"""The key of a unique job is the one that River clients in every language compute."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_river import State, Unique
from django_river.jobs.unique import REQUIRED_STATES, canonical_json

PLANNED = datetime(2026, 1, 2, 5, 21, 5, 678900, tzinfo=UTC)
HOUR = timedelta(hours=1)


def key(unique: Unique, *, kind="shop.send", args=b"{}", queue="default", scheduled_at=PLANNED) -> str:
    return unique.key(kind=kind, args=args, queue=queue, scheduled_at=scheduled_at).hex()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class TestKnownAnswers:
    """Of the fixtures that River's clients share."""

    @pytest.mark.parametrize(
        ("unique", "job", "answer"),
        [
            (
                Unique(by_args=True),
                {"kind": "conformance_all_args"},
                "fe05a58ddb79a8d4544da962582d9a290d59788c920afd3597da3a62e3c1b0ac",
            ),
            (
                Unique(by_args=True),
                {"kind": "conformance_all_args", "args": b'{"nested":{"z":1,"a":2}}'},
                "46ff499cb031d0458bb00ef87e7b83321eefb6e7534497c279c4ae0f474cdde0",
            ),
            (
                Unique(by_period=HOUR),
                {"kind": "conformance_simple", "args": b'{"id":42}'},
                "b7f3c49952996b760b8b3ff6cf48f426e03a6ef0f004fb6faa51725365cf309a",
            ),
            (
                Unique(by_queue=True, exclude_kind=True),
                {"kind": "any", "queue": "priority_emails"},
                "d20ce47da8e8015e68b020bbca2b17494139519ae05f8985e5992db4d8dd8a09",
            ),
            (
                Unique(
                    by_args=True, by_period=timedelta(seconds=60), by_queue=True,
                    by_state=["available", "completed", "pending", "running", "scheduled"],
                ),
                {"kind": "conformance_simple", "queue": "priority_emails", "args": b'{"id":42}'},
                "6f20262e7b1fa9beaf98255f23030800376636484a98b20c2c04a303bab5a8d5",
            ),
        ],
    )  # fmt: skip
    def test_are_given(self, unique, job, answer):
        assert key(unique, **job) == answer

    def test_of_states_are_given(self):
        assert Unique(by_args=True).mask == 245
        assert Unique(by_state=["available", "completed", "pending", "running", "scheduled"]).mask == 213


class TestKey:
    def test_has_its_parts_in_order(self):
        unique = Unique(by_args=True, by_period=HOUR, by_queue=True)

        assert key(unique, args=b'{"b":1,"a":"x"}', queue="q") == digest(
            '&kind=shop.send&args={"a":"x","b":1}&period=2026-01-02T05:00:00Z&queue=q'
        )

    def test_sorts_the_top_level_by_code_point_and_no_other(self):
        args = '{"é":1,"z":2,"Z":{"z":1,"a":2},"😀":3,"":4}'.encode()

        assert key(Unique(by_args=True), args=args) == digest(
            '&kind=shop.send&args={"":4,"Z":{"z":1,"a":2},"z":2,"é":1,"😀":3}'
        )

    @pytest.mark.parametrize(
        ("paths", "text"),
        [
            (["b"], '{"b":null}'),
            (["b", "a"], '{"a":1,"b":null}'),
            (["missing"], "{}"),
            (["c.y"], '{"c":{"y":2}}'),
            (["c.y", "c.x", "a"], '{"a":1,"c":{"x":{"d":[1]},"y":2}}'),
            (["c.x.d"], '{"c":{"x":{"d":[1]}}}'),
            (["c.nothing", "a.deeper", "c.x.d.e"], "{}"),
            (["c.y", "c"], '{"c":{"y":2,"x":{"d":[1]}}}'),
            (["b.c"], "{}"),
        ],
    )
    def test_takes_chosen_arguments(self, paths, text):
        args = b'{"c":{"y":2,"x":{"d":[1]}},"a":1,"b":null}'

        assert key(Unique(by_args=paths), args=args) == digest(f"&kind=shop.send&args={text}")

    @given(st.datetimes(datetime(1900, 1, 1)), st.integers(1, 10**7), st.integers(-720, 840))
    def test_cuts_time_to_periods_since_year_one(self, moment, seconds, minutes):
        there = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
        passed = (moment - datetime.min) // timedelta(seconds=1)
        start = datetime.min + timedelta(seconds=passed - passed % seconds)

        assert key(Unique(by_period=timedelta(seconds=seconds)), scheduled_at=there) == digest(
            f"&kind=shop.send&period={start.isoformat()}Z"
        )

    def test_writes_years_with_four_digits(self):
        assert key(Unique(by_period=timedelta(days=740_000))) == digest(
            "&kind=shop.send&period=0001-01-01T00:00:00Z"
        )


#: What ``JSON.stringify`` and Go's ``encoding/json`` make of numbers.
NUMBERS = {
    0.0: "0", 1.0: "1", -1.0: "-1", 0.1: "0.1", 1.5: "1.5", 100.0: "100", 123456789.0: "123456789",
    1e-6: "0.000001", 1e-7: "1e-7", 1.5e-7: "1.5e-7", -1e-7: "-1e-7", 9.99e-7: "9.99e-7", 0.000001234: "0.000001234",
    1e15: "1000000000000000", 1e16: "10000000000000000", 1e20: "100000000000000000000", 1e21: "1e+21",
    1.5e21: "1.5e+21", -1e21: "-1e+21", 123456789012345680000.0: "123456789012345680000", 1e100: "1e+100",
    1.7976931348623157e308: "1.7976931348623157e+308", 5e-324: "5e-324", 2.2250738585072014e-308: "2.2250738585072014e-308",
    0.30000000000000004: "0.30000000000000004", 4.35: "4.35", 1e23: "1e+23", 333333333.33333329: "333333333.3333333",
    9007199254740993: "9007199254740993", 10**30: "1" + "0" * 30,
}  # fmt: skip


class TestCanonicalJson:
    @pytest.mark.parametrize(("number", "text"), NUMBERS.items())
    def test_writes_numbers_as_go_does(self, number, text):
        assert canonical_json(number) == text

    def test_keeps_the_sign_of_zero_as_go_does(self):
        assert canonical_json(-0.0) == "-0"

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_writes_floats_that_read_back(self, number):
        text = canonical_json(number)

        assert float(text) == number
        assert ("e" in text) is (number != 0 and not 1e-6 <= abs(number) < 1e21)
        assert not text.endswith(".0")

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "null"), (True, "true"), (False, "false"), ("", '""'), ([], "[]"), ({}, "{}"),
            ([1, [None]], "[1,[null]]"), ({"b": {"a": 1}, "a": []}, '{"b":{"a":1},"a":[]}'),
            ("a<b>&c", '"a\\u003cb\\u003e\\u0026c"'), ("\u2028\u2029", '"\\u2028\\u2029"'),
            ("\b\f\n\r\t", '"\\b\\f\\n\\r\\t"'), ("\x01\x1f\x7f", '"\\u0001\\u001f\x7f"'), ('"\\/', '"\\"\\\\/"'),
            ("é😀\ufeff", '"é😀\ufeff"'), ({"<": 1}, '{"\\u003c":1}'),
        ],
    )  # fmt: skip
    def test_writes_the_rest_as_go_does(self, value, text):
        assert canonical_json(value) == text

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        )
    )
    def test_is_json(self, value):
        assert json.loads(canonical_json(value)) == value


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "error", "why"),
        [
            ({}, ValueError, "^a unique job needs at least one of by_args, by_period, by_queue, by_state$"),
            ({"exclude_kind": True}, ValueError, "^a unique job needs at least one of"),
            ({"by_args": ()}, ValueError, "^a unique job needs at least one of"),
            ({"by_args": "order_id"}, TypeError, "^by_args must be True or a list of names, got 'order_id'$"),
            ({"by_args": [1]}, TypeError, r"^by_args must be True or a list of names, got \[1\]$"),
            ({"by_args": [""]}, TypeError, "^by_args must be"),
            ({"by_args": None}, TypeError, "^by_args must be"),
            ({"by_period": 60}, TypeError, "^by_period must be a timedelta, got 60$"),
            (
                {"by_period": timedelta(milliseconds=999)},
                ValueError,
                "^by_period must be at least one second, got",
            ),
            ({"by_state": ["available"]}, ValueError, "^by_state must contain pending, running, scheduled$"),
            (
                {"by_state": [*sorted(REQUIRED_STATES), "done"]},
                ValueError,
                "^by_state: 'done' is not a valid State; known states",
            ),
        ],
        ids=str,
    )
    def test_that_cannot_be_are_refused(self, options, error, why):
        with pytest.raises(error, match=why):
            Unique(**options)

    def test_take_states_by_name(self):
        unique = Unique(by_state=[*map(str, REQUIRED_STATES), State.DISCARDED])

        assert unique.mask == 1 + 8 + 16 + 64 + 128
        assert unique == Unique(by_state=REQUIRED_STATES | {State.DISCARDED})
