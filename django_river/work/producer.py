"""One queue on one client: its slots, whether it is paused, and what it may fetch. No thread, no connection.

An attempt of a queue is *running* while it holds one of ``max_workers`` slots, and *waiting* while it is claimed ahead
of time. The last job to finish in a slot hands the slot to the next waiting one, so a queue never runs more than its
slots allow, however many threads the client has.

How many may wait is limited by time: what the queue finishes in :data:`PREFETCH_SECONDS` at its present rate. No-op
jobs go through in batches of hundreds; ten-minute jobs are claimed one by one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from django_river.queue_options import QueueConfig
from django_river.terms import Term
from django_river.work.attempts import Attempt
from django_river.work.bookmark import Bookmark

#: Half of it is to last for as long as a claim takes, also while a hundred threads want Python's lock (docs: adr/0013).
PREFETCH_SECONDS = 0.06
MAX_PREFETCH = 2000
#: The rate is measured over at least this long.
RATE_WINDOW = 0.01
#: A job that waits this long though it was claimed to start soon is handed back.
LONGEST_WAIT = 1.0


class Rate:
    """How many per second, of late. Not safe for threads by itself."""

    def __init__(self) -> None:
        self.per_second = 0.0
        self._count = 0
        self._measured_at = time.monotonic()

    def add(self, count: int = 1) -> None:
        """So many more."""
        self._count += count

    def measure(self) -> None:
        """Look at the clock: fast to believe in slower times, slower to believe in faster ones."""
        now = time.monotonic()
        elapsed = now - self._measured_at
        if elapsed < RATE_WINDOW:
            return
        measured = self._count / elapsed
        self.per_second = measured if measured < self.per_second else (self.per_second + measured) / 2
        self._count = 0
        self._measured_at = now

    @property
    def prefetch(self) -> int:
        """How many are done in :data:`PREFETCH_SECONDS`."""
        return min(MAX_PREFETCH, int(self.per_second * PREFETCH_SECONDS))


class Producer:
    """Slots and settings of one queue. All methods may be called from any thread."""

    def __init__(
        self,
        name: str,
        *,
        max_workers: int = 10,
        is_leader_bound: bool = False,
        config: QueueConfig | None = None,
    ) -> None:
        self.name = name
        #: Written by the keeper, when they change.
        self.config = config or QueueConfig(max_workers=max_workers, leader_only=is_leader_bound)
        self.max_workers = (
            self.config.max_workers if self.config.autoscale is None else self.config.autoscale.minimum
        )

        #: Its share of the client's slots, when they have to be shared out. Written by the fetcher.
        self.allowance: int | None = None
        #: Whether nothing is to be claimed any more: the queue is removed, or not ours. Written by the keeper.
        self.is_retired = False
        #: Whether there may be jobs to fetch: set by hints and polls, cleared by a fetch that came back short.
        self.may_have_work = True
        #: Where the next claim begins.
        self.bookmark = Bookmark()
        #: Written by the keeper and the notifier.
        self.is_paused = False
        #: The term in which a leader-bound queue may be claimed from. Written by :class:`LeaderBound`.
        self.term: Term | None = None
        #: Slots that ready batches wait for, so that nothing else is claimed for them; and how to take back what is
        #: gathered for batches, of more than so many seconds. Written by :class:`Gatherer`.
        self.reserved = 0
        self.take_gathered: Callable[[float], list[Attempt]] | None = None
        # All below is guarded by the lock.
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[Attempt] = deque()
        self._waiting_since = 0.0
        self._rate = Rate()
        # With so many claimed, or fewer, a fetch is worth it.
        self._enough = self.max_workers - 1

    @property
    def is_leader_bound(self) -> bool:
        """Whether only the leader works it."""
        return self.config.leader_only

    @property
    def is_closed(self) -> bool:
        """Whether nothing may be claimed or begun: the queue is paused, or it is the leader's and we do not lead."""
        return self.is_paused or self.is_retired or (self.is_leader_bound and self.term is None)

    def apply(self, config: QueueConfig) -> None:
        """Go by other settings from now on; what runs beyond fewer slots finishes."""
        with self._lock:
            self.config = config
            self._resize(self._size())

    def resize(self, max_workers: int) -> None:
        """Have so many slots from now on."""
        with self._lock:
            self._resize(max_workers)

    def _size(self) -> int:
        """How many slots the settings give; between the bounds of an automatic one, what it has come to."""
        rule = self.config.autoscale
        if rule is None:
            return self.config.max_workers
        return max(rule.minimum, min(rule.maximum, self.max_workers))

    def _resize(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self._enough = max_workers - 1

    @property
    def load(self) -> int:
        """Claimed and not finished."""
        return self._running + len(self._waiting)

    @property
    def free(self) -> int:
        """Slots that nobody holds or waits for; below 0 if more wait than there are."""
        return self.max_workers - self.load

    @property
    def running(self) -> int:
        """Slots in use."""
        return self._running

    def demand(self) -> int:
        """How many jobs to fetch now; none if so few are missing that a little later is better."""
        missing = self.missing()
        return missing if self.load <= self._enough else 0

    def missing(self) -> int:
        """How many more could be claimed, if it has work."""
        if not self.may_have_work or self.is_closed:
            return 0
        with self._lock:
            self._rate.measure()
            # What counts against a limit of all clients must not wait here.
            prefetch = 0 if self.config.is_limited else self.prefetch
            room = self.max_workers + prefetch
            # So few missing that a later fetch brings more.
            self._enough = self._most() + prefetch - max(1, (prefetch + 1) // 2)
            return max(0, room - self._running - len(self._waiting) - self.reserved)

    @property
    def prefetch(self) -> int:
        """How many may wait for a slot: what the queue finishes in :data:`PREFETCH_SECONDS`."""
        return self._rate.prefetch

    def admit(self, attempts: list[Attempt]) -> list[Attempt]:
        """Take claimed attempts: those that get a slot are to be started by the caller, the others wait."""
        with self._lock:
            free = max(0, self._most() - self._running)
            had_waiting = bool(self._waiting)
            if had_waiting:
                # They come first: they have been kept from slots that were others' share.
                attempts = [*self._waiting, *attempts]
                self._waiting.clear()
            starting, waiting = attempts[:free], attempts[free:]
            self._running += len(starting)
            if waiting and (starting or not had_waiting):
                self._waiting_since = time.monotonic()
            self._waiting.extend(waiting)
        return starting

    def _most(self) -> int:
        """How many may run now; the lock is held."""
        return self.max_workers if self.allowance is None else min(self.max_workers, self.allowance)

    def release(self) -> Attempt | None:
        """An attempt has ended: its slot goes to the one returned, which the caller starts, or becomes free."""
        with self._lock:
            self._rate.add()
            if self._waiting and self._running <= self._most():
                self._waiting_since = time.monotonic()
                return self._waiting.popleft()
            self._running -= 1
            return None

    @property
    def wants_more(self) -> bool:
        """Whether a fetch would be worth it, by the rate that the last one was made for. Asked after every job."""
        return self.may_have_work and self.load <= self._enough and not self.is_closed

    def take_waiting(self, *, longer_than: float = -1.0) -> list[Attempt]:
        """Take back those that have not started, if no slot has become free for so many seconds."""
        taken = [] if self.take_gathered is None else self.take_gathered(longer_than)
        with self._lock:
            if not self._waiting or time.monotonic() - self._waiting_since <= longer_than:
                return taken
            taken += self._waiting
            self._waiting.clear()
            self._rate.per_second = 0.0
        return taken
