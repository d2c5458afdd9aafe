"""A schedule in words, for people: ``every 250 ms``, ``at 03:00, Monday to Friday (Europe/Paris)``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from django_river.jobs.cron import Cron
from django_river.jobs.schedules import Interval

#: An expression with more times of day than this is said by its fields.
MOST_TIMES = 6

_UNITS = (
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1000),
    ("µs", 1),
)
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def describe(schedule: Cron | Interval) -> str:
    """The schedule in words.

    >>> describe(Cron("30 6,18 * * MON-FRI", "UTC"))
    'at 06:30 and 18:30, Monday to Friday (UTC)'
    """
    if isinstance(schedule, Interval):
        return f"every {describe_span(schedule.every)}"
    days = _days(schedule)
    return f"{_times(schedule)}{', ' + days if days else ''} ({schedule.timezone})"


def describe_span(span: timedelta) -> str:
    """A span in all its units.

    >>> describe_span(timedelta(hours=1, minutes=30))
    '1 h 30 min'
    """
    rest = span // timedelta(microseconds=1)
    parts = []
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts) or "0 s"


def _times(cron: Cron) -> str:
    minutes, hours = sorted(cron.fields.minute.values), sorted(cron.fields.hour.values)
    if minutes == [0] and (step := _step(hours, 24)) and step < 24:
        return _every(step, "hour")
    if len(minutes) * len(hours) <= MOST_TIMES:
        times = _listed([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes])
        return f"at {times}" if _days(cron) else f"every day at {times}"
    step = _step(minutes, 60)
    said = _every(step, "minute") if step else f"at {_counted('minute', minutes)}"
    if cron.fields.hour.is_full:
        return said if step else f"{said} of every hour"
    return f"{said} of {_counted('hour', hours)}"


def _days(cron: Cron) -> str:
    fields = cron.fields
    numbered = "" if fields.day.is_full else f"{_counted('day', sorted(fields.day.values))} of the month"
    named = "" if fields.weekday.is_full else _spans(sorted(fields.weekday.values), lambda day: _DAYS[day])
    if fields.takes_either_day and not (numbered and named):
        # One of them lists every day there is.
        numbered = named = ""
    months = sorted(fields.month.values)
    parts = [
        (" or " if fields.takes_either_day else ", ").join(filter(None, [numbered, named])),
        "" if fields.month.is_full else f"in {_spans(months, lambda month: _MONTHS[month - 1])}",
    ]
    return ", ".join(filter(None, parts))


def _every(step: int, unit: str) -> str:
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _counted(unit: str, values: Sequence[int]) -> str:
    return f"{unit if len(values) == 1 else unit + 's'} {_spans(values, str)}"


def _step(values: Sequence[int], size: int) -> int | None:
    """How far apart, if these are all the values so far apart, from zero on, and go round evenly."""
    step = size // len(values)
    return step if list(values) == list(range(0, size, step)) and not size % step else None


def _spans(values: Collection[int], name: Callable[[int], str]) -> str:
    """``1 to 5 and 7``: three and more in a row as a span."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts: list[str] = []
    for run in runs:
        if len(run) > 2:
            parts.append(f"{name(run[0])} to {name(run[-1])}")
        else:
            parts += [name(value) for value in run]
    return _listed(parts)


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
