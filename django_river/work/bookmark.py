"""Where in its queue a claim begins, so that rows which are dead but still there are not walked again and again."""

from __future__ import annotations

import time
from collections import deque

from django_river.storage.base import Place

#: How often claims begin at the start of the queue: as soon as there is news, if that costs no more than this, …
CHEAP_SECONDS = 0.05
#: … else after so many times as long as it took, and after so many seconds at the latest.
REST = 9.0
LONGEST_SECONDS = 1.0
#: What it costs is what the shortest of so many took: any may have waited for the machine, but a long walk is long each time.
WALKS = 4


class Bookmark:
    """Where the last job that was claimed from a queue stood: the next claim goes on there. Used by the fetcher's thread.

    Every claimed job leaves an entry behind in the index, which the server may only forget when nobody can see that row any
    more. One transaction that stays open keeps them all, and a claim from the start of the queue walks past every one.
    What has come to stand before the bookmark meanwhile, more urgent jobs and such as run again, is found by the claims that
    begin at the start all the same: with the next one, unless the walk is long.
    """

    def __init__(self) -> None:
        #: Whether somebody has said that there are new jobs; set from any thread.
        self.has_news = False
        self._last: Place | None = None
        self._began_after: Place | None = None
        self._began_at = 0.0
        self._start_at = 0.0
        self._is_cheap = True
        self._walks: deque[float] = deque(maxlen=WALKS)

    def begin(self) -> Place | None:
        """A claim begins: the place after which it does; ``None`` for the start of the queue."""
        self._began_at = time.monotonic()
        if self._began_at >= self._start_at or (self.has_news and self._is_cheap):
            self._last = None
        if self._last is None:
            # Before the claim: what is said while it runs must not be forgotten.
            self.has_news = False
        self._began_after = self._last
        return self._last

    def end(self, last: Place | None) -> bool:
        """It has ended with a job from this place, ``None`` if it found fewer than it wanted; whether there may be more."""
        self._last = last
        if self._began_after is not None:
            # What stands before has not been looked at.
            return True
        now = time.monotonic()
        self._walks.append(now - self._began_at)
        cost = min(self._walks)
        self._is_cheap = cost <= CHEAP_SECONDS
        self._start_at = now + min(LONGEST_SECONDS, REST * cost)
        return last is not None
