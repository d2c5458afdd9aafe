"""Arguments are read from the signature, and refused when they are enqueued, by name."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from msgspec import Meta, Struct

from django_river.exceptions import ArgumentTypeError, ArgumentValueError
from django_river.jobs.arguments import Arguments
from django_river.jobs.json import MAX_DEPTH

if TYPE_CHECKING:
    from nowhere import Nothing

LIMIT = 1 << 20
PARIS = ZoneInfo("Europe/Paris")


def read(function) -> Arguments:
    return Arguments(function, kind="shop.job")


def sent(function, *args, **kwargs) -> bytes:
    return read(function).encode(args, kwargs, limit=LIMIT)


def refused(function, *args, **kwargs) -> str:
    """Why a call is refused: ``type: text``."""
    with pytest.raises((ArgumentTypeError, ArgumentValueError)) as info:
        sent(function, *args, **kwargs)
    return f"{'type' if isinstance(info.value, TypeError) else 'value'}: {info.value}"


def anything(x): ...
def whole(x: int): ...
def number(x: float): ...
def text(x: str): ...
def plain(a: int, b: str = "b"): ...
def keyword(a: int, *, b: str = "b"): ...
def positional(a: int, b: str = "b", /, c: int = 3): ...


class TestCall:
    @pytest.mark.parametrize(
        ("function", "args", "kwargs", "raw"),
        [
            (plain, (1,), {}, b'{"a":1,"b":"b"}'),
            (plain, (1, "x"), {}, b'{"a":1,"b":"x"}'),
            (plain, (), {"b": "x", "a": 1}, b'{"a":1,"b":"x"}'),
            (keyword, (1,), {"b": "x"}, b'{"a":1,"b":"x"}'),
            (positional, (1,), {}, b'{"a":1,"b":"b","c":3}'),
            (positional, (1, "x"), {"c": 4}, b'{"a":1,"b":"x","c":4}'),
            (lambda: None, (), {}, b"{}"),
        ],
    )
    def test_is_stored_by_name_with_defaults(self, function, args, kwargs, raw):
        assert sent(function, *args, **kwargs) == raw

    @pytest.mark.parametrize(
        ("function", "args", "kwargs", "why"),
        [
            (plain, (), {}, "missing argument a; it takes a, b"),
            (plain, (), {"b": "x"}, "missing argument a; it takes a, b"),
            (plain, (1, "x", 3), {}, "takes 2 positional arguments, got 3"),
            (plain, (1,), {"a": 1}, "argument 'a' was given twice"),
            (plain, (1,), {"c": 1}, "unknown argument c; it takes a, b"),
            (keyword, (1, "x"), {}, "takes 1 positional arguments, got 2"),
            (positional, (), {"a": 1}, "argument 'a' is positional-only, but was given by name"),
            (lambda: None, (), {"x": 1}, "unknown argument x; it takes none"),
        ],
    )
    def test_that_the_function_would_refuse_is_refused(self, function, args, kwargs, why):
        assert refused(function, *args, **kwargs) == f"type: shop.job: {why}"

    @pytest.mark.parametrize(
        ("function", "called"),
        [
            (lambda a, b=2: (a, b), (1, 2)),
            (lambda a, /, b=2: (a, b), (1, 2)),
            (lambda a, *, b=2: (a, b), (1, 2)),
            (lambda context, a, /, *, b=2: (context, a, b), ("context", 1, 2)),
        ],
    )
    def test_is_made_as_the_signature_wants_it(self, function, called):
        arguments = read(function)

        values = arguments.decode(b'{"a":1}')

        assert arguments.call(function, values, "context") == called

    def test_never_shares_a_default_that_can_change(self):
        def function(x: list[int] = [1], y: dict[str, int] = {}): ...  # noqa: B006  (that is the point)

        arguments = read(function)
        arguments.decode(b"{}")["x"].append(2)

        assert arguments.decode(b"{}") == {"x": [1], "y": {}}


class TestTypes:
    @pytest.mark.parametrize(
        ("function", "value", "why"),
        [
            (whole, "1", "expected int, got str, came str ('1')"),
            (whole, 1.0, "expected int, got float, came float (1.0)"),
            (whole, True, "expected int, got bool, came bool (True)"),
            (whole, None, "expected int, got null, came NoneType (None)"),
            (number, "1", "expected float, got str, came str ('1')"),
            (text, b"1", "expected str, got bytes, came bytes (b'1')"),
            (text, "x" * 0 or 1, "expected str, got int, came int (1)"),
        ],
    )
    def test_are_checked(self, function, value, why):
        assert refused(function, value) == f"type: shop.job: argument 'x': {why}"

    def test_say_where_inside_an_argument(self):
        def function(pages: list[dict[str, int]]): ...

        assert refused(function, [{}, {"a": "b"}]) == (
            "type: shop.job: argument 'pages' at [1][...]: expected int, got str, came list ([{}, {'a': 'b'}])"
        )

    def test_say_when_it_is_a_key(self):
        def function(pages: dict[int, int]): ...

        assert refused(function, {"a": 1}) == (
            "type: shop.job: argument 'pages': expected int, got str, came dict ({'a': 1})"
        )

    def test_are_checked_inside_instances_too(self):
        def function(page: Page): ...

        assert sent(function, Page(1)) == b'{"page":{"number":1}}'
        assert refused(function, Page("1")).startswith(
            "type: shop.job: argument 'page' at .number: expected int, got str, came Page (Page("
        )

    def test_cut_what_is_long(self):
        why = refused(whole, "x" * 1000)

        assert why.endswith(f"came str ('{'x' * 76}...)")

    def test_may_have_constraints(self):
        def function(x: Annotated[int, Meta(ge=1, le=5)], y: Annotated[str, Meta(pattern="^a")] = "a"): ...

        assert sent(function, 5) == b'{"x":5,"y":"a"}'
        assert refused(function, 6) == "value: shop.job: argument 'x': expected int <= 5, came int (6)"
        assert refused(function, 1, "b").startswith(
            "value: shop.job: argument 'y': expected str matching regex"
        )

    def test_of_an_int_may_be_a_float(self):
        assert sent(number, 1) == b'{"x":1.0}'

    def test_are_resolved_when_they_are_needed(self):
        """Annotations are text in this module; what is returned need not exist at all."""

        def function(x: Later) -> Nothing: ...

        assert sent(function, {"y": 1}) == b'{"x":{"y":1}}'

    def test_are_found_through_decorators(self):
        def decorator(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs)

            return wrapper

        assert refused(decorator(whole), "1").startswith("type: shop.job: argument 'x': expected int")


class Page(Struct):
    number: int


@dataclass
class Later:
    y: int


class TestValues:
    @pytest.mark.parametrize(
        ("function", "value", "why"),
        [
            (number, float("nan"), "expected a finite number, got nan"),
            (number, float("inf"), "expected a finite number, got inf"),
            (text, "a\0b", "text must not contain NUL characters"),
            (anything, {"\0": 1}, "text must not contain NUL characters"),
            (anything, ["\\\0"], "text must not contain NUL characters"),
            (anything, {"a": [1, float("-inf")]}, "expected a finite number, got -inf"),
        ],
    )
    def test_that_no_database_could_hold_are_refused(self, function, value, why):
        refusal = refused(function, value)

        assert refusal.startswith("value: shop.job: argument 'x'")
        assert refusal.endswith(why)

    @pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, [{"a": "x\ud800"}]])
    def test_with_lone_surrogates_are_refused(self, value):
        assert "argument 'x': text must not contain lone surrogates" in refused(anything, value)

    @pytest.mark.parametrize("value", ["Decimal('NaN')", "Decimal('sNaN')", "Decimal('-Infinity')"])
    def test_that_are_no_number_are_refused_as_decimals(self, value):
        def function(x: Decimal | None): ...

        why = f"value: shop.job: argument 'x': expected a finite number, got {value}"
        assert refused(function, eval(value)) == why

    @pytest.mark.parametrize("key", [float("nan"), float("inf"), float("-inf")])
    def test_that_are_no_number_are_refused_as_keys(self, key):
        def function(x: dict[float, int]): ...

        assert (
            refused(function, {key: 1})
            == f"value: shop.job: argument 'x': expected a finite number, got {key!r}"
        )

    @pytest.mark.parametrize(
        "word", ["NUL", "\\u0000", "NaN", "Infinity", "null", "\\\\u0000", '"nan"', "1e16"]
    )
    def test_that_only_look_so_are_kept(self, word):
        assert read(anything).decode(sent(anything, [word, None])) == {"x": [word, None]}

    def test_too_deep_are_refused(self):
        deep: Any = []
        for _ in range(MAX_DEPTH - 2):
            deep = [deep]

        assert sent(anything, deep)
        assert refused(anything, [deep]) == "value: shop.job: argument 'x': nested deeper than 100 levels"
        deep.append(deep)
        assert refused(anything, deep) == "value: shop.job: argument 'x': nested deeper than 100 levels"

    def test_with_many_brackets_are_not_deep(self):
        assert sent(anything, [{"[": "{\\"}] * 1000)

    def test_too_large_are_refused(self):
        arguments = read(lambda x, y=1: None)

        assert arguments.encode(("x" * 10,), {}, limit=25)
        with pytest.raises(
            ArgumentValueError, match=r"argument 'x': 1002 bytes of JSON, more than the limit of 25"
        ):
            arguments.encode(("x" * 1000,), {}, limit=25)
        with pytest.raises(
            ArgumentValueError, match=r"shop.job: arguments: 26 bytes of JSON, more than the limit of 25"
        ):
            arguments.encode(("x" * 12,), {}, limit=25)


class Size(Enum):
    SMALL = "s"


class Level(IntEnum):
    HIGH = 1


class TestUntyped:
    @pytest.mark.parametrize(
        "value",
        [
            (1, 2), {1, 2}, b"a", Decimal(1), UUID(int=1), date.min, datetime.min, time.min, timedelta(1), Size.SMALL,
            Later(1), {1: 2}, {"a": [(1,)]}, object(), int, {None: 1}, {(1,): 1}, 1j,
        ],
        ids=lambda value: type(value).__name__,
    )  # fmt: skip
    def test_takes_only_what_json_gives_back(self, value):
        why = refused(anything, value)

        assert why.startswith("type: shop.job: argument 'x'")
        assert "expected a JSON value" in why

    def test_says_where(self):
        assert refused(anything, {"a": [1, (2,)]}) == (
            "type: shop.job: argument 'x' at ['a'][1]: expected a JSON value, got tuple ((2,))"
        )

    def test_takes_members_of_enums_of_numbers_as_numbers(self):
        assert sent(anything, Level.HIGH) == b'{"x":1}'


class TestTimes:
    @pytest.mark.parametrize("fold", [0, 1])
    @pytest.mark.parametrize("day", [datetime(2024, 10, 27, 2, 30), datetime(2024, 3, 31, 2, 30)])
    def test_in_an_hour_that_the_clock_repeats_or_leaves_out_are_kept(self, day, fold):
        def function(x: datetime): ...

        moment = day.replace(fold=fold, tzinfo=PARIS)

        back = read(function).decode(sent(function, moment))["x"]
        assert back.astimezone(UTC) == moment.astimezone(UTC)

    @pytest.mark.parametrize(
        "moment",
        [
            datetime(1900, 1, 1, tzinfo=PARIS),
            time(1, tzinfo=PARIS),
            time(1, tzinfo=timezone(timedelta(seconds=90))),
        ],
        ids=str,
    )
    def test_that_json_would_bend_are_refused(self, moment):
        def function(x: datetime | None = None, y: time | None = None): ...

        assert "expected a JSON value" in refused(
            function, **{"y" if isinstance(moment, time) else "x": moment}
        )


class TestStored:
    def test_are_read_back_typed(self):
        def function(a: UUID, b: Size = Size.SMALL): ...

        arguments = read(function)

        assert arguments.decode(f'{{"a": "{UUID(int=1)}"}}') == {"a": UUID(int=1), "b": Size.SMALL}
        assert arguments.decode(b'{"a": "%s", "b": "s"}' % str(UUID(int=1)).encode())["b"] is Size.SMALL

    @pytest.mark.parametrize(
        ("raw", "why"),
        [
            (b'{"a": "x"}', r"^shop.job: argument 'a': expected int, got str$"),
            (b"{}", r"^shop.job: missing argument a; it takes a, b$"),
            (b'{"a": 1, "z": 1}', r"^shop.job: unknown argument z; it takes a, b$"),
            (b"[]", r"^shop.job: Expected object, got array; it takes a, b$"),
            (b"{", r"^shop.job: arguments are not JSON: "),
        ],
    )
    def test_by_others_are_refused_if_they_do_not_fit(self, raw, why):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match=why):
            read(plain).decode(raw)
