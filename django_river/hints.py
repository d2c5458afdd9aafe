"""Wake-ups: in this process at once, to other processes at most once per queue and few milliseconds.

NOTIFY takes a lock at commit that all of a database's notifying transactions share, so a storm of them would make the
users' transactions wait for one another. A hint is left out when one for the same queue was sent less than
:data:`WINDOW` ago; whoever hears a hint therefore looks again after :data:`LOOK_AGAIN`, when everything that was left
out on its account has been committed. What takes longer to commit gets a hint of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from django.db import connections, transaction

WINDOW = 0.005
LOOK_AGAIN = 2 * WINDOW

Waker = Callable[[Collection[str]], None]


class Hints:
    """Which queues have just been talked about, and who listens in this process."""

    def __init__(self) -> None:
        # Written by any thread that enqueues; a lost update costs one notification more.
        self._sent_at: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._wakers: dict[str, tuple[Waker, ...]] = {}

    def due(self, using: str, queues: Collection[str], *, at: float, is_visible: bool = False) -> set[str]:
        """The queues for which no hint was sent within the window; ``at`` is monotonic.

        For jobs that are visible already it is :data:`LOOK_AGAIN`: whoever heard the last hint will see them.
        """
        window = LOOK_AGAIN if is_visible else WINDOW
        never = float("-inf")
        return {queue for queue in queues if at - self._sent_at.get((using, queue), never) >= window}

    def sent(self, using: str, queues: Collection[str], *, at: float) -> None:
        """Note hints whose statement began at ``at`` and has succeeded."""
        for queue in queues:
            self._sent_at[using, queue] = at

    def wake(self, using: str, queues: Collection[str]) -> None:
        """Wake the clients of this process."""
        for waker in self._wakers.get(using, ()):
            waker(queues)

    def wake_on_commit(self, using: str, queues: Collection[str]) -> None:
        """Wake them when they can see what the caller's transaction has done; a commit by hand is found by polling."""
        connection = connections[using]
        if connection.in_atomic_block:
            transaction.on_commit(lambda: self.wake(using, queues), using=using, robust=True)
        elif connection.get_autocommit():
            self.wake(using, queues)

    def add_waker(self, using: str, waker: Waker) -> None:
        """Let a client of this process hear what is enqueued here."""
        with self._lock:
            self._wakers[using] = (*self._wakers.get(using, ()), waker)

    def remove_waker(self, using: str, waker: Waker) -> None:
        """Stop it; safe twice."""
        with self._lock:
            self._wakers[using] = tuple(known for known in self._wakers.get(using, ()) if known != waker)


hints = Hints()
