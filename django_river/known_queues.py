"""Which queues a process that enqueues may put jobs into, and what their rows say: remembered for a second.

A queue that the settings name costs no look at the database, unless it is known here to be closing, or
``DYNAMIC_QUEUES`` says that queues come and go. All others are looked for in the rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.db import connections

from django_river import storage
from django_river.conf import Config
from django_river.exceptions import QueueClosed, UnknownQueue
from django_river.queue_options import read
from django_river.storage.queues import QueueRow

#: How long what was read holds, in seconds.
FRESH_SECONDS = 1.0
NOTHING: Mapping[str, Any] = MappingProxyType({})
NEVER: tuple[float, Mapping[str, QueueRow]] = (float("-inf"), {})


class KnownQueues:
    """The rows as they were read last, by database. A lost update costs one reading more."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[float, Mapping[str, QueueRow]]] = {}
        # Databases in which this process has begun to remove a queue.
        self._closing: set[str] = set()

    def settings_of(self, name: str, config: Config, *, using: str, kind: str) -> Mapping[str, Any]:
        """What the row of a queue says, as fields; empty without one.

        Raises :class:`UnknownQueue` or :class:`QueueClosed` if no job may be put there.
        """
        is_named = name in config.queues
        if is_named and not config.dynamic_queues and using not in self._closing:
            return NOTHING
        row = self._row(name, config, using, is_named=is_named)
        if row is not None and row.removal:
            raise QueueClosed(f"{kind}: queue must be open, but {name!r} is being removed ({row.removal})")
        if row is not None:
            return read(json.loads(row.settings)) if row.settings != "{}" else NOTHING
        if not (is_named or config.dynamic_queues or config.queue_layers.has_pattern_for(name)):
            known = ", ".join(sorted(config.queue_names)) or "none"
            raise UnknownQueue(
                f"{kind}: queue must be one of {known} (DJANGO_RIVER['QUEUES']), or be added, "
                f"or DYNAMIC_QUEUES must be on; got {name!r}"
            )
        return NOTHING

    def forget(self, using: str, *, is_closing: bool = False) -> None:
        """A row has been changed here. When one is closing, those that the settings name are looked for, too."""
        self._rows.pop(using, None)
        if is_closing:
            self._closing.add(using)

    def _row(self, name: str, config: Config, using: str, *, is_named: bool) -> QueueRow | None:
        read_at, rows = self._rows.get(using, NEVER)
        row = rows.get(name)
        # What is not there may have been added a moment ago.
        may_be_new = row is None and not is_named and not config.dynamic_queues
        if time.monotonic() - read_at < FRESH_SECONDS and not may_be_new:
            return row
        rows = {row.name: row for row in storage.for_caller(using).queue_row_list()}
        if not connections[using].in_atomic_block:
            # What a transaction sees may be its own, and never be committed.
            self._rows[using] = (time.monotonic(), rows)
        if not any(row.removal for row in rows.values()):
            self._closing.discard(using)
        return rows.get(name)


known_queues = KnownQueues()
