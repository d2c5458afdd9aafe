"""The part of the contract that is about leading: a lease, its terms, and what only the leader may claim.

The lease is River's: one row, whose holder every River client respects. Beside it we keep a history of terms, and look
at the leader's *session*: an advisory lock that its listening connection holds, and that goes with its process. A lease
whose session is gone may be taken before it expires; where sessions say nothing, the lease alone decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django_river.terms import Term, TermEnd

if TYPE_CHECKING:
    from django_river.storage.base import ClaimedJob, Demand
    from django_river.storage.batches import LeftOut

#: So many terms are remembered, and none for longer than this.
TERMS_KEPT = 1000
TERMS_KEPT_FOR = timedelta(days=90)


class Lease(NamedTuple):
    """Who leads, since when, and until when unless it is renewed."""

    leader_id: str
    elected_at: datetime
    expires_at: datetime

    @property
    def term(self) -> Term:
        """The term's name."""
        return Term(self.leader_id, self.elected_at)


class Renewal(NamedTuple):
    """A lease that has been renewed."""

    lease: Lease
    #: Whether somebody has asked this leader to resign.
    is_asked_to_resign: bool


class Sight(NamedTuple):
    """The lease as others see it."""

    lease: Lease
    #: Until it expires, by the database's clock; negative if it has.
    seconds_left: float
    #: Whether the leader promised to hold a session, and it is gone.
    is_vanished: bool
    #: Queues that have available jobs, if that was asked on the way.
    queues: Sequence[str] | None = None


class LeftJob(NamedTuple):
    """A job that a former leader has left running."""

    id: int
    kind: str
    attempt: int
    max_attempts: int
    client_id: str
    #: How often it has been rescued before.
    rescues: int


class Leaders(ABC):
    """What may be asked of the lease. All times are the database's."""

    @abstractmethod
    def job_fetch_as_leader(
        self, term: Term, demands: Sequence[Demand], limit: int, left_out: Sequence[LeftOut] = ()
    ) -> list[ClaimedJob]:
        """Claim jobs as ``job_fetch`` does, if this term is in force; it stays so until the claim is committed.

        With ``left_out`` as ``job_fetch_without`` does.
        """

    @abstractmethod
    def job_left_by_leaders(self, queues: Sequence[str]) -> list[LeftJob]:
        """What runs in these queues, claimed last by a client whose term is over. Writes nothing."""

    @abstractmethod
    def leader_elect(self, client_id: str, ttl: timedelta, *, vanished: Term | None = None) -> Lease | None:
        """Try to begin a term; ``None`` if another one is in force.

        A ``vanished`` one is ended first, if its session is still gone. The winner writes down how former terms ended.
        """

    @abstractmethod
    def leader_renew(self, term: Term, ttl: timedelta) -> Renewal | None:
        """Prolong exactly this term; ``None`` if it is over."""

    @abstractmethod
    def leader_request_resign(self) -> str | None:
        """Ask the leader to resign, by a message and in its term's row; its id, or ``None`` if nobody leads."""

    @abstractmethod
    def leader_resign(self, term: Term, why: TermEnd = TermEnd.RESIGNED) -> bool:
        """End exactly this term, tell the others, and write down why; whether it was still in force."""

    @abstractmethod
    def leader_rival_exists(self, client_id: str, preference: int, alive_for: timedelta) -> bool:
        """Whether another candidate lives that is preferred to this one."""

    @abstractmethod
    def leader_watch(self, *, with_queues: bool = False) -> Sight | None:
        """Who leads now, and whether that may be taken over; ``None`` if nobody does. Writes nothing.

        ``with_queues`` asks on the way which queues have jobs.
        """
