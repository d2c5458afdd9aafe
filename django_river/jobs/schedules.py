"""When a periodic job runs: a cron expression, or an interval without drift. Pure: whoever asks says what time it is."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from django_river.jobs.cron import ALLOWED, Cron

SHORTEST = timedelta(milliseconds=100)
LONGEST = timedelta(days=3650)

_UNITS = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|μs|ns)"
_DURATION = re.compile(rf"(?:{_PART})+\Z", re.ASCII)
_EVERY = "@every "
#: Names that mean another zone on each machine.
_OF_THE_MACHINE = frozenset({"local", "localtime"})


class Schedule(Protocol):
    """Moments, one after the other; all are aware, and answers are in UTC."""

    def first(self, now: datetime, *, start_at: datetime | None) -> datetime:
        """The first run of a new entry: never before ``start_at``."""
        ...

    def after(self, moment: datetime, *, anchor: datetime) -> datetime:
        """The first run after a moment, for an entry of which ``anchor`` is any run."""
        ...

    def due(self, planned: datetime, now: datetime, limit: int) -> list[datetime]:
        """The newest ``limit`` runs from a planned one to now, the oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """A run every so often, counted from run to run: however late one comes, the next is where it was to be.

    >>> midnight = datetime(2026, 1, 1, tzinfo=UTC)
    >>> Interval(timedelta(hours=1)).after(midnight + timedelta(minutes=130), anchor=midnight)
    datetime.datetime(2026, 1, 1, 3, 0, tzinfo=datetime.timezone.utc)
    """

    every: timedelta

    # Everywhere in UTC: sums and differences of moments in another zone are those of its clock.

    def first(self, now: datetime, *, start_at: datetime | None) -> datetime:
        """At ``start_at`` if that is to come, else as many intervals later; without one, an interval from now."""
        if start_at is None:
            return now.astimezone(UTC) + self.every
        return start_at.astimezone(UTC) if start_at > now else self.after(now, anchor=start_at)

    def after(self, moment: datetime, *, anchor: datetime) -> datetime:
        """The first run after a moment; floor division of spans is exact."""
        moment, anchor = moment.astimezone(UTC), anchor.astimezone(UTC)
        return anchor + ((moment - anchor) // self.every + 1) * self.every

    def due(self, planned: datetime, now: datetime, limit: int) -> list[datetime]:
        """The newest ``limit`` runs from a planned one to now, the oldest first."""
        planned, now = planned.astimezone(UTC), now.astimezone(UTC)
        last = (now - planned) // self.every
        return [planned + number * self.every for number in range(max(0, last + 1 - limit), last + 1)]


def parse_cron(text: str, *, timezone: str) -> Cron | Interval:
    """Read what River takes for a schedule; a ``TZ=`` in front of it goes before ``timezone``.

    Raises :class:`ValueError` with the reason, and with what is allowed.
    """
    rest = text.strip()
    try:
        prefix, zone, rest = _split_zone(rest)
        if rest.startswith(_EVERY):
            return Interval(_parse_every(rest.removeprefix(_EVERY)))
        return Cron(" ".join(rest.split()), check_timezone(zone if prefix else timezone))
    except ValueError as error:
        raise ValueError(f"cron {text!r}: {error}; {ALLOWED}") from error


def names_a_timezone(text: str) -> bool:
    """Whether an expression brings a time zone of its own."""
    return text.strip().startswith(("TZ=", "CRON_TZ="))


def check_timezone(name: object) -> str:
    """A time zone's name. Raises :class:`ValueError` if there is none of that name."""
    if isinstance(name, str) and name.lower() not in _OF_THE_MACHINE:
        with suppress(LookupError, OSError, ValueError):
            ZoneInfo(name)
            return name
    raise ValueError(
        f"timezone must be a name of the IANA database, such as 'Europe/Paris' or 'UTC', got {name!r}"
    )


def check_interval(every: timedelta) -> timedelta:
    """An interval that can be kept. Raises :class:`ValueError`."""
    if not SHORTEST <= every <= LONGEST:
        raise ValueError(f"every must be from 100 ms to ten years, got {every!r}")
    return every


def _split_zone(text: str) -> tuple[bool, str, str]:
    if not names_a_timezone(text):
        return False, "", text
    prefix, _, rest = text.partition(" ")
    return True, prefix.partition("=")[2], rest.strip()


def _parse_every(text: str) -> timedelta:
    """A duration as Go writes it. River knows whole seconds only and would round the rest away; we refuse it."""
    text = text.strip()
    if not _DURATION.match(text):
        raise ValueError(f"@every takes a duration such as 90s, 5m or 1h30m, got {text!r}")
    seconds = sum((Decimal(number) * _UNITS[unit] for number, unit in re.findall(_PART, text)), Decimal(0))
    if seconds < 1 or seconds % 1:
        raise ValueError(f"@every takes whole seconds, got {text!r}; say every=timedelta(…) for less")
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"@every takes no more than ten years, got {text!r}")
    return timedelta(seconds=int(seconds))
