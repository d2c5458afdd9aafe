"""What tests of storage do again and again, in the fewest words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_river.jobs.states import State, bit_mask
from django_river.jobs.unique import DEFAULT_STATES
from django_river.models import Job
from django_river.storage.base import ClaimedJob, Demand, InsertedJob, JobInsert, JobSetState, Storage
from django_river.terms import Term

ME = "host-1-a"
OTHER = "host-2-b"
HOUR = timedelta(hours=1)
#: Holds its key while it waits or runs, and frees it when it has to be retried.
WITHOUT_RETRYABLE = bit_mask(DEFAULT_STATES - {State.RETRYABLE})


def new(**given: Any) -> JobInsert:
    return JobInsert(**{"kind": "tests.work", "args": b"{}"} | given)


def insert(store: Storage, **given: Any) -> InsertedJob:
    (inserted,) = store.job_insert_many([new(**given)])
    return inserted


def unique(key: str, **given: Any) -> dict[str, Any]:
    """Options of a job that holds a key, in the default states."""
    return {"unique_key": key.encode().ljust(32, b"."), "unique_states": bit_mask(DEFAULT_STATES)} | given


def claim(
    store: Storage, limit: int = 100, *, client_id: str = ME, queue: str = "default"
) -> list[ClaimedJob]:
    return store.job_fetch(client_id, [Demand(queue=queue, limit=limit)], limit)


def run(store: Storage, *, client_id: str = ME, **given: Any) -> ClaimedJob:
    """Insert a job and claim it."""
    inserted = insert(store, **given)
    claimed = claim(store, client_id=client_id, queue=given.get("queue", "default"))
    return next(job for job in claimed if job.id == inserted.id)


def settle(store: Storage, job: ClaimedJob, state: State = State.COMPLETED, **given: Any) -> str | None:
    """Write a result; the state that was stored, or ``None`` if the fence refused it."""
    client_id = given.pop("client_id", ME)
    change = JobSetState(**{"id": job.id, "attempt": job.attempt, "state": state} | given)
    stored = store.job_set_state_many(client_id, [change])
    return stored[0].state if stored else None


def row(job: Any) -> Job:
    return Job.objects.get(pk=job if isinstance(job, int) else job.id)


def begin_term(store: Storage, client_id: str = ME) -> Term:
    """Be elected, for as long as a test takes."""
    elected = store.leader_elect(client_id, HOUR)
    assert elected is not None
    return elected.term


def make_due(*jobs: Any) -> None:
    """Let the time come that jobs wait for."""
    ids = [job if isinstance(job, int) else job.id for job in jobs]
    for job in Job.objects.filter(pk__in=ids):
        Job.objects.filter(pk=job.pk).update(scheduled_at=job.created_at - timedelta(minutes=1))
