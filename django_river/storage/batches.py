"""The part of the contract that is about batches: claims that go by kind, and who lives to make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from django_river.terms import Term

if TYPE_CHECKING:
    from django_river.storage.base import ClaimedJob, Demand

#: No claim by kind looks at more due jobs of a queue than this: what it passes over must not make it slow.
LOOK_AT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A kind that a client leaves to others, as long as a job has not been due for so many seconds."""

    queue: str
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """More jobs of a kind; those with one value of an argument, if it is named. ``value`` is JSON."""

    queue: str
    kind: str
    limit: int
    argument: str | None = None
    value: str | None = None


class LivingClient(NamedTuple):
    """A client whose heartbeat is fresh."""

    id: str
    queues: Sequence[str]


class Batches(ABC):
    """What may be asked for batches."""

    @abstractmethod
    def client_list_living(self, alive_for: timedelta) -> list[LivingClient]:
        """Clients whose heartbeat is no older than this, and that nobody takes for lost. Writes nothing."""

    @abstractmethod
    def job_fetch_matching(
        self, client_id: str, wanted: Sequence[Wanted], *, term: Term | None = None
    ) -> list[ClaimedJob]:
        """Claim due jobs of these kinds, in the order of their queue; with a ``term``, only while it is in force.

        Looks at :data:`LOOK_AT` due jobs of a queue at most.
        """

    @abstractmethod
    def job_fetch_without(
        self, client_id: str, demands: Sequence[Demand], limit: int, left_out: Sequence[LeftOut]
    ) -> list[ClaimedJob]:
        """Claim jobs as ``job_fetch`` does, but none that are left out. Looks at :data:`LOOK_AT` jobs of a queue."""
