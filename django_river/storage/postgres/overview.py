"""Reads for people, on Postgres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import OperationalError
from psycopg.errors import QueryCanceled

from django_river.storage.overview import AVAILABLE_LIMIT, LATER_LIMIT, Overview, QueueDepth, TooSlow
from django_river.storage.statements import load


class PostgresOverview(Overview):
    """What each statement does is said in ``overview.sql``."""

    statements = load("django_river.storage.postgres")

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        try:
            # A transaction, so that the limit ends with it even behind a transaction pooler.
            with self.session.atomic():
                ((before,),) = self._run("time_limit")
                self._run("time_limit_set", limit=f"{seconds * 1000:.0f}")
                yield
                self._run("time_limit_set", limit=before)
        except OperationalError as error:
            if isinstance(error.__cause__, QueryCanceled):
                raise TooSlow(f"stopped after {seconds:g} s") from error
            raise

    def job_estimate(self) -> int | None:
        ((count,),) = self._run("job_estimate")
        return int(count) if count >= 0 else None

    def queue_depths(
        self, names: Sequence[str], *, available_limit: int | None = None
    ) -> dict[str, QueueDepth]:
        rows = self._run(
            "queue_depths",
            names=list(names),
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
                _not_below_zero(waiting),
                scheduled,
                retryable,
            )
            for name, available, running, _, is_exact, waiting, scheduled, retryable in rows
        }

    def queue_minute_rows(
        self, since: timedelta, names: Sequence[str] | None = None
    ) -> list[tuple[Any, ...]]:
        return self._run("queue_minute_rows", since=since, names=None if names is None else list(names))


def _not_below_zero(seconds: float | None) -> float | None:
    return None if seconds is None else max(0.0, seconds)
