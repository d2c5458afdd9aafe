"""Who counts as gone. Pure: it is told what was seen and when, and says of whom that is enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from django_river.faults import Fault
from django_river.storage.upkeep import ClientSight, Sights

#: A client whose session is gone is given so many seconds to say that it has another one: it reconnects at once.
SESSION_GRACE = 2.0
#: Between two looks lie a second or two. After so many seconds we have been away ourselves.
AWAY = 6.0
#: How long clients may need to come back to a database that was away: the longest pause between two tries, and a margin.
RECOVERY = 10.0


class Verdict(NamedTuple):
    """A client that is to be taken for lost."""

    client: ClientSight
    why: Fault
    #: It must have been silent for so long, also by the time this is written down.
    silent_for: timedelta


class Judge:
    """Remembers what it saw. Two signs count: a session that is gone and stays gone, and a heartbeat that is too old.

    Neither says anything while the judge itself may be the one who is cut off. After it was away, or the server was, it
    waits until everybody has had the time to come back.
    """

    def __init__(
        self, *, own_id: str, client_timeout: float, heartbeat_interval: float, clock: Callable[[], float]
    ) -> None:
        self.own_id = own_id
        self.client_timeout = client_timeout
        self.beats_due = 3 * heartbeat_interval
        self.clock = clock

        self._watching_since: float | None = None
        self._seen_at = 0.0
        self._shaken_at: float | None = None
        self._server_age: float | None = None
        # Since when a client's session is gone, by the client and its session.
        self._gone_since: dict[tuple[str, int | None], float] = {}

    def shake(self) -> None:
        """The database did not answer, or our own session broke."""
        self._shaken_at = self.clock()
        self._watching_since = None
        self._gone_since.clear()

    def see(self, sights: Sights) -> list[Verdict]:
        """Look at all clients; those of whom it is enough."""
        now = self.clock()
        if self._watching_since is not None and now - self._seen_at > AWAY:
            self.shake()
        if self._has_restarted(sights.server_age):
            self.shake()
        if self._watching_since is None:
            self._watching_since = now
        self._seen_at = now
        others = [client for client in sights.clients if client.id != self.own_id]
        return self._lost(others, now) + self._stale(others, now)

    def is_calm(self) -> bool:
        """Whether we have watched for so long that every living client has been heard of."""
        now = self.clock()
        return self._watching_since is not None and now - self._watching_since >= self._patience

    @property
    def _patience(self) -> float:
        return max(self.beats_due, RECOVERY) if self._shaken_at is not None else self.beats_due

    def _has_restarted(self, server_age: float | None) -> bool:
        before, self._server_age = self._server_age, server_age
        return before is not None and server_age is not None and server_age < before

    def _lost(self, clients: list[ClientSight], now: float) -> list[Verdict]:
        gone = {(client.id, client.session): client for client in clients if client.is_session_gone}
        self._gone_since = {key: self._gone_since.get(key, now) for key in gone}
        is_shaken = self._shaken_at is not None and now - self._shaken_at < RECOVERY
        is_young = self._server_age is not None and self._server_age < RECOVERY
        if is_shaken or is_young:
            return []
        return [
            Verdict(client, Fault.CLIENT_LOST, timedelta(seconds=SESSION_GRACE))
            for key, client in gone.items()
            if now - self._gone_since[key] >= SESSION_GRACE and client.silent_for > SESSION_GRACE
        ]

    def _stale(self, clients: list[ClientSight], now: float) -> list[Verdict]:
        if not self.is_calm():
            return []
        return [
            Verdict(client, Fault.CLIENT_STALE, timedelta(seconds=self.client_timeout))
            for client in clients
            if client.silent_for > self.client_timeout and not client.is_session_gone
        ]
