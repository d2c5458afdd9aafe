"""What the leader does to the tables: the contract that each database fulfils.

Every statement that writes carries the :class:`~django_river.terms.Term` in whose name it is run, and changes
nothing once that term is over: a former leader that was frozen, cut off or slow may wake up in the middle of it. While
such a statement is at work no other term begins (docs: adr/0010).

Batches are the caller's choice (``limit``); none waits for a row that somebody else holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from django_river.faults import Fault
from django_river.jobs.run_times import Sample
from django_river.jobs.states import State
from django_river.storage.base import Session

if TYPE_CHECKING:
    from django_river.terms import Term


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how long finished jobs are kept: those of one state, in some queues or in all others."""

    state: State
    kept_for: timedelta
    queues: tuple[str, ...] = ()
    #: Whether ``queues`` are those that this is *not* about.
    is_for_others: bool = True


class CleanedPage(NamedTuple):
    """What :meth:`Upkeep.job_clean` found among the next jobs."""

    examined: int
    deleted: int
    #: From where to go on; ``None`` if no job was old enough to be passed.
    passed_id: int | None
    #: Whether the jobs behind this page may be old enough, too.
    has_more: bool


class QueuePage(NamedTuple):
    """What :meth:`Upkeep.queue_search` found among the next jobs."""

    #: Those of the queues that have a job there.
    found: list[str]
    #: The last job of the page; ``None`` if there are no more.
    last_id: int | None


class ClientSight(NamedTuple):
    """A client as others see it."""

    id: str
    #: The key of its session's lock, if it holds one.
    session: int | None
    #: Seconds since its last heartbeat.
    silent_for: float
    #: Whether it has promised to hold a session on this server, and that is gone. A server that was started anew, or
    #: has taken the place of another, knows nothing of the sessions before.
    is_session_gone: bool


class Sights(NamedTuple):
    """All clients that are not taken for lost, at one moment."""

    clients: list[ClientSight]
    #: That moment by the database's clock, as seconds since some fixed one.
    at: float
    #: What is asked on the way: seconds until the next job is due, as :meth:`Upkeep.job_seconds_until_due` has it, and
    #: the queues that have available jobs, if they were wanted.
    due_in: float | None = None
    queues: Sequence[str] | None = None


class RescuedJob(NamedTuple):
    """A row that the rescuer took from a client that is gone."""

    id: int
    kind: str
    queue: str
    state: str
    #: Why its client was taken for lost; empty for one that nobody knows.
    why: str
    #: Whether it was discarded because it has taken too many clients with it.
    is_poison: bool


class RunningJob(NamedTuple):
    """A job that has been running for long."""

    id: int
    kind: str
    queue: str
    priority: int
    attempt: int
    client_id: str
    #: For how long it has been running.
    seconds: float


class TermOver(Exception):
    """A term is not in force, or not any more."""


class Upkeep(ABC):
    """Maintenance in the name of one term. One object per session; not for use by two threads at once.

    ``term`` is ``None`` for a client that stands in while nobody leads: then only the reads work, and
    :meth:`job_schedule_vacant`.
    """

    def __init__(self, session: Session, term: Term | None) -> None:
        self.session = session
        self.term = term

    def close(self) -> None:
        """Close the session; a later statement opens it again."""
        self.session.close()

    def cancel(self) -> None:
        """End the statement that is at work, if there is one, with an error; from any thread."""
        self.session.cancel()

    def in_term(self, write: Callable[[], T]) -> T | None:
        """Let statements that carry no term of their own write in the name of ours, in one transaction.

        They must be run on our session. ``None``, and nothing is written, once the term is over.
        """
        with self.session.atomic():
            return write() if self.leader_holds() else None

    # Clients

    @abstractmethod
    def client_clean(self, *, gone_for: timedelta, limit: int) -> list[str]:
        """Delete the rows of clients whose last heartbeat is older; their ids."""

    @abstractmethod
    def client_lose(self, sight: ClientSight, why: Fault, *, silent_for: timedelta) -> bool:
        """Take a client for lost; false if it is not as it was seen, or has been heard of since.

        Looks once more, in the statement itself: at the session for :attr:`Fault.CLIENT_LOST`, at the heartbeat always.
        """

    @abstractmethod
    def client_watch(self, *, with_queues: bool = False) -> Sights:
        """How the clients look that nobody takes for lost, and what else a leader looks at again and again. Writes nothing."""

    # Indexes of the job table

    @abstractmethod
    def index_drop(self, name: str) -> None:
        """Drop an index, without blocking anybody."""

    @abstractmethod
    def index_leftovers(self) -> list[str]:
        """Indexes that a rebuilding left behind half-done, unless one is at work."""

    @abstractmethod
    def index_list(self) -> list[str]:
        """All usable indexes of the job table; none where they cannot be rebuilt without blocking others."""

    @abstractmethod
    def index_rebuild(self, name: str) -> None:
        """Build an index anew, without blocking anybody. Takes as long as it takes."""

    @abstractmethod
    def index_seconds_until(self, at: time) -> float:
        """Seconds until this time of day comes next, in UTC, by the database's clock."""

    # Jobs

    @abstractmethod
    def job_clean(
        self, retention: Retention, *, after: int, span: int, slack: timedelta, limit: int
    ) -> CleanedPage:
        """Look at no more than ``limit`` of the ``span`` ids that follow ``after``; delete jobs that are kept no longer.

        Jobs count as old enough to be passed when they were created ``slack`` before what retention looks back to. The
        span bounds the work: where jobs have been deleted, the index may hold their ids for as long as somebody has a
        transaction open.
        """

    @abstractmethod
    def job_flag(self, job: RunningJob, *, usual: float, cancel: bool) -> bool:
        """Note that a running job is suspicious, and ask it to stop if ``cancel``; false if it is not as it was seen."""

    @abstractmethod
    def job_old(self, older_than: timedelta, *, limit: int) -> list[RunningJob]:
        """Jobs that have been running for longer, and are not flagged yet. Writes nothing."""

    @abstractmethod
    def job_rescue(
        self,
        *,
        rescue_after: timedelta | None,
        client_timeout: timedelta,
        poison_after: int,
        known_kinds: Sequence[str],
        limit: int,
    ) -> list[RescuedJob]:
        """Make jobs retry whose client is taken for lost; and those that have been running for ``rescue_after``, if that
        is given, and whose client does not live.

        A job at its last attempt is discarded if its kind is known, and left alone if not. One that has been rescued
        ``poison_after`` times with this is discarded, too, if its kind is known.
        """

    @abstractmethod
    def job_schedule(self, limit: int) -> list[tuple[str, int]]:
        """Make due scheduled and retryable jobs available, and say so; answers (queue, count).

        A job whose unique key is taken is discarded; one whose key somebody is just taking or freeing is left for later.
        """

    @abstractmethod
    def job_schedule_vacant(self, queues: Sequence[str], limit: int) -> list[tuple[str, int]]:
        """The same for these queues, in nobody's name: as long as no term is in force, and only then."""

    @abstractmethod
    def job_seconds_until_due(self) -> float | None:
        """Seconds until the next scheduled or retryable job is due; negative if it is, ``None`` without any."""

    @abstractmethod
    def job_take(self, job: RunningJob, *, error: str) -> bool:
        """Take a running job from its client, as an attempt that failed; false if it is not as it was seen.

        The time it has run is remembered like that of one that has ended: else nothing longer would ever be learnt. At
        the last attempt it is discarded.
        """

    # Run times

    @abstractmethod
    def run_time_clean(self) -> None:
        """Forget what :mod:`django_river.jobs.run_times` says is to be forgotten."""

    @abstractmethod
    def run_time_list(self) -> dict[str, list[Sample]]:
        """All samples by kind. Writes nothing."""

    # Leadership

    @abstractmethod
    def leader_lease(self) -> float | None:
        """Seconds that the present lease still holds, whoever has it; negative if it is over, ``None`` without any."""

    @abstractmethod
    def leader_holds(self) -> bool:
        """Whether our own term is in force; within a transaction, no other begins before that is over."""

    @abstractmethod
    def leader_lasts(self) -> bool:
        """Whether our own term is in force."""

    # Queues

    @abstractmethod
    def queue_clean(self, names: Sequence[str], *, untouched_for: timedelta) -> list[str]:
        """Delete rows of queues that are still idle, as :meth:`queue_idle` has it; their names."""

    @abstractmethod
    def queue_idle(self, *, untouched_for: timedelta, keep: Collection[str], limit: int) -> list[str]:
        """Queues that nobody has worked for so long, of which nothing is said, and that have no available job.

        Said of a queue is a pause, metadata, or what was given at run time.
        """

    @abstractmethod
    def queue_names(self) -> list[str]:
        """Queues that somebody has worked of late."""

    @abstractmethod
    def queue_search(self, names: Sequence[str], *, after: int, limit: int) -> QueuePage:
        """Look for jobs of these queues, in whatever state, among the ``limit`` that follow ``after``."""
