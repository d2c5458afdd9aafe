"""Cron expressions, to the letter as River takes them, in a time zone; croniter finds what matches on the clock's face."""

from __future__ import annotations

import copy
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from croniter import croniter

DESCRIPTORS: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: What every message about a wrong expression ends with.
ALLOWED = (
    "allowed are five fields (minute 0-59, hour 0-23, day of month 1-31, month 1-12 or JAN-DEC, day of week 0-6 or "
    "SUN-SAT) of *, ?, numbers, ranges a-b, steps /n and lists a,b; "
    f"{', '.join(DESCRIPTORS)}; '@every 1h30m'; each after 'TZ=Area/City ' if need be"
)

_MINUTE = timedelta(minutes=1)
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_NUMBER = re.compile(r"[0-9]{1,4}\Z")


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five fields: its bounds, and names that stand for numbers."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)

    def parse(self, text: str) -> Chosen:
        """The values that a field's text chooses. Raises :class:`ValueError`."""
        values: set[int] = set()
        is_star = False
        items = [item for item in text.split(",") if item]
        if not items:
            raise ValueError(f"{self.name} must not be empty, got {text!r}")
        for item in items:
            chosen = self._parse_item(item)
            values |= chosen.values
            is_star |= chosen.is_star
        return Chosen(frozenset(values), is_star=is_star, is_full=len(values) == self.high - self.low + 1)

    def _parse_item(self, item: str) -> Chosen:
        span, slash, step_text = item.partition("/")
        step = self._number(step_text, item) if slash else 1
        if step == 0:
            raise ValueError(f"{self.name} must have a step above 0, got {item!r}")
        if span in ("*", "?"):
            low, high = self.low, self.high
        else:
            first, hyphen, last = span.partition("-")
            low = self._value(first, item)
            # "5/15" is "from 5 on, every 15".
            high = self._value(last, item) if hyphen else self.high if slash else low
        if low > high:
            raise ValueError(f"{self.name} must have ranges from low to high, got {item!r}")
        return Chosen(frozenset(range(low, high + 1, step)), is_star=span in ("*", "?") and step == 1)

    def _value(self, text: str, item: str) -> int:
        value = self.names.get(text.lower())
        if value is None:
            value = self._number(text, item)
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.name} must be from {self.low} to {self.high}, got {item!r}")
        return value

    def _number(self, text: str, item: str) -> int:
        if not _NUMBER.match(text):
            raise ValueError(f"{self.name} cannot be {item!r}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The values of one field."""

    values: frozenset[int]
    #: Whether it says ``*`` or ``?``: then a day is chosen by the other day field alone.
    is_star: bool
    is_full: bool = False

    def __str__(self) -> str:
        return "*" if self.is_full else ",".join(map(str, sorted(self.values)))


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, {name: number for number, name in enumerate(MONTHS, 1)}),
    Field("day of week", 0, 6, {name: number for number, name in enumerate(WEEKDAYS)}),
)


@dataclass(frozen=True, slots=True)
class Fields:
    """What an expression chooses, field by field."""

    minute: Chosen
    hour: Chosen
    day: Chosen
    month: Chosen
    weekday: Chosen

    @classmethod
    def parse(cls, text: str) -> Fields:
        """Read five fields, or a descriptor. Raises :class:`ValueError`."""
        if text.startswith("@") and text not in DESCRIPTORS:
            raise ValueError(f"{text.split(maxsplit=1)[0]} is not known")
        parts = DESCRIPTORS.get(text, text).split()
        if len(parts) != len(FIELDS):
            raise ValueError(f"{len(parts)} field{'s' if len(parts) != 1 else ''} instead of five")
        fields = cls(*(field.parse(part) for field, part in zip(FIELDS, parts, strict=True)))
        if not fields._can_match():
            raise ValueError("no month has such a day")
        return fields

    @property
    def takes_either_day(self) -> bool:
        """Whether a day may be chosen by its number *or* its name: so it is if neither field is a star."""
        return not (self.day.is_star or self.weekday.is_star)

    def __str__(self) -> str:
        """The same in the plainest words, which croniter cannot misunderstand."""
        day, weekday = self.day, self.weekday
        if self.takes_either_day and (day.is_full or weekday.is_full):
            return f"{self.minute} {self.hour} * {self.month} *"
        return f"{self.minute} {self.hour} {day} {self.month} {weekday}"

    def _can_match(self) -> bool:
        longest = max(_LONGEST_MONTHS[month - 1] for month in self.month.values)
        return self.takes_either_day or min(self.day.values) <= longest


class Cron:
    """Runs at the times of a clock in a time zone that match an expression.

    Where the clock is put forward or back:

    - A time that is left out runs at the next minute that exists, once, even if several were left out. Only
      an expression for every hour (``30 * * * *``) goes on with the next hour instead: it has one.
    - A time that comes twice runs the first time. Only what is about the passing of time, expressions for every hour or
      with a step in the minutes (``*/30 1-4 * * *``), runs each time.

    >>> Cron("30 2 * * *", "Europe/Paris").after(datetime(2026, 3, 28, 12, tzinfo=UTC))
    datetime.datetime(2026, 3, 29, 1, 0, tzinfo=datetime.timezone.utc)
    """

    def __init__(self, expression: str, timezone: str) -> None:
        self.expression = expression
        self.timezone = timezone
        self.fields = Fields.parse(expression)

        self._zone = ZoneInfo(timezone)
        self._matches = croniter(str(self.fields), datetime(2000, 1, 1))  # noqa: DTZ001  (a clock's face)
        minutes = DESCRIPTORS.get(expression, expression).split()[0]
        self._leaves_out = self.fields.hour.is_full
        self._repeats = self.fields.hour.is_full or self.fields.minute.is_full or "/" in minutes

    def after(self, moment: datetime, *, anchor: datetime | None = None) -> datetime:
        """The first run after a moment, in UTC. ``anchor`` is for intervals."""
        wall = moment.astimezone(self._zone).replace(tzinfo=None, fold=0, second=0, microsecond=0)
        # First times follow one another as their clock times do, so the first that is later is the next.
        runs = (self._first_time(time) for time in self._clock_times(wall))
        found = next(run for run in runs if run is not None and run > moment)
        again = self._second_time_after(moment, wall) if self._repeats else None
        return found if again is None else min(found, again)

    def due(self, planned: datetime, now: datetime, limit: int) -> list[datetime]:
        """The newest ``limit`` runs from a planned one, which counts in any case, to now; the oldest first."""
        planned, now = planned.astimezone(UTC), now.astimezone(UTC)
        span = limit * _MINUTE
        while True:
            since = max(planned, now - span)
            runs = list(self._runs(since, now))
            if since == planned:
                return [planned, *runs][-limit:]
            if len(runs) >= limit:
                return runs[-limit:]
            span *= 2

    def first(self, now: datetime, *, start_at: datetime | None) -> datetime:
        """The first run of a new entry."""
        if start_at is None or start_at <= now:
            return self.after(now)
        return self.after(start_at - timedelta(microseconds=1))

    def _runs(self, since: datetime, until: datetime) -> Iterator[datetime]:
        while (since := self.after(since)) <= until:
            yield since

    def _clock_times(self, wall: datetime) -> Iterator[datetime]:
        """Matching times on the clock's face, after this one."""
        matches = copy.copy(self._matches)
        matches.set_current(wall)
        while True:
            yield matches.get_next(datetime)

    def _offsets(self, wall: datetime) -> tuple[timedelta, timedelta]:
        """How far this clock time is from UTC, before and after the clock was changed if that was about then."""
        before = wall.replace(tzinfo=self._zone, fold=0).utcoffset()
        after = wall.replace(tzinfo=self._zone, fold=1).utcoffset()
        assert before is not None
        assert after is not None
        return before, after

    def _first_time(self, wall: datetime) -> datetime | None:
        before, after = self._offsets(wall)
        if before >= after:
            return (wall - before).replace(tzinfo=UTC)
        return None if self._leaves_out else self._end_of_gap(wall, before, after)

    def _end_of_gap(self, wall: datetime, before: timedelta, after: timedelta) -> datetime:
        """When the clock was put forward over this time."""
        early = (wall - after).replace(tzinfo=UTC)
        seconds = range(int((after - before).total_seconds()) + 1)

        def is_changed(second: int) -> bool:
            return (early + timedelta(seconds=second)).astimezone(self._zone).utcoffset() == after

        return early + timedelta(seconds=bisect_left(seconds, True, key=is_changed))

    def _second_time_after(self, moment: datetime, wall: datetime) -> datetime | None:
        """The next run in an hour that the clock shows again; for a moment in such an hour only."""
        before, after = self._offsets(wall)
        size = before - after
        if size <= timedelta(0):
            return None
        around = takewhile(lambda time: time <= wall + size, self._clock_times(wall - size - _MINUTE))
        for time in around:
            first, second = self._offsets(time)
            run = (time - second).replace(tzinfo=UTC)
            if first > second and run > moment:
                return run
        return None
