"""Queues while they are worked: added, changed, paused, on every client within a second, and across restarts.

>>> queues.add("tenant-7", max_workers=2, rate_limit="100/m")        # doctest: +SKIP
>>> queues.update("tenant-7", max_workers=5, rate_limit=queues.INHERIT)        # doctest: +SKIP
>>> queues.pause("tenant-7", until=timedelta(hours=1))        # doctest: +SKIP
>>> queues.remove("tenant-7", jobs="move", to="default")        # doctest: +SKIP

What is given is stored, no more: everything else goes on coming from the settings. Each verb has a twin for async callers
(``aadd``, …), takes part in the caller's transaction, and works in one database: ``using``, or
``DJANGO_RIVER["DATABASE"]``.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings as project
from django.utils import timezone

from django_river import storage
from django_river.conf import config
from django_river.exceptions import QueueExists, UnknownQueue
from django_river.hints import hints
from django_river.known_queues import known_queues
from django_river.names import queue_problem
from django_river.queue_options import (
    NAMES,
    Effective,
    QueueConfig,
    check_settings,
    conflict,
    read,
    said,
    written,
)
from django_river.queue_removal import Removed, remove_jobs
from django_river.storage.queues import QueueRow, Removal

ALL = "*"


class _Inherit:
    """For a setting that is no longer to be said at run time."""

    def __repr__(self) -> str:
        return "INHERIT"


INHERIT: Final = _Inherit()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue as it stands."""

    name: str
    config: QueueConfig
    #: Where each setting comes from: ``row``, ``QUEUES['…']``, ``QUEUE_DEFAULTS`` or ``default``.
    origins: Mapping[str, str]
    is_paused: bool
    #: When it is resumed by itself.
    resume_at: datetime | None
    #: ``drain``, ``move`` or ``delete`` while it is being removed, and else empty.
    removal: str
    #: The clients that have applied what holds now, with the slots each gives to it.
    applied_by: Mapping[str, int]
    #: The clients that are to apply it yet.
    awaited: builtins.list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        settings = written({name: getattr(self.config, name) for name in NAMES})
        return {
            "name": self.name,
            "settings": {name: {"value": settings[name], "from": self.origins[name]} for name in NAMES},
            "is_paused": self.is_paused,
            "resume_at": None if self.resume_at is None else self.resume_at.isoformat(),
            "removal": self.removal,
            "applied_by": dict(self.applied_by),
            "awaited": self.awaited,
        }


def add(name: str, *, using: str | None = None, **settings: Any) -> Effective:
    """Add a queue with these settings (the names of ``QUEUES`` in lower case), and have every client work it.

    A queue that is being removed is kept. Returns what holds for it and where each setting comes from. Raises :class:`QueueExists` if it is there, :class:`ValueError` for what is
    no name or value, and :class:`TypeError` for what is no setting.
    """
    alias = _alias(name, using)
    _check(name, settings)
    store = storage.for_caller(alias)
    if name in config().queues and not store.queue_row_list([name]):
        raise QueueExists(f"queue {name!r} is in DJANGO_RIVER['QUEUES']; update() changes it")
    if not store.queue_row_add(name, json.dumps(written(settings))):
        raise QueueExists(f"queue {name!r} has been added before; update() changes it")
    known_queues.forget(alias)
    return config().queue_layers.effective(name, read(settings))


def update(name: str, *, using: str | None = None, **settings: Any) -> Effective:
    """Change settings of a queue, and leave the others; :data:`INHERIT` takes back what was said at run time.

    Raises :class:`UnknownQueue`, :class:`ValueError` and :class:`TypeError`.
    """
    alias = _alias(name, using)
    row = _known(name, alias)
    given = {key: value for key, value in settings.items() if value is not INHERIT}
    inherit = [key for key, value in settings.items() if value is INHERIT]
    _check(name, given, row=row, inherit=inherit)
    storage.for_caller(alias).queue_row_change(name, json.dumps(written(given)), inherit=inherit)
    known_queues.forget(alias)
    before = {} if row is None else said(row.settings)
    holds = {key: value for key, value in {**before, **read(given)}.items() if key not in inherit}
    return config().queue_layers.effective(name, holds)


def remove(
    name: str,
    *,
    jobs: str = Removal.DRAIN,
    to: str | None = None,
    timeout: float | None = None,
    using: str | None = None,
) -> Removed:
    """Remove a queue from every client; jobs that run always finish.

    ``jobs``
        What becomes of those that wait, are scheduled or will retry: ``"drain"`` lets them run to their end, ``"move"``
        puts them into the queue ``to``, in their order, and ``"delete"`` deletes them. New ones are refused.
    ``timeout``
        Wait for so many seconds until the last job is gone. Without it, and after it, the rest is done by the leader.

    Safe to be called again. Raises :class:`UnknownQueue` for ``name`` or ``to``, and :class:`ValueError`.
    """
    alias = _alias(name, using)
    if jobs not in set(Removal):
        raise ValueError(f"jobs must be one of {', '.join(Removal)}, got {jobs!r}")
    if (to is not None) != (jobs == Removal.MOVE):
        raise ValueError(f"to must be given with jobs='move', and only then; got {to!r} with {jobs!r}")
    if to is not None:
        if to == name:
            raise ValueError(f"to must be another queue, got {to!r}")
        _known(_name(to), alias)
    _known(name, alias, is_closing_too=True)
    storage.for_caller(alias).queue_row_close(name, Removal(jobs), to or "")
    known_queues.forget(alias)
    return remove_jobs(name, Removal(jobs), to=to or "", timeout=timeout, using=alias)


def pause(
    name: str = ALL, *, until: datetime | timedelta | None = None, using: str | None = None
) -> builtins.list[str]:
    """Stop fetching from a queue, or from all as ``*``; running jobs finish.

    ``until`` a moment, or after a span, it is resumed by itself. Returns the names of the queues that were not paused
    before. Raises :class:`ValueError` for what is no name.
    """
    alias = _alias(name, using)
    if until is not None and not isinstance(until, datetime | timedelta):
        raise TypeError(f"until must be a datetime or a timedelta, got {until!r}")
    moment = _aware(until) if isinstance(until, datetime) else None
    delay = until if isinstance(until, timedelta) else None
    store = storage.for_caller(alias)
    with store.session.atomic():
        if name != ALL:
            # First: who resumes it by the clock just now has done so before we pause it, or does not.
            store.queue_resume_at([name], moment=moment, delay=delay)
            return store.queue_pause(name)
        names = store.queue_pause(ALL)
        # All that is paused stays so; with a moment, only what was not paused before ends with it.
        store.queue_resume_at(_resuming(alias) if until is None else names, moment=moment, delay=delay)
    return names


def resume(name: str = ALL, *, using: str | None = None) -> builtins.list[str]:
    """Fetch from a queue again, or from all as ``*``.

    Returns the names of the queues that were paused. Raises :class:`ValueError` for what is no name.
    """
    alias = _alias(name, using)
    store = storage.for_caller(alias)
    with store.session.atomic():
        names = store.queue_resume(name)
        store.queue_resume_at(_resuming(alias) if name == ALL else [name])
    if names:
        hints.wake_on_commit(alias, names)
    return names


def get(name: str, *, using: str | None = None) -> QueueInfo:
    """A queue as it stands. Raises :class:`UnknownQueue`, and :class:`ValueError` for what is no name."""
    alias = _alias(name, using)
    _known(name, alias, is_closing_too=True)
    found = list([name], using=alias)
    if not found:
        raise _unknown(name)
    return found[0]


def list(names: Iterable[str] | None = None, *, using: str | None = None) -> builtins.list[QueueInfo]:
    """These queues, whoever has heard of them; or all that the settings name, that were added, or that a client works.

    By name, but for those that are removed.
    """
    return _infos(using or config().database, None if names is None else sorted(set(names)))


aadd = sync_to_async(add)
aget = sync_to_async(get)
alist = sync_to_async(list)
apause = sync_to_async(pause)
aremove = sync_to_async(remove)
aresume = sync_to_async(resume)
aupdate = sync_to_async(update)


def _alias(name: str, using: str | None) -> str:
    if name != ALL:
        _name(name)
    return using or config().database


def _name(name: str) -> str:
    problem = queue_problem(name)
    if problem:
        raise ValueError(problem)
    return name


def _check(
    name: str,
    settings: Mapping[str, Any],
    *,
    row: QueueRow | None = None,
    inherit: builtins.list[str] | None = None,
) -> None:
    """What is given must be right by itself, and beside what holds already."""
    if name == ALL:
        raise ValueError(queue_problem(name))
    check_settings(settings)
    before = {} if row is None else said(row.settings)
    for key in inherit or ():
        if key not in NAMES:
            check_settings({key: None})
        before.pop(key, None)
    text = conflict(config().queue(name, before | read(settings)))
    if text is not None:
        raise ValueError(text)


def _known(name: str, using: str, *, is_closing_too: bool = False) -> QueueRow | None:
    """The row of a queue, if it has one. Raises :class:`UnknownQueue` if there is no such queue."""
    settings = config()
    row = next(iter(storage.for_caller(using).queue_row_list([name])), None)
    if row is None:
        is_there = name in settings.queues or settings.queue_layers.has_pattern_for(name)
    else:
        is_there = not row.removal or (is_closing_too and not row.is_removed)
    if not is_there:
        raise _unknown(name)
    return row


def _unknown(name: str) -> UnknownQueue:
    return UnknownQueue(f"there is no queue {name!r}; add() adds one")


def _resuming(using: str) -> builtins.list[str]:
    """The queues that are to be resumed by the clock."""
    resume = apps.get_model("django_river", "QueueResume")
    return [*resume.objects.using(using).values_list("name", flat=True)]


def _infos(using: str, names: builtins.list[str] | None = None) -> builtins.list[QueueInfo]:
    settings, store = config(), storage.for_caller(using)
    rows = {row.name: row for row in store.queue_row_list(names)}
    queue, client = apps.get_model("django_river", "Queue"), apps.get_model("django_river", "Client")
    resume = apps.get_model("django_river", "QueueResume")
    # One is not to cost what all do.
    narrowed = {} if names is None else {"name__in": names}
    paused = dict(queue.objects.using(using).filter(**narrowed).values_list("name", "paused_at"))
    resumes = dict(resume.objects.using(using).filter(**narrowed).values_list("name", "resume_at"))
    alive = timezone.now() - timedelta(seconds=settings.client_timeout)
    clients = client.objects.using(using).filter(heartbeat_at__gt=alive).values_list("id", "applied")
    found = sorted({*settings.queues, *rows, *paused}) if names is None else names
    infos = []
    for name in found:
        row = rows.get(name)
        if row is not None and row.is_removed:
            continue
        holds = _effective(name, row)
        applied, awaited = _applied(name, row, clients)
        infos.append(
            QueueInfo(
                name=name,
                config=holds.config,
                origins=holds.origins,
                is_paused=paused.get(name) is not None,
                resume_at=resumes.get(name),
                removal="" if row is None else row.removal,
                applied_by=applied,
                awaited=awaited,
            )
        )
    return infos


def _effective(name: str, row: QueueRow | None) -> Effective:
    return config().queue_layers.effective(name, {} if row is None else said(row.settings))


def _applied(name: str, row: QueueRow | None, clients: Any) -> tuple[dict[str, int], builtins.list[str]]:
    """Who works the queue by the row as it is, and who has not come to that."""
    version = "" if row is None else row.version
    applied, awaited = {}, []
    for id, queues in clients:
        known = queues.get(name)
        if known is not None and known["version"] == version:
            applied[id] = known["slots"]
        elif known is not None or row is not None:
            awaited.append(id)
    return applied, awaited


def _aware(moment: datetime) -> datetime:
    if timezone.is_aware(moment):
        return moment
    if project.USE_TZ:
        raise ValueError(f"until must be aware (it has no time zone), got {moment!r}")
    return timezone.make_aware(moment)
