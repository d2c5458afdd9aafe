"""The contract of storage: everything that may be asked of the job tables, alike on every database.

Only storage holds SQL, and only storage writes a state: "how can a job become X?" is answered by the ``.sql`` files
of one driver. Methods are named noun first. Every time that is written is the database's own; callers pass spans, or
moments the user chose.

                      enqueue
        ┌────────────────┼───────────────┐
        ▼                ▼               ▼
    scheduled ─due─► available ◄─retry─ pending
        ▲                │  ▲
        │              fetch │ error or snooze due soon, interruption
      snooze             ▼  │
        └───────────── running ──error──► retryable ─due─► available
                         │
         completed ◄─────┼─────► discarded
                         ▼
                     cancelled

**The fence.** A result is applied only to the attempt that produced it: the row is ``running``, its ``attempt`` is the
one claimed, and this client is the last entry of ``attempted_by``. Whatever else has happened to the row stays.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import msgspec

from django_river.jobs.states import State
from django_river.storage.batches import Batches
from django_river.storage.leaders import Leaders
from django_river.storage.long_jobs import LongJobs
from django_river.storage.queues import Queues

#: A retry or snooze due within this goes straight to ``available``: it need not wait for a leader.
SHORT_DELAY = timedelta(seconds=5)
#: ``attempted_by`` keeps this many client ids, the newest last.
ATTEMPTED_BY_LIMIT = 100

TOPIC_INSERT = "river_insert"
TOPIC_CONTROL = "river_control"
TOPIC_LEADERSHIP = "river_leadership"
#: Ours alone: other periodic jobs are in force.
TOPIC_REGISTRY = "django_river_registry"
#: Ours: what is said of queues has changed.
TOPIC_QUEUES = "django_river_queues"


class JobInsert(msgspec.Struct, kw_only=True, gc=False):
    """A job to insert. ``args`` and ``metadata`` are encoded JSON objects."""

    kind: str
    args: bytes
    queue: str = "default"
    priority: int = 1
    max_attempts: int = 25
    #: Whether the queue's row may say another number.
    inherits_max_attempts: bool = False
    metadata: bytes = b"{}"
    tags: Sequence[str] = ()
    #: When to run, as a moment …
    scheduled_at: datetime | None = None
    #: … or as a span from the database's now. Neither: at once.
    delay: timedelta | None = None
    pending: bool = False
    unique_key: bytes | None = None
    unique_states: int | None = None


class InsertedJob(NamedTuple):
    """What became of a :class:`JobInsert`: its row, or the row that holds its unique key."""

    id: int
    state: str
    attempt: int
    scheduled_at: datetime
    created_at: datetime
    skipped: bool
    #: What was stored; ``None`` for a row that was there.
    max_attempts: int | None = None


class Place(NamedTuple):
    """Where a job stood in its queue when it was claimed, and how long it had been due then, in seconds."""

    id: int
    priority: int
    waited: float


class ClaimedJob(NamedTuple):
    """A job that this client has fetched and must answer for."""

    id: int
    kind: str
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    #: Failed attempts so far.
    errors: int
    #: Encoded JSON; decoded in the worker thread.
    args: str | bytes
    metadata: str | bytes
    #: How long it was due before it was claimed, in seconds.
    waited: float = 0.0

    @property
    def place(self) -> Place:
        """Where it stood."""
        return Place(self.id, self.priority, self.waited)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How many jobs of a queue a client can take now."""

    queue: str
    limit: int
    #: Where a job of the queue stood that was claimed before: those that stand before it may be left out.
    after: Place | None = None


class JobSetState(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt's result, to be written through the fence."""

    id: int
    attempt: int
    state: State
    #: From now until the job is due; ``None`` leaves ``scheduled_at``, and so the job's place in the queue.
    delay: timedelta | None = None
    #: An entry of ``errors``, as JSON without ``at`` (the row's ``attempted_at`` is put in).
    error: bytes | None = None
    #: Merged into the row's metadata, as JSON.
    metadata: bytes | None = None
    #: Whether this attempt does not count (snooze, interruption).
    give_attempt_back: bool = False

    @property
    def is_plain_success(self) -> bool:
        """Whether nothing but the state is to be written: the common case, written the cheap way."""
        return self.state is State.COMPLETED and self.error is None and self.metadata is None


class StoredState(NamedTuple):
    """What :meth:`Storage.job_set_state_many` stored."""

    id: int
    state: str


class ChangedJob(NamedTuple):
    """A row that an operation looked at: its state afterwards, and whether the operation changed it."""

    id: int
    queue: str
    state: str
    changed: bool


class QueueState(NamedTuple):
    """A queue's row, as clients need it."""

    name: str
    is_paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """A running client, as it presents itself."""

    id: str
    host: str
    pid: int
    version: str
    slots: int
    queues: Sequence[str] = field(default_factory=tuple)
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Why it does not stand for election; empty if it does.
    objection: str = ""
    #: A leader yields to a living candidate with a higher one.
    preference: int = 0
    #: The key of the lock that its session holds, if it holds one.
    session: int | None = None
    #: Which of its parts fail, by name, and what is to be said of each.
    troubles: Mapping[str, str] = field(default_factory=dict)
    release: str = ""
    #: Which periodic jobs it declares.
    registry_hash: str = ""

    @property
    def can_lead(self) -> bool:
        """Whether it stands for election."""
        return not self.objection

    def row(self) -> dict[str, Any]:
        """Its row, for either database: what has parts as JSON."""
        parts = {"queues": list(self.queues), "labels": dict(self.labels), "troubles": dict(self.troubles)}
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in parts}
        return {
            **plain,
            "can_lead": self.can_lead,
            **{name: json.dumps(part) for name, part in parts.items()},
        }


class Session(Protocol):
    """A way to run statements: a connection of our own, or Django's of the calling thread."""

    def execute(self, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        ...

    def atomic(self) -> AbstractContextManager[Any]:
        """All or nothing; joins a transaction that is already open."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether statements wait for somebody's commit."""
        ...

    def cancel(self) -> None:
        """End the statement that another thread is waiting for; it gets an error. For connections of our own."""
        ...

    def close(self) -> None:
        """Close what is ours; safe twice. A later statement opens it again."""
        ...


class Listener(Protocol):
    """A connection that hears notifications, and whose lock says that its process lives."""

    #: The key of an advisory lock that this connection holds, another one each time; ``None`` while it has none.
    session: int | None

    def connect(self, topics: Collection[str]) -> bool:
        """Open and listen. ``False`` if nothing can be heard on this connection (a transaction pooler)."""
        ...

    def wait(self, timeout: float) -> list[tuple[str, str]]:
        """Wait for notifications: (topic, payload) pairs. Empty after ``timeout`` seconds."""
        ...

    def interrupt(self) -> None:
        """Let a :meth:`wait` in another thread return now."""
        ...

    def close(self) -> None:
        """Close the connection; safe twice."""
        ...


class Storage(Leaders, Batches, Queues, LongJobs):
    """The job tables. One object per session; not for use by two threads at once.

    Errors of the database are Django's (``django.db.Error`` and below) whatever the session.
    """

    #: How often an idle client looks for work unasked, in seconds.
    default_poll_interval: float
    #: Whether other processes can be woken by :meth:`notify_many`.
    can_notify: bool

    def __init__(self, session: Session) -> None:
        self.session = session

    def close(self) -> None:
        """Close the session."""
        self.session.close()

    # Clients

    @abstractmethod
    def client_beat(self, info: ClientInfo) -> str:
        """Say that a client lives: insert its row, or renew its heartbeat.

        Answers why it had been taken for lost (:class:`~django_river.faults.Fault`); empty if it had not.
        """

    @abstractmethod
    def client_delete(self, client_id: str) -> None:
        """Remove a client that has stopped."""

    # Jobs

    @abstractmethod
    def job_cancel(self, ids: Sequence[int]) -> list[ChangedJob]:
        """Cancel open jobs. A running one is marked, and its owner told to stop the attempt.

        ``changed`` is false for jobs that are over. Ids without a row are left out.
        """

    @abstractmethod
    def job_delete(self, ids: Sequence[int]) -> list[ChangedJob]:
        """Delete jobs that are not running; ``changed`` is false for those that are."""

    @abstractmethod
    def job_fetch(self, client_id: str, demands: Sequence[Demand], limit: int) -> list[ClaimedJob]:
        """Claim due jobs for all demands at once, no more than ``limit`` together; earlier demands come first."""

    @abstractmethod
    def job_has_due(self, queues: Sequence[str], *, scheduled: bool = True) -> bool:
        """Whether any waiting job of these queues is due now; paused queues have none.

        ``scheduled`` says whether to count those that a leader has to make available first.
        """

    @abstractmethod
    def job_insert_many(
        self, jobs: Sequence[JobInsert], *, notify: Collection[str] = (), are_open: bool = False
    ) -> list[InsertedJob]:
        """Insert jobs, and say in the same statement or transaction that the ``notify`` queues have work.

        Looks at the rows of their queues: none is inserted, and :class:`~django_river.exceptions.QueueClosed` raised, if
        one of these is being removed. ``are_open`` may leave that out: the caller has looked a moment ago.

        The answer is in the order of ``jobs``. A job whose unique key is taken is not inserted and nothing is changed;
        the answer is the row that holds the key.
        """

    @abstractmethod
    def job_queues(self) -> list[str]:
        """Queues that have available jobs, found without looking at each job."""

    @abstractmethod
    def job_release_unknown(self, client_id: str, known_ids: Sequence[int]) -> list[int]:
        """Hand back what this client has claimed without knowing it: the answer to a fetch was lost on the way."""

    @abstractmethod
    def job_retry(self, ids: Sequence[int]) -> list[ChangedJob]:
        """Make jobs available now, with an attempt more if they have none left.

        ``changed`` is false for running jobs, and for those whose unique key another job has taken.
        """

    @abstractmethod
    def job_set_state_many(self, client_id: str, changes: Sequence[JobSetState]) -> list[StoredState]:
        """Write results through the fence, all in one transaction; what it refuses is not in the answer."""

    # Notifications

    @abstractmethod
    def notify_many(self, topic: str, payloads: Sequence[str]) -> None:
        """Send notifications, with the transaction if there is one."""

    # Queues

    @abstractmethod
    def queue_list(self, names: Sequence[str]) -> list[QueueState]:
        """How these queues stand; those without a row are left out. Writes nothing."""

    @abstractmethod
    def queue_pause(self, name: str) -> list[str]:
        """Pause a queue (``*`` for all), and tell the clients; the names of those that were not paused before."""

    @abstractmethod
    def queue_resume(self, name: str) -> list[str]:
        """Resume a queue (``*`` for all), and tell the clients; the names of those that were paused."""

    @abstractmethod
    def queue_touch(self, names: Sequence[str]) -> list[QueueState]:
        """Say that these queues are worked: insert or renew their rows; answers how they stand."""
