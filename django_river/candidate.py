"""A client's part in leading: it stands for election, and does what comes with the lead. Wiring; no loop, no query."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from django_river.conf import Config
from django_river.leader_policy import Candidacy, load_policy
from django_river.leadership import Elector
from django_river.maintenance.maintainer import Maintainer
from django_river.notifier import Notifier
from django_river.polls import Poll
from django_river.registration import Registration
from django_river.storage.base import ClientInfo
from django_river.terms import Term, TermEnd
from django_river.work.keeper import Keeper
from django_river.work.leader_bound import LeaderBound
from django_river.work.steward import Steward

ELECTION = "election"
#: A rival counts as healthy that has missed at most so many heartbeats.
MISSED_BEATS = 3


class Maintenance:
    """The leader's services, as the steward starts and stops them."""

    def __init__(self, maintainer: Maintainer) -> None:
        self.maintainer = maintainer

    def begin(self, term: Term) -> None:
        """Start them."""
        self.maintainer.start(term)

    def end(self) -> None:
        """Stop them."""
        self.maintainer.stop()


class Candidate:
    """Builds policy, elector and steward of one client, and tells them what concerns them.

    A client whose ``objection`` is not empty only says so: it has no steward, and seeks no lease.
    """

    def __init__(
        self,
        *,
        client_id: str,
        config: Config,
        objection: str,
        registration: Registration,
        keeper: Keeper,
        notifier: Notifier | None,
        maintainer: Maintainer,
        leader_bound: LeaderBound,
        poll: Poll,
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self.keeper = keeper
        self.notifier = notifier
        self.leader_bound = leader_bound
        self.may_stand = not objection

        self.candidacy = Candidacy(
            load_policy(config.leader_election), forbidden=lambda: objection or registration.objection
        )
        self.elector = Elector(
            storage=keeper.storage,
            client_id=client_id,
            ttl=config.leader_ttl,
            candidacy=self.candidacy,
            minimum_term=config.leader_election.minimum_term,
            alive_for=MISSED_BEATS * config.heartbeat_interval,
            has_session=self._has_session,
            let_go=leader_bound.let_go,
            poll=poll,
        )
        self.steward = Steward(
            elector=self.elector,
            # First what takes no time.
            charges=[leader_bound, Maintenance(maintainer)],
            on_trouble=self._hurry,
        )
        self.steward.on_crash = on_crash
        # The session that others have been told of. Written by the keeper.
        self._session: int | None = None
        if self.may_stand:
            keeper.add(ELECTION, self.elector.attempt, is_urgent=True)

    def start(self) -> None:
        """Be ready for a term."""
        if self.may_stand:
            self.steward.start()

    def present(self, client: ClientInfo) -> ClientInfo:
        """The client as it presents itself now: whether it stands, how much it is wanted, and its session."""
        self._session = self._current_session
        return replace(self.candidacy.present(client), session=self._session)

    def hear(self, action: str, leader_id: str) -> None:
        """What others say about leading."""
        if not self.may_stand:
            return
        own = self.elector.client_id
        if action == "resigned" and leader_id != own:
            self._hurry()
        elif action == "request_resign" and leader_id in {"", own} and self.elector.is_leader:
            self.elector.step_down(TermEnd.RESIGNED, "it was asked to resign")
            self._hurry()

    def reconsider(self) -> None:
        """Whether we may lead has changed, and the heartbeat has said so: a leader that must not resigns."""
        if self.may_stand:
            self._hurry()

    def suspect(self) -> None:
        """Our session is lost: a leader sees at once, and often, whether it still is one."""
        if self.may_stand:
            self._hurry()

    def retire(self) -> None:
        """Stand no more; resign as soon as no leader-bound job is running. The first thing of a stop."""
        self.leader_bound.close()
        if self.may_stand:
            self.elector.step_down(TermEnd.STOPPED, "it is stopped", abstain_for=math.inf)
            self._hurry()

    def stop(self, timeout: float) -> None:
        """End the steward. The keeper has ended; if we still lead, we resign."""
        try:
            self.elector.resign()
        finally:
            self.steward.stop(timeout)

    def _hurry(self) -> None:
        self.keeper.hurry(ELECTION)

    @property
    def _current_session(self) -> int | None:
        return None if self.notifier is None else self.notifier.listener.session

    def _has_session(self) -> bool:
        return self._session is None or self._session == self._current_session
