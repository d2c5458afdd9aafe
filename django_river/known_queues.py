"""What a process that enqueues knows of queues: which there are besides those of the settings, and which it found open.

A look at the database is never made for a queue that the settings name or match. Whether a queue takes jobs, and how
often its jobs are tried, is asked by the statement that inserts; for a second after that, a shorter one that does not ask
will do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import NamedTuple

from django.db import connections

from django_river import storage
from django_river.conf import Config
from django_river.exceptions import UnknownQueue

#: How long a queue that took a job is taken for open, in seconds.
OPEN_SECONDS = 1.0
#: How long a queue that was added is known: its row stays for much longer, and it is the row that refuses jobs.
ADDED_SECONDS = 60.0
#: So many open queues are kept in mind.
MOST_OPEN = 10_000


class Seen(NamedTuple):
    """A queue that took a job."""

    #: Until when that may be gone by; monotonic.
    until: float
    #: How often jobs are tried that do not say so themselves: by the settings, and by the queue's row as well.
    given: int = 0
    stored: int = 0


class KnownQueues:
    """What was seen last, by database. A lost update costs one look more."""

    def __init__(self) -> None:
        self._added: dict[str, tuple[float, Collection[str]]] = {}
        self._open: dict[str, dict[str, Seen]] = {}
        self._thread = _Thread()

    def check(self, name: str, config: Config, *, using: str, kind: str) -> None:
        """Raise :class:`UnknownQueue` for a queue that neither the settings know of nor anybody has added."""
        if name in config.queues or config.dynamic_queues or config.queue_layers.has_pattern_for(name):
            return
        if not self._is_added(name, using):
            known = ", ".join(sorted(config.queue_names)) or "none"
            raise UnknownQueue(
                f"{kind}: queue must be one of {known} (DJANGO_RIVER['QUEUES']), or be added, "
                f"or DYNAMIC_QUEUES must be on; got {name!r}"
            )

    def found_open(self, name: str, *, using: str) -> Seen | None:
        """What was seen of a queue that took a job less than a second ago."""
        seen = self._open.get(using, _NOTHING).get(name)
        return seen if seen is not None and time.monotonic() < seen.until else None

    def take_note(self, name: str, *, using: str, given: int = 0, stored: int = 0) -> None:
        """A queue has taken a job, which inherited its number of attempts if they are given."""
        known = self._open.setdefault(using, {})
        if len(known) >= MOST_OPEN:
            known.clear()
        known[name] = Seen(time.monotonic() + OPEN_SECONDS, given, stored)

    def forget(self, using: str) -> None:
        """A row has been changed here."""
        self._added.pop(using, None)
        self._open.pop(using, None)
        if connections[using].in_atomic_block:
            self._thread.has_changed.add(using)

    def _is_added(self, name: str, using: str) -> bool:
        read_at, names = self._added.get(using, _NEVER)
        if name in names and time.monotonic() - read_at < ADDED_SECONDS:
            return True
        names = {row.name for row in storage.for_caller(using).queue_row_list()}
        if not connections[using].in_atomic_block:
            self._thread.has_changed.discard(using)
        if using not in self._thread.has_changed:
            # What the transaction has changed itself may never be committed.
            self._added[using] = (time.monotonic(), names)
        return name in names


class _Thread(threading.local):
    """What one thread has done."""

    def __init__(self) -> None:
        #: Databases in which it has changed rows in a transaction that may still be open.
        self.has_changed: set[str] = set()


_NOTHING: Mapping[str, Seen] = {}
_NEVER: tuple[float, Collection[str]] = (float("-inf"), ())
known_queues = KnownQueues()
