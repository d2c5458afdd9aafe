"""Reads for people, on SQLite."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import OperationalError, connections

from django_river.storage.overview import AVAILABLE_LIMIT, LATER_LIMIT, Overview, QueueDepth, TooSlow
from django_river.storage.sqlite.moments import as_text
from django_river.storage.statements import load

#: SQLite asks whether to go on each time it has done so many of its instructions: about a millisecond's work.
INSTRUCTIONS = 100_000


class SqliteOverview(Overview):
    """What each statement does is said in ``overview.sql``."""

    statements = load("django_river.storage.sqlite")

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """The limit is for all statements together: SQLite has no time-out, but may be asked to give up."""
        # No transaction: it would take the write lock, only to read.
        django = connections[self.using]
        django.ensure_connection()
        give_up_at = time.monotonic() + seconds
        django.connection.set_progress_handler(lambda: time.monotonic() > give_up_at, INSTRUCTIONS)
        try:
            yield
        except OperationalError as error:
            if str(error) == "interrupted":
                raise TooSlow(f"stopped after {seconds:g} s") from error
            raise
        finally:
            django.connection.set_progress_handler(None, 0)

    def job_estimate(self) -> int | None:
        return None

    def queue_depths(
        self, names: Sequence[str], *, available_limit: int | None = None
    ) -> dict[str, QueueDepth]:
        rows = self._run(
            "queue_depths",
            names=json.dumps(list(names)),
            available_limit=available_limit or AVAILABLE_LIMIT,
            later_limit=LATER_LIMIT,
        )
        return {
            name: QueueDepth(
                name,
                available,
                running,
                scheduled + retryable,
                bool(is_exact),
                _seconds_since(waiting),
                scheduled,
                retryable,
            )
            for name, available, running, _, is_exact, waiting, scheduled, retryable in rows
        }

    def queue_minute_rows(
        self, since: timedelta, names: Sequence[str] | None = None
    ) -> list[tuple[Any, ...]]:
        return self._run(
            "queue_minute_rows",
            since=as_text(datetime.now(UTC) - since),
            names=None if names is None else json.dumps(list(names)),
        )


def _seconds_since(moment: str | None) -> float | None:
    if moment is None:
        return None
    since = datetime.now(UTC) - datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return max(0.0, since.total_seconds())
