"""How many rows to take at once: fewer while the database is slow, more again when it is quick."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST = 1000
LEAST = 50
MOST = 10_000
#: A batch that takes longer is too large. Its locks are held for so long, and whoever shares our connection waits.
SECONDS = 0.1


class BatchSize:
    """Halves after a batch that took too long, quarters after one that failed, doubles after a quick full one.

    >>> batch = BatchSize()
    >>> with batch.timed():
    ...     batch.taken = 3  # of the batch.size rows that there might have been
    >>> batch.size
    1000
    """

    def __init__(
        self, first: int = FIRST, *, least: int = LEAST, most: int = MOST, seconds: float = SECONDS
    ) -> None:
        self.least = least
        self.most = most
        self.seconds = seconds

        self.size = first
        #: How many rows the batch had; set inside :meth:`timed`.
        self.taken = 0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure one batch."""
        self.taken = 0
        began = time.monotonic()
        try:
            yield
        except Exception:
            self._resize(self.size // 4)
            raise
        took = time.monotonic() - began
        if took > self.seconds:
            self._resize(self.size // 2)
        elif took < self.seconds / 3 and self.taken >= self.size:
            self._resize(self.size * 2)

    def _resize(self, size: int) -> None:
        self.size = min(self.most, max(self.least, size))
