"""The part of the contract that is about queues: what is said of them at run time, and claims that have to count.

A queue's row holds the settings that were given, no others. A queue that is being removed keeps its row until nobody
can put jobs into it any more: what comes late is still drained, moved or deleted.

**Limits.** A claim from a limited queue comes after the one before it: it takes a lock on the queue, for as long as its
transaction lasts, counts the running rows, and claims what is missing. Nothing has to be given back, so nothing leaks.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from django_river.exceptions import QueueClosed
from django_river.histogram import Histogram
from django_river.queue_options import RateLimit

if TYPE_CHECKING:
    from django_river.storage.base import ClaimedJob, JobInsert
    from django_river.terms import Term

#: A queue that is at its limit may be below it after so many seconds.
LIMIT_SECONDS = 0.05
#: A queue that somebody else is claiming from just now.
BUSY_SECONDS = 0.01
#: What waits is counted up to this.
BACKLOG_LIMIT = 1000
#: What was seen of queues is kept for so long.
MINUTES_KEPT = timedelta(hours=1)
#: A period is remembered in so many parts.
PARTS = 100


class Removal(StrEnum):
    """What becomes of the jobs that wait in a queue that is removed."""

    DRAIN = "drain"
    MOVE = "move"
    DELETE = "delete"


class QueueRow(NamedTuple):
    """What is said of a queue at run time."""

    name: str
    #: A JSON object of what was given.
    settings: str
    #: How it is being removed; empty if it is not.
    removal: str
    moved_to: str
    #: Whether its last job is gone.
    is_removed: bool
    #: Another one with each change.
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedDemand:
    """How many jobs of a queue a client can take now, and what has to be counted before."""

    queue: str
    limit: int
    #: So many may run in all.
    most: int | None = None
    rate: RateLimit | None = None
    #: After so many seconds a job counts as one priority higher.
    ageing: float | None = None

    @property
    def is_counted(self) -> bool:
        """Whether those who claim from it must come one after the other."""
        return self.most is not None or self.rate is not None


@dataclass(slots=True)
class Claim:
    """What was claimed, and in how many seconds queues that could give no more may be asked again."""

    jobs: list[ClaimedJob] = field(default_factory=list)
    again_in: dict[str, float] = field(default_factory=dict)


class Backlog(NamedTuple):
    """What waits in a queue."""

    name: str
    #: At least so many, if it is :data:`BACKLOG_LIMIT`.
    available: int
    #: For how long the oldest has been due.
    waiting_seconds: float


class ProcessLoad(NamedTuple):
    """What a client, known by its process, runs of a queue."""

    pid: int
    #: Empty if it runs nothing.
    queue: str
    running: int
    #: For how long the oldest of them has been running.
    longest_seconds: float


class MinuteFigures(NamedTuple):
    """What a client saw of a queue in a minute."""

    queue: str
    completed: int
    failed: int
    waits: Histogram
    runs: Histogram


class Starts:
    """When how many jobs of a queue began within the last period, in hundredths of it.

    What began counts until the end of its hundredth is a period ago: at most that much too long, and never too short.
    """

    def __init__(self, rate: RateLimit, parts: Sequence[Sequence[float]], now: float) -> None:
        self.rate = rate
        self.now = now
        self.parts = [(end, count) for end, count in parts if end + rate.seconds > now]

    @property
    def room(self) -> int:
        """How many may begin now."""
        return max(0, self.rate.jobs - int(sum(count for _, count in self.parts)))

    @property
    def again_in(self) -> float:
        """In how many seconds more may begin."""
        return max(0.001, self.parts[0][0] + self.rate.seconds - self.now) if self.parts else LIMIT_SECONDS

    def add(self, count: int, *, after: float = 0.0) -> list[tuple[float, float]]:
        """So many have begun, so many seconds after now at the latest: the parts to be remembered."""
        width = self.rate.seconds / PARTS
        end = math.ceil((self.now + after) / width) * width
        counts = dict(self.parts)
        counts[end] = counts.get(end, 0) + count
        return sorted(counts.items())


class Queues(ABC):
    """What may be asked of the rows of queues."""

    def as_queues_say(self, jobs: Sequence[JobInsert]) -> Sequence[JobInsert]:
        """Jobs as the rows of their queues will have them.

        Raises :class:`~django_river.exceptions.QueueClosed` if one of these is being removed.
        """
        rows = {row.name: row for row in self.queue_row_list(sorted({job.queue for job in jobs}))}
        for job in jobs if rows else ():
            row = rows.get(job.queue)
            if row is not None and row.removal:
                raise QueueClosed(
                    f"{job.kind}: queue must be open, but {job.queue!r} is being removed ({row.removal})"
                )
        said = {name: json.loads(row.settings).get("max_attempts") for name, row in rows.items()}
        if not any(said.values()):
            return jobs
        return [
            msgspec.structs.replace(job, max_attempts=said[job.queue])
            if job.inherits_max_attempts and said.get(job.queue)
            else job
            for job in jobs
        ]

    @abstractmethod
    def client_running(self, host: str, pids: Sequence[int]) -> list[ProcessLoad]:
        """What these processes of a host run as clients, by queue.

        A client that runs nothing is answered with that; a process that is none, or has not announced itself, is not.
        """

    @abstractmethod
    def job_delete_in_queue(self, queue: str, limit: int) -> int:
        """Delete available, scheduled and retryable jobs of a queue; how many, and 0 when none is left that is free."""

    @abstractmethod
    def job_fetch_limited(
        self, client_id: str, demands: Sequence[LimitedDemand], limit: int, *, term: Term | None = None
    ) -> Claim:
        """Claim as ``job_fetch`` does, within what the queues' limits leave; with a term only while it is in force."""

    @abstractmethod
    def job_move(self, queue: str, to: str, limit: int) -> int:
        """Move available, scheduled and retryable jobs to another queue, those first that are first in line.

        How many, and 0 when none is left that is free. Everything else about a job stays as it is.
        """

    @abstractmethod
    def queue_apply(self, client_id: str, applied: str) -> None:
        """Write down what a client works, and by which version of each row: a JSON object by queue."""

    @abstractmethod
    def queue_backlogs(self, names: Sequence[str]) -> list[Backlog]:
        """What waits in these queues: some probes of the fetch index each."""

    @abstractmethod
    def queue_open(self, names: Sequence[str]) -> set[str]:
        """Those of the queues that have jobs that run, or that will without anybody's doing.

        Reads all scheduled and retryable jobs there are, once for all names.
        """

    @abstractmethod
    def queue_minute(self) -> datetime:
        """The beginning of this minute, by the database's clock."""

    @abstractmethod
    def queue_minute_prune(self) -> None:
        """Forget what was seen of queues too long ago."""

    @abstractmethod
    def queue_minute_put(self, minute: datetime, client_id: str, figures: Sequence[MinuteFigures]) -> None:
        """Write down what a client saw of queues in a minute, in place of what it wrote before."""

    @abstractmethod
    def queue_resume_at(
        self, names: Sequence[str], *, moment: datetime | None = None, delay: timedelta | None = None
    ) -> None:
        """Remember when paused queues are to be resumed; without a moment or a delay: forget it."""

    @abstractmethod
    def queue_seconds_until_resume(self) -> float | None:
        """Seconds until the next queue is to be resumed; negative if one is, ``None`` without any. Writes nothing."""

    @abstractmethod
    def queue_resume_due(self) -> list[str]:
        """Resume the queues whose moment has come, and tell the clients."""

    @abstractmethod
    def queue_row_add(self, name: str, settings: str) -> bool:
        """Add a queue, or take back its removal; false if it has a row. Tells the clients, as all changes do."""

    @abstractmethod
    def queue_row_change(self, name: str, settings: str, *, inherit: Sequence[str] = ()) -> None:
        """Put settings over those of the row, and take some out; a row is made if there is none."""

    @abstractmethod
    def queue_row_close(self, name: str, removal: Removal, moved_to: str = "") -> None:
        """Begin to remove a queue; a row is made if there is none."""

    @abstractmethod
    def queue_row_digest(self) -> str:
        """Another text when any row has changed."""

    @abstractmethod
    def queue_row_list(self, names: Sequence[str] | None = None) -> list[QueueRow]:
        """The rows of these queues, or all, by name."""

    @abstractmethod
    def queue_row_prune(self, keep: Sequence[str], kept_for: timedelta) -> list[str]:
        """Forget queues that were removed so long ago, but for those to be kept; the names of those that went."""

    @abstractmethod
    def queue_row_set_removed(self, name: str, *, is_removed: bool) -> None:
        """Say that the last job of a queue that is being removed is gone, or that one came late."""

    @abstractmethod
    def queue_running(self, names: Sequence[str]) -> dict[str, int]:
        """How many jobs of these queues run, on all clients; a queue without any is left out."""


def read_starts(raw: str | None) -> list[list[float]]:
    """What was remembered."""
    parts: list[list[float]] = json.loads(raw or "[]")
    return parts


def sizes(
    demands: Sequence[LimitedDemand],
    running: Mapping[str, int],
    starts: Mapping[str, Starts],
    again_in: dict[str, float],
) -> dict[str, int]:
    """How many of each queue may be claimed; those of which fewer than asked for are put into ``again_in``."""
    found = {}
    for demand in demands:
        name, size = demand.queue, demand.limit
        if demand.most is not None and (left := demand.most - running.get(name, 0)) < size:
            size, again_in[name] = max(0, left), LIMIT_SECONDS
        if name in starts and (left := starts[name].room) < size:
            size, again_in[name] = left, starts[name].again_in
        found[name] = size
    return found


def forget_exhausted(
    claim: Claim, demands: Sequence[LimitedDemand], asked: Mapping[str, int], limit: int
) -> None:
    """A queue that gave less than it was asked for has no more: it need not be asked again soon."""
    if len(claim.jobs) >= limit:
        return
    counts = Counter(job.queue for job in claim.jobs)
    for demand in demands:
        if counts[demand.queue] < asked[demand.queue]:
            claim.again_in.pop(demand.queue, None)


def begun(
    jobs: Sequence[ClaimedJob], starts: Mapping[str, Starts], *, after: float
) -> Iterator[tuple[str, str]]:
    """What is to be remembered of a claim that took so many seconds, by queue, as JSON."""
    for name, known in starts.items():
        count = sum(job.queue == name for job in jobs)
        if count:
            yield name, json.dumps(known.add(count, after=after))
