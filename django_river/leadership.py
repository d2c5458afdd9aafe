"""Who runs maintenance: one client, by River's lease row.

                     ┌── resigns, is stopped ─────────────────┐
    follower ──elected──► leader ──cannot renew in time──► follower
        ▲                    └───── the row is gone ──────────┘
        └── not wanted, or just resigned: looks on

What the database decides: who holds the row, and until when (its own clock). What this process decides: how long it may
still believe that (:data:`TRUST_MARGIN` less than the lease, by the monotonic clock, counted from before the statement
that won it). A term is named by leader *and* time of election, so a late renewal of an old term touches no newer one.

A follower looks at the lease every second. It stands for election when nobody leads, when the lease has expired, or when
the leader's session is gone at two looks in a row: its process was killed. That takes about a second, and is a guess;
what the leader writes therefore carries its term, and counts only while the row says so.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock

from django_river import storage as storages
from django_river.chance import chance
from django_river.conf import config
from django_river.leader_policy import Candidacy
from django_river.polls import NO_POLL, Poll
from django_river.storage.base import Storage
from django_river.storage.leaders import Lease, Sight
from django_river.terms import ORDERLY, Term, TermEnd

__all__ = ["Elector", "News", "Term", "TermEnd", "request_resign"]

logger = logging.getLogger(__name__)

#: The leader stops trusting its lease so many seconds before it ends.
TRUST_MARGIN = 1.0
#: A lease is renewed so many times in its life.
RENEWALS = 3
#: How often a follower looks at the lease, in seconds.
LOOK_SECONDS = 1.0
#: A leader's session must be gone for so long, at two looks: a connection that breaks is back sooner.
VANISHED_SECONDS = 0.4
#: How often a leader looks that has no session, or waits for its own jobs to end.
HURRIED_SECONDS = 0.1
#: Candidates leave so much time to one that is preferred.
DEFER_SECONDS = 1.0
#: Who resigns does not stand for so long.
ABSTAIN_SECONDS = 2.5


def request_resign(*, using: str | None = None) -> str | None:
    """Ask the leader to resign, when the caller's transaction commits: another client leads then, if one may.

    Returns the leader's id, or ``None`` if nobody leads. A client that cannot be told, because it does not listen,
    finds the request when it renews its lease. ``using`` is the alias of the database, that of the settings by default.

    >>> request_resign()                                                   # doctest: +SKIP
    'web-1_4711_9f86d081'
    """
    return storages.for_caller(using or config().database).leader_request_resign()


@dataclass(frozen=True, slots=True)
class News:
    """A term of ours has begun, or has ended and why."""

    term: Term
    why: TermEnd | None = None


@dataclass(frozen=True, slots=True)
class Farewell:
    """That we are about to resign."""

    why: TermEnd
    reason: str
    abstain_for: float


class Elector:
    """Seeks and keeps the lease. :meth:`attempt` and :meth:`resign` are for one thread, the keeper's; the rest for any.

    It never waits, and does nothing of what a leader does: it says what has become of its terms, and somebody else acts.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        client_id: str,
        ttl: float,
        candidacy: Candidacy,
        minimum_term: float = 60.0,
        alive_for: float = 15.0,
        has_session: Callable[[], bool] = lambda: True,
        let_go: Callable[[], bool] = lambda: True,
        poll: Poll = NO_POLL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.storage = storage
        self.client_id = client_id
        self.ttl = timedelta(seconds=ttl)
        self.candidacy = candidacy
        self.minimum_term = minimum_term
        #: How old a rival's heartbeat may be.
        self.alive_for = timedelta(seconds=alive_for)
        #: Whether our session stands; without it others may think that we are gone.
        self.has_session = has_session
        #: Asked before we resign, until it is true: that nothing runs any more that only a leader may run.
        self.let_go = let_go
        #: What a follower's look takes along.
        self.poll = poll
        self.clock = clock
        #: Called when :meth:`take_news` has something to say; from any thread, and under our lock. Set by the steward.
        self.on_news: Callable[[], None] = lambda: None

        # Guarded by the lock: the lease we hold, what is to be said of it, and what is to be written of former ones.
        self._lock = Lock()
        self._lease: Lease | None = None
        self._trusted_until = 0.0
        self._farewell: Farewell | None = None
        self._news: deque[News] = deque()
        self._ended: deque[tuple[Term, TermEnd]] = deque()
        # Written and read in the keeper's thread only.
        self._elected_at = self._renewed_at = self._abstain_until = 0.0
        self._vanished: tuple[Term, float] | None = None
        self._free_since: float | None = None
        # When we last saw that another one leads.
        self._seen_at: float | None = None
        # Whether an election may have been won whose answer was lost.
        self._is_uncertain = False

    @property
    def term(self) -> Term | None:
        """Our term, while we lead and may believe so. To ask too late ends it."""
        lease = self._held()
        return None if lease is None else lease.term

    @property
    def is_leader(self) -> bool:
        """Whether this client leads, and may still believe so."""
        return self._held() is not None

    @property
    def knows_leader(self) -> bool:
        """Whether it leads, or has just seen that another one does."""
        if self._seen_at is not None and self.clock() - self._seen_at < 2 * LOOK_SECONDS:
            return True
        return self.is_leader

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to resign."""
        return self._farewell is not None

    @property
    def seconds_trusted(self) -> float | None:
        """For how long we may still believe that we lead; ``None`` if we do not."""
        with self._lock:
            return None if self._lease is None else max(0.0, self._trusted_until - self.clock())

    def take_news(self) -> list[News]:
        """What has become of our terms since it was asked last, in order."""
        with self._lock:
            news = list(self._news)
            self._news.clear()
        return news

    def step_down(self, why: TermEnd, reason: str, *, abstain_for: float = ABSTAIN_SECONDS) -> None:
        """Resign at the next attempt, or as soon as we can let go; others lead then, if they may.

        ``reason`` is for the log. A follower only does not stand for ``abstain_for`` seconds. Of several reasons, the one
        with the longest abstention counts: who is stopped must not stand again because somebody has asked it to resign.
        """
        with self._lock:
            if self._farewell is None or self._farewell.abstain_for < abstain_for:
                self._farewell = Farewell(why, reason, abstain_for)

    def attempt(self) -> float:
        """Keep the lease, or look for one to take; answer in how many seconds to do it again."""
        lease = self._held()
        if lease is not None:
            return self._lead(lease)
        self._settle_ended()
        return self._follow()

    def resign(self, why: TermEnd = TermEnd.STOPPED, reason: str = "it is stopped") -> None:
        """End our term now, if there is one, and tell the others."""
        lease = self._held()
        if lease is not None:
            self._end(lease, why, reason)
        self._settle_ended()

    # What a leader does

    def _lead(self, lease: Lease) -> float:
        farewell = self._farewell
        if farewell is not None and self.let_go():
            self._leave(lease, farewell)
            return 0.0
        is_due = farewell is None or self.clock() - self._renewed_at >= self._renewal_interval
        if is_due and not self._renew(lease):
            return 0.0
        if self._farewell is not None or not self.has_session():
            return HURRIED_SECONDS
        return self._renewal_interval

    def _renew(self, lease: Lease) -> bool:
        """Whether we go on leading."""
        began = self.clock()
        renewal = self.storage.leader_renew(lease.term, self.ttl)
        if renewal is None:
            seen = self.storage.leader_watch()
            why = TermEnd.LOST if seen is None else TermEnd.REPLACED
            self._end(lease, why, "its term is over")
        elif self._trust(lease, renewal.lease, began):
            self._renewed_at = began
            self._consider_leaving(is_asked=renewal.is_asked_to_resign)
            return True
        self._settle_ended()
        return False

    def _consider_leaving(self, *, is_asked: bool) -> None:
        if is_asked:
            self.step_down(TermEnd.RESIGNED, "it was asked to resign")
        elif self.candidacy.objection:
            self.step_down(TermEnd.RESIGNED, self.candidacy.objection)
        elif self.clock() - self._elected_at >= self.minimum_term and self._has_rival():
            self.step_down(TermEnd.RESIGNED, "another client is preferred")

    def _leave(self, lease: Lease, farewell: Farewell) -> None:
        self._abstain(farewell)
        self._end(lease, farewell.why, farewell.reason)
        self._settle_ended()

    def _abstain(self, farewell: Farewell) -> None:
        self._abstain_until = max(self._abstain_until, self.clock() + farewell.abstain_for)
        with self._lock:
            # A weightier one may have come meanwhile; it is for the next attempt.
            if self._farewell is farewell:
                self._farewell = None

    # What a follower does

    def _follow(self) -> float:
        if self._farewell is not None:
            self._abstain(self._farewell)
        if self.candidacy.objection or self.clock() < self._abstain_until:
            self._vanished = self._free_since = None
            return _about(LOOK_SECONDS)
        # Not while we know of no leader: without one there is no answer.
        has_leader = self._seen_at is not None
        seen = self.storage.leader_watch(with_queues=has_leader and self.poll.is_wanted())
        if seen is not None and seen.queues is not None:
            self.poll.answer(seen.queues)
        if seen is None or seen.seconds_left < 0:
            self._seen_at = None
            return self._stand()
        self._seen_at = self.clock()
        if self._is_uncertain and seen.lease.leader_id == self.client_id:
            return self._adopt(seen.lease)
        if seen.is_vanished:
            return self._suspect(seen)
        self._vanished = self._free_since = None
        return min(_about(LOOK_SECONDS), seen.seconds_left + 0.01)

    def _suspect(self, seen: Sight) -> float:
        """The leader's session is gone: if it still is at another look, so is the leader."""
        now, term = self.clock(), seen.lease.term
        if self._vanished is None or self._vanished[0] != term:
            self._vanished = term, now
        left = self._vanished[1] + VANISHED_SECONDS - now
        return left if left > 0 else self._stand(vanished=term)

    def _stand(self, *, vanished: Term | None = None) -> float:
        began = self.clock()
        if self._free_since is None:
            self._free_since = began
        if began - self._free_since < DEFER_SECONDS and self._has_rival():
            return HURRIED_SECONDS
        self._is_uncertain = True
        lease = self.storage.leader_elect(self.client_id, self.ttl, vanished=vanished)
        self._vanished = self._free_since = None
        self._is_uncertain = False
        if lease is None:
            return _about(LOOK_SECONDS)
        self._gain(lease, began)
        return self._renewal_interval if self.has_session() else HURRIED_SECONDS

    def _adopt(self, lease: Lease) -> float:
        """We won, and the answer was lost on the way."""
        began = self.clock()
        renewal = self.storage.leader_renew(lease.term, self.ttl)
        self._is_uncertain = False
        if renewal is None:
            return 0.0
        self._gain(renewal.lease, began)
        return self._renewal_interval

    # The lease

    @property
    def _renewal_interval(self) -> float:
        return self.ttl.total_seconds() / RENEWALS

    def _has_rival(self) -> bool:
        return self.storage.leader_rival_exists(self.client_id, self.candidacy.preference, self.alive_for)

    def _held(self) -> Lease | None:
        with self._lock:
            lease = self._lease
            if lease is not None and self.clock() >= self._trusted_until:
                self._end_locked(lease, TermEnd.EXPIRED, "its lease could not be renewed in time")
            return self._lease

    def _gain(self, lease: Lease, began: float) -> None:
        with self._lock:
            self._lease = lease
            self._trusted_until = began + self.ttl.total_seconds() - TRUST_MARGIN
            self._news.append(News(lease.term))
            self._elected_at = self._renewed_at = began
            logger.info("client %s leads since %s", self.client_id, lease.elected_at)
            self.on_news()

    def _trust(self, lease: Lease, renewed: Lease, began: float) -> bool:
        """Believe in a renewal that was asked for at ``began``; false if our time was up before it was answered."""
        with self._lock:
            if self._lease is not lease:
                return False
            self._lease = renewed
            self._trusted_until = began + self.ttl.total_seconds() - TRUST_MARGIN
            return True

    def _end(self, lease: Lease, why: TermEnd, reason: str) -> None:
        with self._lock:
            if self._lease is lease:
                self._end_locked(lease, why, reason)

    def _end_locked(self, lease: Lease, why: TermEnd, reason: str) -> None:
        self._lease = None
        self._news.append(News(lease.term, why))
        self._ended.append((lease.term, why))
        level = logging.INFO if why in ORDERLY else logging.WARNING
        logger.log(level, "client %s leads no longer: %s", self.client_id, reason)
        self.on_news()

    def _settle_ended(self) -> None:
        """Free the lease of terms that we have ended, and write down why."""
        while self._ended:
            term, why = self._ended[0]
            self.storage.leader_resign(term, why)
            self._ended.popleft()


def _about(seconds: float) -> float:
    """So that clients do not look all at once."""
    return seconds * chance.uniform(0.9, 1.1)
