"""JSON that both databases can hold, and that reads back as it was: what cannot is refused here.

Postgres refuses NUL, lone surrogates, NaN and infinity; SQLite stores some of them. Both must refuse alike, and
before the statement, because an error inside the caller's transaction would spoil it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from django_river.exceptions import ArgumentTypeError, ArgumentValueError

#: How many lists and objects may stand inside one another.
MAX_DEPTH = 100

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _plain(value: Any) -> Any:
    """What is a text in all but its type, such as the ``SafeString`` of a rendered template, is stored as one."""
    if isinstance(value, str):
        # Unlike an f-string, this does not ask the subclass for its own idea of a text.
        return "".join([value])  # noqa: FLY002
    raise TypeError(f"encoding objects of type {type(value).__name__} is unsupported")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode_json(value: Any, *, what: str, limit: int) -> bytes:
    """Encode a value as JSON of at most ``limit`` bytes.

    Raises :class:`ArgumentTypeError` for types JSON has no word for, and :class:`ArgumentValueError` for NaN,
    infinity, NUL, lone surrogates, what is nested deeper than :data:`MAX_DEPTH`, and what is too large.
    """
    raw = encode_checked(value, what=what, limit=limit)
    found = next(lossy_places(value, msgspec.json.decode(raw)), None)
    if found is not None:
        place, thing = found
        raise ArgumentTypeError(f"{what}{place}: expected a JSON value, got {describe(thing)}")
    return raw


def encode_checked(value: Any, *, what: str, limit: int, depth: int = 0) -> bytes:
    """Encode, and refuse what a database could not store; types that change on the way are not looked for.

    ``depth`` is how many levels stand around the value already.
    """
    try:
        raw = _encoder.encode(value)
    except UnicodeEncodeError as error:
        raise ArgumentValueError(f"{what}: text must not contain lone surrogates ({error})") from error
    except RecursionError as error:
        raise ArgumentValueError(f"{what}: nested deeper than {MAX_DEPTH} levels") from error
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise ArgumentTypeError(f"{what}: {error}") from error
    if len(raw) > limit:
        raise ArgumentValueError(f"{what}: {len(raw)} bytes of JSON, more than the limit of {limit}")
    if b"\\u0000" in raw and _NUL.search(raw):
        raise ArgumentValueError(f"{what}: text must not contain NUL characters")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH - depth and _depth(raw) > MAX_DEPTH - depth:
        raise ArgumentValueError(f"{what}: nested deeper than {MAX_DEPTH} levels")
    if b"null" in raw:
        for place, number in _non_finite(value, ""):
            raise ArgumentValueError(f"{what}{place}: expected a finite number, got {number!r}")
    return raw


def lossy_places(before: Any, after: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Find what did not survive the way to JSON and back: sets, tuples and bytes where no type asks for them."""
    if type(before) is type(after) and before == after:
        return
    if isinstance(before, msgspec.Struct) or dataclasses.is_dataclass(before):
        if type(before) is not type(after):
            yield place, before
            return
        names = before.__struct_fields__ if isinstance(before, msgspec.Struct) else _field_names(before)
        for name in names:
            yield from lossy_places(getattr(before, name), getattr(after, name), f"{place}.{name}")
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key, value in before.items():
            if key in after:
                yield from lossy_places(value, after[key], f"{place}[{key!r}]")
            else:
                yield place, before
    elif isinstance(before, list | tuple) and type(before) is type(after) and len(before) == len(after):
        for index, (left, right) in enumerate(zip(before, after, strict=True)):
            yield from lossy_places(left, right, f"{place}[{index}]")
    elif before != after:
        yield place, before


def describe(value: Any) -> str:
    """A value for an error message: its type, and as much of it as is useful."""
    text = repr(value)
    return f"{type(value).__name__} ({text if len(text) <= 80 else text[:77] + '...'})"


def _field_names(value: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(value)]


def _depth(raw: bytes) -> int:
    deepest = depth = 0
    in_text = escaped = False
    for byte in raw:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_text = False
        elif byte == 0x22:
            in_text = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _non_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
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
