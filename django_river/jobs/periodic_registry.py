"""All periodic jobs of a process as one value: the same in every process that declares the same, down to its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Any

import msgspec

from django_river.exceptions import DefinitionError
from django_river.jobs.cron import Cron
from django_river.jobs.definition import Definition
from django_river.jobs.periodic import Declaration, span
from django_river.jobs.schedules import Interval
from django_river.jobs.words import describe

#: Grows when the same declarations come to be written in another way: two versions are never the same.
VERSION = 1


class Flaw(StrEnum):
    """What can be wrong with a declaration."""

    DECLARATION = "declaration"
    DUPLICATE = "duplicate"
    ARGUMENTS = "arguments"


@dataclass(frozen=True, slots=True)
class PeriodicProblem:
    """Something wrong with a declaration, and where it stands."""

    flaw: Flaw
    text: str
    place: str


@dataclass(frozen=True)
class PeriodicEntry:
    """A declaration with all that it leaves to others filled in."""

    declaration: Declaration
    definition: Definition[..., Any]
    schedule: Cron | Interval
    name: str
    queue: str
    priority: int
    #: The arguments as they are stored, in an order that no process decides.
    args: Any

    @property
    def kind(self) -> str:
        """The kind of its jobs."""
        return self.definition.kind

    @property
    def jitter(self) -> timedelta:
        """Up to how long its jobs wait."""
        return span(self.declaration.jitter, "jitter") if self.declaration.jitter else timedelta(0)

    @property
    def expect_success_within(self) -> timedelta | None:
        """How long it may go without a success."""
        given = self.declaration.expect_success_within
        return span(given, "expect_success_within") if given else None

    @property
    def words(self) -> str:
        """Its schedule, for people."""
        return describe(self.schedule)

    @cached_property
    def canonical(self) -> Mapping[str, Any]:
        """The entry as JSON values. What is left at its default is left out, so that a new option changes no hash."""
        told = self.declaration
        optional = {
            "on_missed": None if told.on_missed == "skip" else told.on_missed,
            "max_catch_up": told.max_catch_up if told.on_missed == "all" else None,
            "overlap": None if told.overlap else False,
            "run_on_start": told.run_on_start or None,
            "jitter": _seconds(self.jitter) or None,
            "start_at": told.start_at.astimezone(UTC).isoformat() if told.start_at else None,
            "enabled": None if told.enabled else False,
            "expect_success_within": _seconds(self.expect_success_within),
        }
        return {
            "name": self.name,
            "job": self.kind,
            **self.timing,
            "args": self.args,
            "queue": self.queue,
            "priority": self.priority,
            **{key: value for key, value in optional.items() if value is not None},
        }

    @property
    def timing(self) -> Mapping[str, Any]:
        """The part of it that decides when."""
        if isinstance(self.schedule, Interval):
            return {"every": _seconds(self.schedule.every)}
        return {"cron": self.schedule.expression, "timezone": self.schedule.timezone}

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the entry."""
        return _sha256(canonical_json(self.canonical))


class PeriodicRegistry:
    """What a process wants to be enqueued, and when.

    >>> PeriodicRegistry([]).canonical_json
    '{"entries":[],"version":1}'
    """

    def __init__(self, entries: Iterable[PeriodicEntry]) -> None:
        self.entries: Mapping[str, PeriodicEntry] = MappingProxyType(
            {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}
        )

    @classmethod
    def build(
        cls,
        declarations: Iterable[Declaration],
        items: Sequence[object] = (),
        *,
        timezone: str,
        max_args_bytes: int,
    ) -> PeriodicRegistry:
        """From declarations and the items of ``PERIODIC``.

        Raises :class:`DefinitionError` with everything that is wrong.
        """
        entries, problems = resolve(declarations, items, timezone=timezone, max_args_bytes=max_args_bytes)
        if problems:
            raise DefinitionError("\n".join(problem.text for problem in problems))
        return cls(entries)

    @cached_property
    def canonical(self) -> list[Mapping[str, Any]]:
        """All entries as JSON values, by name."""
        return [entry.canonical for entry in self.entries.values()]

    @cached_property
    def canonical_json(self) -> str:
        """All entries in one text that is the same wherever they are the same."""
        return canonical_json({"version": VERSION, "entries": self.canonical})

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of that text."""
        return _sha256(self.canonical_json)


def resolve(
    declarations: Iterable[Declaration], items: Sequence[object], *, timezone: str, max_args_bytes: int
) -> tuple[list[PeriodicEntry], list[PeriodicProblem]]:
    """The entries that can be made, and all that is wrong with the rest."""
    entries: list[PeriodicEntry] = []
    problems: list[PeriodicProblem] = []
    told: list[Declaration] = []
    for index, item in enumerate(items):
        try:
            told.append(Declaration.from_setting(item, index))
        except (ValueError, TypeError) as error:
            place = f"DJANGO_RIVER['PERIODIC'][{index}]"
            problems.append(PeriodicProblem(Flaw.DECLARATION, f"{place}: {error}.", place))
    # The settings' own come first: to import their jobs may be to declare more.
    for declaration in chain(told, declarations):
        found = _entry(declaration, timezone, max_args_bytes)
        if isinstance(found, PeriodicEntry):
            entries.append(found)
        else:
            problems.append(found)
    return entries, problems + _duplicates(entries)


def schedule_of(canonical: Mapping[str, Any]) -> Cron | Interval:
    """The schedule of an entry in canonical form."""
    if "every" in canonical:
        return Interval(timedelta(seconds=canonical["every"]))
    return Cron(canonical["cron"], canonical["timezone"])


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _entry(declaration: Declaration, timezone: str, max_args_bytes: int) -> PeriodicEntry | PeriodicProblem:
    try:
        definition = declaration.definition()
        schedule = declaration.schedule(timezone=timezone)
    except (ValueError, DefinitionError) as error:
        return PeriodicProblem(Flaw.DECLARATION, f"{declaration.place}: {error}.", declaration.place)
    try:
        args = _stored_args(definition, declaration.args, max_args_bytes)
    except (ValueError, TypeError) as error:
        text = f"Periodic job {declaration.name or definition.kind!r}: args cannot be used: {error}."
        return PeriodicProblem(Flaw.ARGUMENTS, text, declaration.place)
    options = definition.options
    return PeriodicEntry(
        declaration=declaration,
        definition=definition,
        schedule=schedule,
        name=declaration.name or definition.kind,
        queue=declaration.queue or options.queue,
        priority=declaration.priority or options.priority,
        args=args,
    )


def _stored_args(definition: Definition[..., Any], args: Mapping[str, Any], limit: int) -> Any:
    """As JSON values; sets are put in order, which their own changes from process to process."""
    raw = definition.arguments.encode((), args, limit=limit)
    typed = definition.arguments.decode(raw)
    return msgspec.json.decode(msgspec.json.encode(typed, order="sorted"))


def _duplicates(entries: Sequence[PeriodicEntry]) -> list[PeriodicProblem]:
    places: dict[str, list[str]] = {}
    for entry in entries:
        places.setdefault(entry.name, []).append(entry.declaration.place)
    return [
        PeriodicProblem(
            Flaw.DUPLICATE,
            f"Periodic job {name!r} is declared {len(found)} times: {' and '.join(sorted(found))}.",
            min(found),
        )
        for name, found in sorted(places.items())
        if len(found) > 1
    ]


def _seconds(value: timedelta | None) -> float | int | None:
    if value is None:
        return None
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
