"""The attempts of a job, as far as its row tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_river.admin.formats import parse_moment
from django_river.models import Job

#: A page shows so many attempts, the newest.
LIMIT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt: what went wrong, or the state of the job if nothing did."""

    number: int | None
    at: datetime | None
    client_id: str
    error: str = ""
    trace: str = ""
    state: str = ""


def attempts(job: Job) -> list[Attempt]:
    """The attempts that the row knows, newest first.

    Those that failed stand in ``errors``. The last one may be going on or have gone well. Attempts that were given
    back (a snooze, an interruption) have left no trace but a client's id.
    """
    failed = [_failed(job, entry) for entry in reversed(job.errors or [])]
    if job.attempt == 0 or any(attempt.number == job.attempt for attempt in failed):
        return failed
    client_id = _client_id(job, job.attempt)
    return [Attempt(number=job.attempt, at=job.attempted_at, client_id=client_id, state=job.state), *failed]


def _failed(job: Job, entry: Any) -> Attempt:
    """Read an entry of ``errors``; anyone may have written it."""
    if not isinstance(entry, dict):
        return Attempt(number=None, at=None, client_id="", error=str(entry))
    number = entry.get("attempt")
    return Attempt(
        number=number if isinstance(number, int) else None,
        at=parse_moment(entry.get("at")),
        client_id=_client_id(job, number),
        error=str(entry.get("error", "")),
        trace=str(entry.get("trace") or ""),
    )


def _client_id(job: Job, number: Any) -> str:
    """Who made an attempt: certain if every claim became an attempt, else only for the last one."""
    clients: Sequence[str] = job.attempted_by or []
    if clients and number == job.attempt:
        return clients[-1]
    if isinstance(number, int) and len(clients) == job.attempt and 0 < number <= job.attempt:
        return clients[number - 1]
    return ""
