"""JSON that both databases can hold, and that reads back as it was: what cannot is refused here.

Postgres refuses NUL, lone surrogates, NaN and infinity; SQLite stores some of them. Both must refuse alike, and
before the statement, because an error inside the caller's transaction would spoil it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import msgspec

from django_river.exceptions import ArgumentTypeError, ArgumentValueError

#: How many lists and objects may stand inside one another.
MAX_DEPTH = 100

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
#: What a number that is none may have become: null, or text where a type asks for text.
_NOT_FINITE = re.compile(rb'null|NaN|Infinity|"nan"|"-?inf"')
_MAY_BE_LARGE = re.compile(rb"\de\+?\d")
_TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TEXT_OR_LARGE = re.compile(_TEXT + rb"|(-?\d+(?:\.\d+)?)e\+?\d+")
_TEXT_OR_BRACKET = re.compile(_TEXT + rb"|([\[{])|[\]}]")


def _plain(value: Any) -> Any:
    """What is a text in all but its type, such as the ``SafeString`` of a rendered template, is stored as one."""
    if isinstance(value, str):
        # Unlike an f-string, this does not ask the subclass for its own idea of a text.
        return "".join([value])  # noqa: FLY002
    raise TypeError(f"got {describe(value)}")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def encode_json(value: Any, *, what: str, limit: int) -> bytes:
    """Encode a value as JSON of at most ``limit`` bytes.

    Raises :class:`ArgumentTypeError` for types JSON has no word for, and :class:`ArgumentValueError` for NaN,
    infinity, NUL, lone surrogates, what is nested deeper than :data:`MAX_DEPTH`, and what is too large.
    """
    raw = encode_checked(value, what=what, limit=limit)
    stored = msgspec.json.decode(raw)
    if stored != value:
        for place, thing in lossy_places(value, stored):
            raise ArgumentTypeError(f"{what}{place}: expected a JSON value, got {describe(thing)}")
    return raw


def encode_checked(value: Any, *, what: str, limit: int, depth: int = 0) -> bytes:
    """Encode, and refuse what a database could not store; types that change on the way are not looked for.

    ``depth`` is how many levels stand around the value already.
    """
    try:
        raw = _encode(value)
    except UnicodeEncodeError as error:
        raise ArgumentValueError(f"{what}: text must not contain lone surrogates ({error})") from error
    except RecursionError as error:
        raise ArgumentValueError(f"{what}: nested deeper than {MAX_DEPTH} levels") from error
    except (ValueError, OverflowError) as error:
        raise ArgumentValueError(f"{what}: expected a JSON value: {error}") from error
    except (TypeError, msgspec.MsgspecError) as error:
        raise ArgumentTypeError(f"{what}: expected a JSON value: {error}") from error
    if _MAY_BE_LARGE.search(raw):
        raw = _TEXT_OR_LARGE.sub(_written_out, raw)
    if len(raw) > limit:
        raise ArgumentValueError(f"{what}: {len(raw)} bytes of JSON, more than the limit of {limit}")
    if b"\\u0000" in raw and _NUL.search(raw):
        raise ArgumentValueError(f"{what}: text must not contain NUL characters")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH - depth and _depth(raw) > MAX_DEPTH - depth:
        raise ArgumentValueError(f"{what}: nested deeper than {MAX_DEPTH} levels")
    if _NOT_FINITE.search(raw):
        for place, number in _non_finite(value, ""):
            raise ArgumentValueError(f"{what}{place}: expected a finite number, got {number!r}")
    return raw


def encode_plain(value: Any, *, limit: int) -> bytes | None:
    """Encode what is made of texts, whole numbers and truth values only; ``None`` if it needs a closer look."""
    try:
        raw = _encode(value)
    except (ValueError, OverflowError, TypeError, msgspec.MsgspecError):
        return None
    # Not ``in``, which first takes what it looks for to be a number, and fails.
    return raw if len(raw) <= limit and raw.find(b"\\u0000") < 0 else None


def lossy_places(before: Any, after: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Find what did not survive the way to JSON and back: sets, tuples and bytes where no type asks for them."""
    parts = _parts(before, after)
    if parts is not None:
        for name, left, right in parts:
            yield from lossy_places(left, right, place + name)
    elif not _is_kept(before, after):
        yield place, before


def describe(value: Any) -> str:
    """A value for an error message: its type, and as much of it as is useful."""
    text = repr(value)
    return f"{type(value).__name__} ({text if len(text) <= 80 else text[:77] + '...'})"


def _parts(before: Any, after: Any) -> list[tuple[str, Any, Any]] | None:
    """What two values are made of, part by part with its name; ``None`` if they have no parts in common."""
    if isinstance(before, msgspec.Struct) or dataclasses.is_dataclass(before):
        if type(before) is not type(after):
            return None
        names = before.__struct_fields__ if isinstance(before, msgspec.Struct) else _field_names(before)
        return [(f".{name}", getattr(before, name), getattr(after, name)) for name in names]
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        if not all(key in after for key in before):
            return None
        return [(f"[{key!r}]", value, after[key]) for key, value in before.items()]
    if isinstance(before, list | tuple) and type(before) is type(after) and len(before) == len(after):
        return [(f"[{index}]", before[index], after[index]) for index in range(len(before))]
    return None


def _is_kept(before: Any, after: Any) -> bool:
    if isinstance(before, datetime | time) and isinstance(after, datetime | time):
        # Not by ==: moments in an hour that a clock repeats or leaves out are equal to none in another zone.
        return _clock(before) == _clock(after)
    return bool(before == after)


def _clock(value: datetime | time) -> tuple[object, ...]:
    """What a clock shows, and how far it is from UTC; a zone that has to know the day has no such distance."""
    offset = value.utcoffset()
    zone = "unknown" if offset is None and value.tzinfo is not None else offset
    return value.replace(tzinfo=None, fold=0), zone


def _written_out(found: re.Match[bytes]) -> bytes:
    """A float with an exponent, written so that it stays a float: Postgres keeps ``1e16`` as an integer."""
    if found[1] is None:
        return found[0]
    return b"%d.0" % int(Decimal(found[0].decode()))


def _field_names(value: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(value)]


def _depth(raw: bytes) -> int:
    deepest = depth = 0
    for found in _TEXT_OR_BRACKET.finditer(raw):
        if found[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in b"]}":
            depth -= 1
    return deepest


def _non_finite(value: Any, place: str) -> Iterator[tuple[str, float | Decimal]]:
    if isinstance(value, float | Decimal):
        if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _non_finite(key, place)
            yield from _non_finite(item, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _non_finite(item, f"{place}[{index}]")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _non_finite(getattr(value, name), f"{place}.{name}")
    elif dataclasses.is_dataclass(value):
        for name in _field_names(value):
            yield from _non_finite(getattr(value, name), f"{place}.{name}")
