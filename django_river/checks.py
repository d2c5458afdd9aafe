"""System checks: settings, definitions and databases, each with an id, a hint and a page of the docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings as project
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections

from django_river.conf import SETTING, Config, config, problems, raw_settings
from django_river.exceptions import ConfigError, DefinitionError
from django_river.jobs.definition import Definition
from django_river.jobs.periodic import declared
from django_river.jobs.periodic_registry import Flaw, PeriodicEntry, resolve
from django_river.jobs.registry import registry
from django_river.jobs.states import State
from django_river.leader_policy import load_policy
from django_river.option import KEEP
from django_river.storage import DRIVERS

DOCS = "See docs/checks.md#django-river-{id}."


def _id(id: str) -> str:
    return f"django_river.{id}"


def _hint(text: str, id: str) -> str:
    return f"{text} {DOCS.format(id=id.lower())}"


@register()
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """``DJANGO_RIVER``: unknown keys, wrong types, impossible combinations; and a database that can hold jobs."""
    found = problems(raw_settings())
    if found:
        return [
            Error(problem.text, hint=_hint(problem.hint, problem.id), id=_id(problem.id)) for problem in found
        ]
    return [*_policy_messages(), *_database_messages()]


@register()
def check_definitions(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every ``@job``: its annotations resolve and can be stored, its queue exists."""
    messages: list[CheckMessage] = []
    known = None if problems(raw_settings()) else config()
    for definition in registry:
        try:
            definition.arguments  # noqa: B018  (built when first asked for)
        except DefinitionError as error:
            hint = "Change the function's signature, or import what its annotations name."
            messages.append(Error(str(error), hint=_hint(hint, "E010"), id=_id("E010"), obj=definition.place))
        queue = definition.options.queue
        if known is not None and queue not in known.queues and not known.dynamic_queues:
            messages.append(
                Error(
                    f"Job {definition.kind} goes to queue {queue!r}, which {SETTING}['QUEUES'] does not name.",
                    hint=_hint("Add the queue, or set DYNAMIC_QUEUES to True.", "E011"),
                    id=_id("E011"),
                    obj=definition.place,
                )
            )
        if known is not None:
            messages += _retention_messages(definition, known)
    return messages


def _policy_messages() -> Iterator[CheckMessage]:
    try:
        load_policy(config().leader_election)
    except ConfigError as error:
        hint = "Name a class that is made without arguments and has the methods objection and preference."
        text = f"{SETTING}['LEADER_ELECTION']['POLICY'] cannot be used: {error}."
        yield Error(text, hint=_hint(hint, "E021"), id=_id("E021"))


def _retention_messages(definition: Definition[..., Any], known: Config) -> Iterator[CheckMessage]:
    unique = definition.options.unique
    if unique is None or unique.by_period is None or State.COMPLETED not in unique.by_state:
        return
    kept = known.retentions(State.COMPLETED)
    seconds = kept.get(definition.options.queue, kept[None])
    if seconds != KEEP and unique.by_period.total_seconds() > seconds:
        text = (
            f"Job {definition.kind} is to be unique for {unique.by_period}, but completed jobs of its queue are deleted "
            f"after {timedelta(seconds=seconds)}, and with them their unique keys."
        )
        hint = "Raise COMPLETED_RETENTION, for that queue at least, or shorten by_period."
        yield Warning(text, hint=_hint(hint, "W004"), id=_id("W004"), obj=definition.place)


@register()
def check_periodic(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every ``@periodic`` and item of ``PERIODIC``: its options, its arguments, its queue, and no name twice."""
    if problems(raw_settings()):
        return []
    known = config()
    entries, wrong = resolve(
        declared, known.periodic, timezone=project.TIME_ZONE, max_args_bytes=known.max_args_bytes
    )
    found: list[CheckMessage] = []
    for problem in wrong:
        id, hint = _PERIODIC[problem.flaw]
        found.append(Error(problem.text, hint=_hint(hint, id), id=_id(id), obj=problem.place))
    if not known.dynamic_queues:
        # A queue of the job's own is the definition's business.
        found += [_unknown_queue(e) for e in entries if e.declaration.queue and e.queue not in known.queues]
    return found


_PERIODIC = {
    Flaw.DECLARATION: ("E012", "Correct the declaration."),
    Flaw.DUPLICATE: ("E013", "Give each a name of its own with name=."),
    Flaw.ARGUMENTS: ("E014", "Correct args, or the function's signature."),
}


def _unknown_queue(entry: PeriodicEntry) -> CheckMessage:
    return Error(
        f"Periodic job {entry.name!r} goes to queue {entry.queue!r}, which {SETTING}['QUEUES'] does not name.",
        hint=_hint("Add the queue, or set DYNAMIC_QUEUES to True.", "E011"),
        id=_id("E011"),
        obj=entry.declaration.place,
    )


def _database_messages() -> Iterator[CheckMessage]:
    known = config()
    if known.database not in connections:
        hint = f"Known aliases: {', '.join(sorted(connections))}."
        text = f"{SETTING}['DATABASE'] names {known.database!r}, which DATABASES does not."
        yield Error(text, hint=_hint(hint, "E007"), id=_id("E007"))
        return
    connection = connections[known.database]
    if connection.vendor not in DRIVERS:
        hint = f"Use one of: {', '.join(sorted(DRIVERS))}."
        text = f"Database {known.database!r} is {connection.vendor}, which cannot hold jobs."
        yield Error(text, hint=_hint(hint, "E008"), id=_id("E008"))
    elif connection.vendor == "sqlite":
        yield from _sqlite_messages(known.database, connection.settings_dict)
    else:
        yield from _pool_messages(known.slots, connection.settings_dict)


def _sqlite_messages(using: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    options = database.get("OPTIONS", {})
    if options.get("transaction_mode") != "IMMEDIATE":
        hint = f"Set DATABASES[{using!r}]['OPTIONS']['transaction_mode'] to 'IMMEDIATE'."
        text = "Transactions that read before they write can fail at once with 'database is locked'."
        yield Warning(text, hint=_hint(hint, "W001"), id=_id("W001"))
    if "journal_mode=wal" not in str(options.get("init_command", "")).lower().replace(" ", ""):
        hint = f"Set DATABASES[{using!r}]['OPTIONS']['init_command'] to 'PRAGMA journal_mode=WAL;'."
        text = "Without write-ahead logging, workers and requests block one another."
        yield Warning(text, hint=_hint(hint, "W002"), id=_id("W002"))


def _pool_messages(slots: int, database: dict[str, Any]) -> Iterator[CheckMessage]:
    pool = database.get("OPTIONS", {}).get("pool")
    size = (pool.get("max_size") or pool.get("min_size") or 4) if isinstance(pool, dict) else 4
    if pool and slots > size:
        text = f"A worker runs {slots} jobs at once, but the connection pool holds {size}."
        hint = "Raise OPTIONS['pool']['max_size'], or lower CONCURRENCY."
        yield Warning(text, hint=_hint(hint, "W003"), id=_id("W003"))
