"""What a setting is: its name, its default, what it takes in words, and the check of a value."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

#: No span is longer than ten years: beyond that a moment may not exist.
MAX_SECONDS = 315_360_000
#: A retention that never ends.
KEEP = -1.0


@dataclass(frozen=True, slots=True)
class Option:
    """One key of ``DJANGO_RIVER``: its default, what it takes in words, and the check of a value."""

    name: str
    default: Any
    takes: str
    accepts: Callable[[Any], bool]
    meaning: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings, as a system check reports it."""

    id: str
    text: str
    hint: str


def is_int(low: int, high: int | None = None) -> Callable[[Any], bool]:
    """A check for whole numbers; a bool is none."""
    return lambda value: (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= low
        and (high is None or value <= high)
    )


def is_seconds(value: Any, *, zero: bool = False) -> bool:
    """Whether this is a span: a number of seconds, or a timedelta."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (value >= 0 if zero else value > 0) and value <= MAX_SECONDS


def is_retention(value: Any) -> bool:
    """Whether this is a span, of no length perhaps, or :data:`KEEP`."""
    return is_seconds(value, zero=True) or (not isinstance(value, bool) and value == KEEP)


def optional(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """The same check, or ``None``."""
    return lambda value: value is None or accepts(value)


def is_bool(value: Any) -> bool:
    """Whether this is true or false."""
    return isinstance(value, bool)


def is_labels(value: Any) -> bool:
    """Whether this is a mapping of text to text, none of it empty."""
    return isinstance(value, Mapping) and all(
        isinstance(part, str) and part for item in value.items() for part in item
    )


def seconds(value: float | timedelta) -> float:
    """A span in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def did_you_mean(key: object, known: Iterable[str]) -> str:
    """The known name that is closest, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(str(key).upper(), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(known)}."


def option_problems(raw: Mapping[Any, Any], options: tuple[Option, ...], *, where: str) -> Iterator[Problem]:
    """What is wrong with a dict of options."""
    known = {option.name: option for option in options}
    for key, value in raw.items():
        option = known.get(key)
        if option is None:
            yield Problem("E002", f"{where} has an unknown key {key!r}.", did_you_mean(key, known))
        elif not option.accepts(value):
            yield Problem("E003", f"{where}[{key!r}] must be {option.takes}, not {value!r}.", option.meaning)
