"""Begins and ends what belongs to a term, in a thread of its own: renewing the lease never waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from django_river.leadership import Elector, News
from django_river.service import Backoff, Service
from django_river.signals import leader_elected, leader_lost
from django_river.terms import Term, TermEnd
from django_river.work import connections

logger = logging.getLogger(__name__)

#: With nothing to wait for; whatever happens wakes us.
LONG = 60.0


class Charge(Protocol):
    """What comes with a term and goes with it. ``end`` is safe without a ``begin``, and when that has failed."""

    def begin(self, term: Term) -> None:
        """Start; what it raises makes the leader resign."""
        ...

    def end(self) -> None:
        """Stop."""
        ...


class Steward(Service):
    """Does what the elector says: begins its charges when a term has begun, and ends them when it is over.

    It also looks at the clock: when our lease cannot be trusted any more, the charges end, though the elector may still
    be waiting for an answer of the database.
    """

    def __init__(
        self, *, elector: Elector, charges: Sequence[Charge], on_trouble: Callable[[], None]
    ) -> None:
        super().__init__("steward")
        self.elector = elector
        elector.on_news = self.wake
        self.charges = charges
        #: Called when the elector has been asked to resign.
        self.on_trouble = on_trouble

        # Written in our thread only.
        self._is_in_term = False
        self._abstention = Backoff(first=2.0, longest=60.0)

    def step(self) -> float:
        left = self.elector.seconds_trusted
        if left == 0.0:
            # To be asked ends it.
            self.elector.is_leader  # noqa: B018
        for news in self.elector.take_news():
            self._act_on(news)
            # Receivers may have used the ORM, and the next news may be weeks away.
            connections.close()
        return left or LONG

    def cleanup(self) -> None:
        try:
            for news in self.elector.take_news():
                # Nothing begins any more; but who was told of a term is told of its end.
                if news.why is not None and self._is_in_term:
                    self._act_on(news)
            self._end()
        finally:
            connections.close()

    def _act_on(self, news: News) -> None:
        term = news.term
        if news.why is None:
            self._begin(term)
            leader_elected.send_robust(type(self), client_id=term.leader_id, term=term)
        else:
            self._end()
            leader_lost.send_robust(type(self), client_id=term.leader_id, term=term, why=news.why)

    def _begin(self, term: Term) -> None:
        self._end()
        self._is_in_term = True
        try:
            for charge in self.charges:
                charge.begin(term)
        except Exception:
            logger.exception("client %s cannot do what a leader has to", term.leader_id)
            self.elector.step_down(
                TermEnd.RESIGNED, "its services cannot start", abstain_for=self._abstention.next()
            )
            self.on_trouble()
        else:
            self._abstention.reset()

    def _end(self) -> None:
        if not self._is_in_term:
            return
        self._is_in_term = False
        for charge in self.charges:
            try:
                charge.end()
            except Exception:
                logger.exception("what belongs to a term did not end")
