"""The contract of storage, for periodic jobs: which are in force, and how each of them stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from django_river.jobs.states import State
from django_river.storage.base import Session


class LiveClient(NamedTuple):
    """A client whose heartbeat is fresh, and the periodic jobs it declares."""

    id: str
    host: str
    pid: int
    started_at: datetime
    #: For how long it has not been heard of.
    silent_seconds: float
    release: str
    registry_hash: str


class RegistryInForce(NamedTuple):
    """The periodic jobs that are enqueued: which, of which release, and since when."""

    hash: str
    release: str
    since: datetime


class PeriodicState(NamedTuple):
    """What has to be known of an entry's row when another registry comes into force."""

    name: str
    entry: str
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicRow:
    """An entry of the registry that comes into force."""

    name: str
    kind: str
    schedule: str
    entry: str
    fingerprint: str
    next_run_at: datetime | None
    extra_run_at: datetime | None = None
    expect_success_within: float | None = None


class DuePeriodic(NamedTuple):
    """An entry that is due, or soon will be."""

    name: str
    fingerprint: str
    next_run_at: datetime | None
    extra_run_at: datetime | None
    last_run_at: datetime | None
    #: Whether it could not be enqueued the last time.
    has_failed: bool


class TakenPeriodic(NamedTuple):
    """An entry that nobody else can enqueue until the transaction ends."""

    name: str
    #: Whether its last job is not over, though it has to be.
    is_blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicTake:
    """An entry as it has to be found for its runs to be ours."""

    name: str
    fingerprint: str
    next_run_at: datetime | None
    extra_run_at: datetime | None
    may_overlap: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicAdvance:
    """What becomes of an entry that was taken; ``None`` leaves the last run and its job as they are."""

    name: str
    next_run_at: datetime | None
    last_run_at: datetime | None = None
    last_job_id: int | None = None


class WatchedPeriodic(NamedTuple):
    """An entry whose last job may not be over yet."""

    name: str
    last_job_id: int


class JobOutcome(NamedTuple):
    """How a job stands, or has ended."""

    id: int
    state: str
    #: ``None`` if it is not over.
    finalized_at: datetime | None


class ExpectedPeriodic(NamedTuple):
    """An entry that has become overdue, or is overdue no longer."""

    name: str
    kind: str
    #: ``None``: never.
    last_success_at: datetime | None
    expect_success_within: float
    is_overdue: bool


class PausedPeriodic(NamedTuple):
    """What has to be known of an entry to resume it."""

    entry: str
    next_run_at: datetime | None
    is_paused: bool


class PeriodicStorage(ABC):
    """Registries and periodic jobs, on the session of a :class:`~django_river.storage.base.Storage`."""

    statements: ClassVar[Any]

    def __init__(self, session: Session) -> None:
        self.session = session

    def close(self) -> None:
        """Close the session; a later statement opens it again."""
        self.session.close()

    def atomic(self) -> AbstractContextManager[Any]:
        """Several operations in one transaction; joins one that is open."""
        return self.session.atomic()

    @abstractmethod
    def now(self) -> datetime:
        """The time by the clock that decides about rows."""

    @abstractmethod
    def client_list_live(self, client_timeout: timedelta) -> list[LiveClient]:
        """The clients that were heard of within ``client_timeout`` and say what they declare; the oldest first."""

    @abstractmethod
    def periodic_advance_many(self, advances: Sequence[PeriodicAdvance]) -> None:
        """Write down the runs of entries that were taken, in the same transaction."""

    @abstractmethod
    def periodic_get(self, name: str) -> PausedPeriodic | None:
        """One entry, held until the transaction ends; ``None`` without a row."""

    @abstractmethod
    def periodic_list_due(self, within: timedelta) -> tuple[datetime, list[DuePeriodic]]:
        """Now, and the entries that are due until ``within`` from now; paused ones are left out.

        Besides there are those whose last run is in the future: the clock has been put back.
        """

    @abstractmethod
    def periodic_list_outcomes(self, job_ids: Sequence[int]) -> list[JobOutcome]:
        """How these jobs stand; those that are gone are not answered."""

    @abstractmethod
    def periodic_list_states(self) -> list[PeriodicState]:
        """How the entries of the registry in force stand; they are held until the transaction ends."""

    @abstractmethod
    def periodic_list_watched(self) -> list[WatchedPeriodic]:
        """The entries that have had a run, with its job."""

    @abstractmethod
    def periodic_move_many(self, wanted: Sequence[PeriodicTake], advances: Sequence[PeriodicAdvance]) -> bool:
        """Take and advance entries at once; whether all of them still were as they were seen, and none is blocked.

        If not, the caller rolls back: some may have been advanced.
        """

    @abstractmethod
    def periodic_note_outcomes(self, outcomes: Mapping[str, Sequence[JobOutcome]]) -> None:
        """Write down how runs of entries have ended."""

    @abstractmethod
    def periodic_note_overdue(self) -> list[ExpectedPeriodic]:
        """Mark the entries that have not succeeded for too long, and unmark the others; those that change are answered."""

    @abstractmethod
    def periodic_replace(self, rows: Sequence[PeriodicRow]) -> None:
        """Let these be all entries there are. What an entry that stays has been through is kept.

        Its next run is that of the row: in the same transaction, :meth:`periodic_list_states` comes first.
        """

    @abstractmethod
    def periodic_resume(self, name: str, next_run_at: datetime | None) -> None:
        """Let an entry run again; what it was to do meanwhile is forgotten, and alarms count from now."""

    @abstractmethod
    def periodic_take(self, wanted: Sequence[PeriodicTake]) -> list[TakenPeriodic]:
        """Hold the entries that still are as they were seen, until the transaction ends; the others are not answered."""

    @abstractmethod
    def registry_in_force(self) -> RegistryInForce | None:
        """The registry in force, if there has ever been one."""

    @abstractmethod
    def registry_lock(self) -> None:
        """Let nobody else settle which registry is in force until the transaction ends; reading goes on."""

    @abstractmethod
    def registry_notify(self, hash: str) -> None:
        """Tell those who listen, when the transaction commits, which registry is in force."""

    def periodic_fail(self, name: str, error: str) -> None:
        """Write down why an entry could not be enqueued."""
        self._run("periodic_fail", name=name, error=error)

    def periodic_note_run(self, name: str, job_id: int) -> None:
        """Write down a run that was asked for by hand."""
        self._run("periodic_note_run", name=name, job_id=job_id)

    def periodic_pause(self, name: str) -> bool:
        """Pause an entry; whether it was not paused before."""
        return bool(self._run("periodic_pause", name=name))

    def registry_enforce(self, hash: str, release: str) -> None:
        """Put a published registry into force, in place of the one that is, and say so where that can be heard."""
        with self.atomic():
            self._run("registry_depose")
            self._run("registry_enforce", hash=hash, release=release)
            self.registry_notify(hash)

    def registry_entries(self, hash: str) -> str | None:
        """A published registry's canonical JSON."""
        rows = self._run("registry_entries", hash=hash)
        return rows[0][0] if rows else None

    def registry_publish(self, hash: str, release: str, entries: str) -> None:
        """Store a registry, and forget those that are neither in force nor declared by a client that has a row."""
        with self.atomic():
            self._run("registry_forget", hash=hash)
            self._run("registry_publish", hash=hash, release=release, entries=entries)

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return self.session.execute(self.statements[statement], params)


def last_of(outcomes: Sequence[JobOutcome]) -> JobOutcome:
    """The one that came last."""
    return max(outcomes, key=lambda each: (each.finalized_at, each.id))


def last_success(outcomes: Sequence[JobOutcome]) -> datetime | None:
    """When the last of them succeeded, if any has."""
    return max(
        (each.finalized_at for each in outcomes if each.finalized_at and each.state == State.COMPLETED),
        default=None,
    )
