"""Rows as they come about: a state brings everything that belongs to it.

    JobFactory(state=State.DISCARDED)            every attempt used up, an error for each
    JobFactory(running=True, attempted_by=[…])   the eight states are traits, too
    ClientFactory(stale=True), LeaderFactory(expired=True), QueueFactory(paused=True)

Times are in the past, a second or two apart, and in the order in which things happen.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from django_river import __version__
from django_river.jobs.states import FINAL, State
from django_river.models import Client, Job, Leader, LeaderTerm, Queue

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

#: States of jobs that some client has begun to work.
ATTEMPTED = frozenset({State.COMPLETED, State.DISCARDED, State.RETRYABLE, State.RUNNING})
CLIENT_ID = "host.example-1-a"


def error(attempt: int = 1, at: str = "2026-03-01T12:00:00.000000Z", **given: Any) -> dict[str, Any]:
    """An entry of ``errors``."""
    entry = {"at": at, "attempt": attempt, "error": "ValueError: no such page", "trace": "Traceback …"}
    return entry | given


def _attempt(job: Any) -> int:
    if job.state == State.DISCARDED:
        return int(job.max_attempts)
    return 1 if job.state in ATTEMPTED else 0


def _scheduled_at(job: Any) -> Any:
    later = job.state in {State.RETRYABLE, State.SCHEDULED}
    return timezone.now() + 60 * MINUTE if later else job.created_at


def _metadata(job: Any) -> dict[str, Any]:
    asked = (job.created_at + SECOND).isoformat()
    return {"cancel_attempted_at": asked} if job.state == State.CANCELLED else {}


def _errors(job: Any) -> list[dict[str, Any]] | None:
    """Every attempt failed but one that goes on or went well."""
    failed = job.attempt - (job.state in {State.COMPLETED, State.RUNNING})
    at = job.attempted_at.isoformat() if job.attempted_at else ""
    return [error(number, at=at) for number in range(1, failed + 1)] or None


class JobFactory(DjangoModelFactory[Job]):
    """A job that its state explains."""

    class Meta:
        model = Job

    class Params:
        available = factory.Trait(state=State.AVAILABLE.value)
        cancelled = factory.Trait(state=State.CANCELLED.value)
        completed = factory.Trait(state=State.COMPLETED.value)
        discarded = factory.Trait(state=State.DISCARDED.value)
        pending = factory.Trait(state=State.PENDING.value)
        retryable = factory.Trait(state=State.RETRYABLE.value)
        running = factory.Trait(state=State.RUNNING.value)
        scheduled = factory.Trait(state=State.SCHEDULED.value)
        client_id = CLIENT_ID

    state = State.AVAILABLE.value
    kind = "tests.work"
    queue = "default"
    priority = 1
    max_attempts = 25
    args: Any = factory.Sequence(lambda number: {"number": number})
    metadata = factory.LazyAttribute(_metadata)
    tags: Any = factory.List([])
    attempt = factory.LazyAttribute(_attempt)

    created_at = factory.LazyFunction(lambda: timezone.now() - MINUTE)
    scheduled_at = factory.LazyAttribute(_scheduled_at)
    attempted_at = factory.LazyAttribute(lambda job: job.created_at + SECOND if job.attempt else None)
    attempted_by = factory.LazyAttribute(lambda job: [job.client_id] * job.attempt or None)
    finalized_at = factory.LazyAttribute(
        lambda job: (job.attempted_at or job.created_at) + 2 * SECOND if job.state in FINAL else None
    )
    errors = factory.LazyAttribute(_errors)


class QueueFactory(DjangoModelFactory[Queue]):
    """A queue that clients work."""

    class Meta:
        model = Queue

    class Params:
        paused = factory.Trait(paused_at=factory.LazyFunction(lambda: timezone.now() - MINUTE))

    name = factory.Sequence(lambda number: f"queue_{number}")


class ClientFactory(DjangoModelFactory[Client]):
    """A client with a fresh heartbeat; ``stale``: it was last heard of an hour ago."""

    class Meta:
        model = Client

    class Params:
        stale = factory.Trait(heartbeat_at=factory.LazyFunction(lambda: timezone.now() - 60 * MINUTE))

    id = factory.LazyAttribute(lambda client: f"{client.host}-{client.pid}-a")
    host = "host.example"
    pid = factory.Sequence(lambda number: number + 1)
    version = __version__
    queues: Any = factory.LazyFunction(lambda: ["default"])
    slots = 10
    can_lead = True
    started_at = factory.LazyFunction(lambda: timezone.now() - 2 * 60 * MINUTE)
    heartbeat_at = factory.LazyFunction(timezone.now)


class LeaderFactory(DjangoModelFactory[Leader]):
    """The leader, in its term; ``expired``: it has not renewed its lease."""

    class Meta:
        model = Leader

    class Params:
        expired = factory.Trait(expires_at=factory.LazyFunction(lambda: timezone.now() - MINUTE))

    leader_id = CLIENT_ID
    elected_at = factory.LazyFunction(lambda: timezone.now() - 60 * MINUTE)
    expires_at = factory.LazyFunction(lambda: timezone.now() + 15 * SECOND)


class TermFactory(DjangoModelFactory[LeaderTerm]):
    """A term that lasts."""

    class Meta:
        model = LeaderTerm

    client_id = CLIENT_ID
    host = "host.example"
    pid = 1
    labels: Any = factory.Dict({})
    elected_at = factory.LazyFunction(lambda: timezone.now() - 60 * MINUTE)
