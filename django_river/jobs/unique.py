"""Unique jobs: the options, and the key that River clients in every language compute alike (PROTOCOL 3)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from django_river.jobs.states import State, bit_mask

DEFAULT_STATES = frozenset(State) - {State.CANCELLED, State.DISCARDED}
REQUIRED_STATES = frozenset({State.AVAILABLE, State.PENDING, State.RUNNING, State.SCHEDULED})
_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """Only one job per key, in any of ``by_state``.

    The key is the kind and whatever is switched on; a second job with the same key is not inserted: ``enqueue``
    returns the first one, with ``skipped_as_duplicate`` set.

    ``by_args``
        ``True`` for all arguments, or the names of those that count (dots reach into objects).
    ``by_period``
        One job per span of time, counted from ``run_after`` or now. At least a second.
    ``by_queue``
        Count each queue by itself.
    ``by_state``
        The states in which a job holds its key. By default all but cancelled and discarded.
    ``exclude_kind``
        Leave the kind out of the key, so jobs of different kinds exclude one another.

    >>> Unique(by_args=["order_id"], by_period=timedelta(hours=1)).mask
    245
    """

    by_args: bool | tuple[str, ...] | list[str] = False
    by_period: timedelta | None = None
    by_queue: bool = False
    by_state: frozenset[State] | set[State] | tuple[State, ...] | list[State] = DEFAULT_STATES
    exclude_kind: bool = False

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "by_state", frozenset(State(state) for state in self.by_state))
        except ValueError as error:
            raise ValueError(f"by_state: {error}; known states are {', '.join(State)}") from error
        given: object = self.by_args
        if not isinstance(given, bool):
            if not isinstance(given, list | tuple) or not all(
                isinstance(path, str) and path for path in given
            ):
                raise TypeError(f"by_args must be True or a list of names, got {given!r}")
            object.__setattr__(self, "by_args", tuple(given))
        missing = REQUIRED_STATES - frozenset(self.by_state)
        if missing:
            raise ValueError(f"by_state must contain {', '.join(sorted(missing))}")
        period: object = self.by_period
        if period is not None and not isinstance(period, timedelta):
            raise TypeError(f"by_period must be a timedelta, got {period!r}")
        if self.by_period is not None and self.by_period < timedelta(seconds=1):
            raise ValueError(f"by_period must be at least one second, got {self.by_period!r}")
        if not (self.by_args or self.by_period or self.by_queue or self.by_state != DEFAULT_STATES):
            raise ValueError("a unique job needs at least one of by_args, by_period, by_queue, by_state")

    @property
    def mask(self) -> int:
        """``unique_states`` as an integer."""
        return bit_mask(frozenset(self.by_state))

    def key(self, *, kind: str, args: bytes, queue: str, scheduled_at: datetime) -> bytes:
        """The 32 bytes of ``unique_key``; ``args`` is the encoded JSON object."""
        parts = []
        if not self.exclude_kind:
            parts.append(f"&kind={kind}")
        if self.by_args:
            parts.append(f"&args={self._args_text(args)}")
        if self.by_period is not None:
            parts.append(f"&period={_period_start(scheduled_at, self.by_period)}")
        if self.by_queue:
            parts.append(f"&queue={queue}")
        return hashlib.sha256("".join(parts).encode()).digest()

    def _args_text(self, args: bytes) -> str:
        values = msgspec.json.decode(args)
        if self.by_args is not True:
            values = _chosen(values, self.by_args or ())
        return canonical_json({name: values[name] for name in sorted(values)})


def canonical_json(value: Any) -> str:
    """Encode as Go's ``encoding/json`` would, so that hashes agree between languages; keys stay in their order."""
    match value:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case int():
            return str(value)
        case float():
            return _number(value)
        case str():
            return _string(value)
        case Mapping():
            return "{" + ",".join(f"{_string(k)}:{canonical_json(v)}" for k, v in value.items()) + "}"
        case _:
            return "[" + ",".join(map(canonical_json, value)) + "]"


def _chosen(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for path in sorted(paths):
        source: Any = values
        *parents, last = path.split(".")
        for name in parents:
            source = source.get(name) if isinstance(source, Mapping) else None
        if isinstance(source, Mapping) and last in source:
            target = chosen
            for name in parents:
                target = target.setdefault(name, {})
            target[last] = source[last]
    return chosen


def _period_start(moment: datetime, period: timedelta) -> str:
    moment = moment.astimezone(UTC)
    start = moment - (moment - _YEAR_ONE) % period
    return start.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


_ESCAPED = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _string(text: str) -> str:
    return '"' + _ESCAPED.sub(lambda m: _SHORT.get(m[0]) or f"\\u{ord(m[0]):04x}", text) + '"'


def _number(value: float) -> str:
    """The shortest text that reads back as the same float; exponent form below 1e-6 and from 1e21 on."""
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    digits, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = digits.partition(".")
    point = len(whole) + int(exponent or 0)
    figures = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(figures)
    figures = figures.rstrip("0")
    sign = "-" if value < 0 else ""
    if not 1e-6 <= abs(value) < 1e21:
        mantissa = figures[0] + ("." + figures[1:] if figures[1:] else "")
        return f"{sign}{mantissa}e{point - 1:+d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{figures}"
    if point >= len(figures):
        return f"{sign}{figures}{'0' * (point - len(figures))}"
    return f"{sign}{figures[:point]}.{figures[point:]}"
