"""Where young jobs of a batch kind are gathered: every client can tell, without asking anybody.

Clients that gather the same kind at the same time get half-filled batches. So a kind has one *home* among the living
clients that work its queue; the others leave its jobs alone until they have been due for longer than the batch would
have waited: then the home has no room for them, or is gone. Which one it is follows from names alone (rendezvous hashing),
so that a client more or less moves few kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

from django_river.storage.batches import LivingClient


class Homes:
    """Written by the keeper, read by the fetcher; what is read is replaced as a whole.

    Queues of the leader alone are worked by one client at a time, whichever that is: it is the home of all their kinds.
    """

    def __init__(
        self, client_id: str, *, is_leader_bound: Callable[[str], bool] = lambda queue: False
    ) -> None:
        self.client_id = client_id
        self.is_leader_bound = is_leader_bound

        self._others: tuple[LivingClient, ...] = ()
        self._known: dict[tuple[str, str], bool] = {}

    def refresh(self, living: Iterable[LivingClient]) -> None:
        """Take note of who lives."""
        others = tuple(client for client in living if client.id != self.client_id)
        if others != self._others:
            self._others = others
            self._known = {}

    def is_here(self, queue: str, kind: str) -> bool:
        """Whether this client is the kind's home in this queue."""
        if self.is_leader_bound(queue):
            return True
        known = self._known
        place = (queue, kind)
        if place not in known:
            ours = _rank(self.client_id, place)
            known[place] = all(
                _rank(client.id, place) <= ours for client in self._others if queue in client.queues
            )
        return known[place]


def _rank(client_id: str, place: tuple[str, str]) -> bytes:
    return blake2b("\0".join((client_id, *place)).encode(), digest_size=8).digest()
