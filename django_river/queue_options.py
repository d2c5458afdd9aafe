"""What may be said of a queue, in the settings and at run time, and which of several sayings holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from django_river.option import (
    Option,
    did_you_mean,
    is_bool,
    is_int,
    is_labels,
    is_retention,
    is_seconds,
    optional,
    seconds,
)

MAX_WORKERS_LIMIT = 10_000
_RATE = re.compile(r"(\d{1,9})/(\d{0,9})([smhd])\Z")
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class RateLimit(NamedTuple):
    """So many jobs may begin in any period of so many seconds."""

    jobs: int
    seconds: float

    @classmethod
    def read(cls, value: Any) -> RateLimit | None:
        """``"100/m"``, ``"5/10s"``, or a pair of a number and a span; ``None`` for what is neither."""
        if isinstance(value, str):
            found = _RATE.match(value)
            if found is None:
                return None
            count, factor, unit = found.groups()
            value = int(count), float(factor or 1) * _PERIODS[unit]
        if not isinstance(value, tuple | list) or len(value) != 2:
            return None
        count, period = value
        if not is_int(1, 10**9)(count) or not is_seconds(period) or seconds(period) < 0.1:
            return None
        return cls(count, seconds(period))

    def __str__(self) -> str:
        for unit, length in reversed(_PERIODS.items()):
            if self.seconds % length == 0:
                factor = int(self.seconds // length)
                return f"{self.jobs}/{'' if factor == 1 else factor}{unit}"
        return f"{self.jobs} in {self.seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """Between how many workers a queue moves, and for how many seconds its jobs should wait at most."""

    minimum: int = 1
    maximum: int = 10
    target_latency: float = 1.0

    @classmethod
    def read(cls, value: Any) -> Autoscale | None:
        """A dict with ``MIN``, ``MAX`` and ``TARGET_LATENCY``; ``None`` for what is none."""
        if isinstance(value, Autoscale):
            return value
        if not isinstance(value, Mapping) or not {"MAX"} <= set(value) <= {"MIN", "MAX", "TARGET_LATENCY"}:
            return None
        least, most, target = value.get("MIN", 1), value["MAX"], value.get("TARGET_LATENCY", 1.0)
        if not is_int(1, MAX_WORKERS_LIMIT)(most) or not is_int(1, most)(least) or not is_seconds(target):
            return None
        return cls(minimum=least, maximum=most, target_latency=seconds(target))

    def as_dict(self) -> dict[str, Any]:
        """As it is written in the settings."""
        return {"MIN": self.minimum, "MAX": self.maximum, "TARGET_LATENCY": self.target_latency}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """One queue's settings. Spans are in seconds."""

    max_workers: int = 10
    leader_only: bool = False
    min_workers: int = 0
    weight: int = 1
    global_max_workers: int | None = None
    rate_limit: RateLimit | None = None
    priority_ageing: float | None = None
    timeout: float | None = None
    max_attempts: int | None = None
    on: Mapping[str, str] = field(default_factory=dict)
    autoscale: Autoscale | None = None
    completed_retention: float | None = None
    cancelled_retention: float | None = None
    discarded_retention: float | None = None

    @property
    def most_workers(self) -> int:
        """How many workers it may come to have on a client."""
        return self.max_workers if self.autoscale is None else self.autoscale.maximum

    @property
    def is_limited(self) -> bool:
        """Whether a claim has to count what others do, or to look at how long jobs have waited."""
        return (
            self.global_max_workers is not None
            or self.rate_limit is not None
            or self.priority_ageing is not None
        )

    def is_for(self, labels: Mapping[str, str]) -> bool:
        """Whether a client with these labels is to work it."""
        return all(labels.get(name) == value for name, value in self.on.items())


QUEUE_OPTIONS = (
    Option(
        "MAX_WORKERS", 10, "an int from 1 to 10000", is_int(1, MAX_WORKERS_LIMIT),
        "Jobs of this queue that one process works at once.",
    ),
    Option(
        "LEADER_ONLY", False, "a bool", is_bool,
        "Whether only the leader works this queue, and the next leader takes it over.",
    ),
    Option(
        "MIN_WORKERS", 0, "an int from 0 to 10000", is_int(0, MAX_WORKERS_LIMIT),
        "Slots of a process that no other queue may take.",
    ),
    Option(
        "WEIGHT", 1, "an int from 1 to 1000", is_int(1, 1000),
        "This queue's share of a process's slots beside other queues that have work.",
    ),
    Option(
        "GLOBAL_MAX_WORKERS", None, "an int from 1 to 10000, or None", optional(is_int(1, MAX_WORKERS_LIMIT)),
        "Jobs of this queue that all processes together work at once, never one more.",
    ),
    Option(
        "RATE_LIMIT", None, "a text such as '100/m' or '5/10s', or a number and a span, or None",
        optional(lambda v: RateLimit.read(v) is not None),
        "How many jobs of this queue may begin in any such period, in all processes together.",
    ),
    Option(
        "PRIORITY_AGEING", None, "seconds or a timedelta above 0, or None", optional(is_seconds),
        "After so long a wait a job counts as one priority higher, and again after as long.",
    ),
    Option(
        "TIMEOUT", None, "seconds or a timedelta above 0, or None", optional(is_seconds),
        "How long an attempt may take unless the job says otherwise; None is `JOB_TIMEOUT`.",
    ),
    Option(
        "MAX_ATTEMPTS", None, "an int from 1 to 32767, or None", optional(is_int(1, 32767)),
        "Attempts a job of this queue has unless it says otherwise; None is the other `MAX_ATTEMPTS`.",
    ),
    Option(
        "ON", {}, "a dict of str to str", is_labels,
        "Labels that a process must have to work this queue.",
    ),
    Option(
        "AUTOSCALE", None, "a dict of MIN, MAX and TARGET_LATENCY, or None",
        optional(lambda v: Autoscale.read(v) is not None),
        "Move `MAX_WORKERS` between MIN and MAX, so that jobs wait for TARGET_LATENCY seconds at most.",
    ),
    *(
        Option(
            f"{state}_RETENTION", None, "seconds or a timedelta, 0 or more, or -1, or None", optional(is_retention),
            f"How long {state.lower()} jobs of this queue are kept; None is as long as those of others.",
        )
        for state in ("COMPLETED", "CANCELLED", "DISCARDED")
    ),
)  # fmt: skip

NAMES = tuple(option.name.lower() for option in QUEUE_OPTIONS)
_OPTIONS = {option.name: option for option in QUEUE_OPTIONS}
_READ = {
    "autoscale": Autoscale.read,
    "cancelled_retention": seconds,
    "completed_retention": seconds,
    "discarded_retention": seconds,
    "priority_ageing": seconds,
    "rate_limit": RateLimit.read,
    "timeout": seconds,
}


def read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options, by whatever case, as the fields of :class:`QueueConfig` have them."""
    values: dict[str, Any] = {}
    for key, value in options.items():
        name = key.lower()
        reader = _READ.get(name)
        values[name] = value if value is None or reader is None else reader(value)
    return values


def said(raw: str) -> dict[str, Any]:
    """What a row says, as fields. What this release does not know, or would refuse, says nothing: another one may."""
    found: Any = json.loads(raw)
    return read(
        {
            name: value
            for name, value in (found.items() if isinstance(found, Mapping) else ())
            if name.islower() and name.upper() in _OPTIONS and _OPTIONS[name.upper()].accepts(value)
        }
    )


def written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a row keeps them: what JSON knows, and :func:`read` takes."""
    values: dict[str, Any] = {}
    for name, value in read(settings).items():
        if isinstance(value, Autoscale):
            values[name] = value.as_dict()
        elif isinstance(value, RateLimit):
            values[name] = [value.jobs, value.seconds]
        else:
            values[name] = dict(value) if isinstance(value, Mapping) else value
    return values


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that a queue cannot have, with the name, the rule and the value.

    Raises :class:`TypeError` for a name that is none, and :class:`ValueError` for a value.
    """
    for name, value in settings.items():
        option = _OPTIONS.get(name.upper()) if name.islower() else None
        if option is None:
            raise TypeError(f"a queue has no setting {name!r}. {did_you_mean(name, _OPTIONS).lower()}")
        if not option.accepts(value):
            raise ValueError(f"{name} must be {option.takes}, got {value!r}")


def conflict(config: QueueConfig) -> str | None:
    """Say what settings cannot stand beside one another, or return ``None``."""
    if config.min_workers > config.most_workers:
        return f"min_workers ({config.min_workers}) must not be more than max_workers ({config.most_workers})"
    if config.global_max_workers is not None and config.min_workers > config.global_max_workers:
        return (
            f"min_workers ({config.min_workers}) must not be more than "
            f"global_max_workers ({config.global_max_workers})"
        )
    return None


def is_pattern(name: str) -> bool:
    """Whether this stands for all queues whose names match."""
    return "*" in name or "?" in name


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a queue is among names and patterns."""
    return any(fnmatchcase(name, pattern) if is_pattern(pattern) else name == pattern for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Effective:
    """A queue's settings as they hold, and where each one comes from."""

    config: QueueConfig
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class QueueLayers:
    """What the settings say of queues, as fields: of all, of those that match a pattern, of one by its name."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def patterns(self) -> list[str]:
        """The patterns, from the one with the fewest letters to the one with the most."""
        return sorted(filter(is_pattern, self.entries), key=lambda p: len(re.sub(r"[*?]", "", p)))

    def has_pattern_for(self, name: str) -> bool:
        """Whether a pattern matches this name."""
        return any(fnmatchcase(name, pattern) for pattern in self.entries if is_pattern(pattern))

    def effective(self, name: str, row: Mapping[str, Any] | None = None) -> Effective:
        """What holds for a queue: the package's value, unless a layer above it says something else."""
        values: dict[str, Any] = {}
        origins = dict.fromkeys(NAMES, "default")
        for origin, given in self._layers(name, row):
            values |= given
            origins |= dict.fromkeys(given, origin)
        return Effective(QueueConfig(**values), origins)

    def _layers(self, name: str, row: Mapping[str, Any] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield "QUEUE_DEFAULTS", self.defaults
        for pattern in self.patterns:
            if fnmatchcase(name, pattern):
                yield f"QUEUES[{pattern!r}]", self.entries[pattern]
        if name in self.entries:
            yield f"QUEUES[{name!r}]", self.entries[name]
        if row:
            yield "row", row
