"""Who counts as gone. Pure: it is told what was seen and when, and says of whom that is enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import RLock
from typing import NamedTuple

from django_river.faults import Fault
from django_river.storage.upkeep import ClientSight, Sights

#: A client whose session is gone is given so many seconds to say that it has another one: it reconnects at once.
SESSION_GRACE = 2.0
#: Between two looks lie a second or two. After so many seconds we have been away ourselves.
AWAY = 6.0
#: How long clients may need to come back to a database that was away: a connection that is tried in vain, the longest
#: pause before the next try, and a margin.
RECOVERY = 20.0


class Verdict(NamedTuple):
    """A client that is to be taken for lost."""

    client: ClientSight
    why: Fault
    #: It must have been silent for so long, also by the time this is written down.
    silent_for: timedelta


class Judge:
    """Remembers what it saw. Two signs count: a session that is gone and stays gone, and a heartbeat that is too old.

    Neither says anything while the judge itself may be the one who is cut off. After it was away, the database was, or
    the database's clock was set, it watches in silence until everybody has had the time to come back.
    """

    def __init__(
        self, *, own_id: str, client_timeout: float, heartbeat_interval: float, clock: Callable[[], float]
    ) -> None:
        self.own_id = own_id
        self.client_timeout = client_timeout
        self.beats_due = 3 * heartbeat_interval
        self.clock = clock

        # Guards the rest: whoever notices that our own session broke shakes us from another thread.
        self._lock = RLock()
        # Since when we watch without a break, and the last look, by our clock and the database's.
        self._watching_since: float | None = None
        self._seen_at = self._seen_at_database = 0.0
        self._is_shaken = False
        # Since when a client's session is gone, by the client and its session.
        self._gone_since: dict[tuple[str, int | None], float] = {}

    def shake(self) -> None:
        """The database did not answer, our own session broke, or we were away."""
        with self._lock:
            self._is_shaken = True
            self._watching_since = None
            self._gone_since.clear()

    def see(self, sights: Sights) -> list[Verdict]:
        """Look at all clients; those of whom it is enough."""
        others = [client for client in sights.clients if client.id != self.own_id]
        with self._lock:
            now = self.clock()
            if self._watching_since is not None and self._was_away(now, sights.at):
                self.shake()
            if self._watching_since is None:
                self._watching_since = now
            self._seen_at, self._seen_at_database = now, sights.at
            return self._lost(others, now) + self._stale(others)

    def is_calm(self) -> bool:
        """Whether we have watched for so long that every living client has been heard of."""
        with self._lock:
            return self._has_watched(max(self.beats_due, self._recovery))

    @property
    def _recovery(self) -> float:
        return RECOVERY if self._is_shaken else 0.0

    def _has_watched(self, seconds: float) -> bool:
        return self._watching_since is not None and self.clock() - self._watching_since >= seconds

    def _was_away(self, now: float, at_database: float) -> bool:
        """Whether we have not looked for long, or all of us have slept, or the database's clock was set."""
        passed = now - self._seen_at
        passed_there = at_database - self._seen_at_database
        return passed > AWAY or abs(passed_there - passed) > AWAY

    def _lost(self, clients: list[ClientSight], now: float) -> list[Verdict]:
        gone = {(client.id, client.session): client for client in clients if client.is_session_gone}
        self._gone_since = {key: self._gone_since.get(key, now) for key in gone}
        if not self._has_watched(self._recovery):
            return []
        return [
            Verdict(client, Fault.CLIENT_LOST, timedelta(seconds=SESSION_GRACE))
            for key, client in gone.items()
            if now - self._gone_since[key] >= SESSION_GRACE and client.silent_for > SESSION_GRACE
        ]

    def _stale(self, clients: list[ClientSight]) -> list[Verdict]:
        if not self.is_calm():
            return []
        return [
            Verdict(client, Fault.CLIENT_STALE, timedelta(seconds=self.client_timeout))
            for client in clients
            if client.silent_for > self.client_timeout and not client.is_session_gone
        ]
