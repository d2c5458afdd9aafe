"""SIGTERM and SIGINT, noted; somebody else acts on them."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """Counts stop signals. The handler puts a token into a queue that may be used in one, and does nothing more."""

    def __init__(self, *, is_child: bool = False) -> None:
        self.is_child = is_child

        #: How many have been noticed: the first asks to stop, the second to hurry.
        self.received = 0
        self._tokens: queue.SimpleQueue[int] = queue.SimpleQueue()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT inside the block; in the main thread only."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait(self, timeout: float) -> bool:
        """Wait for a signal; whether one came within ``timeout`` seconds."""
        try:
            number = self._tokens.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return False
        # A service manager may tell a whole group of processes to end, supervisor and children alike: for a child
        # another SIGTERM is no second wish, only the supervisor's SIGINT is.
        if not (self.is_child and self.received and number == signal.SIGTERM):
            self.received += 1
        return True

    def is_hurried(self) -> bool:
        """Whether two signals have come; looks without waiting."""
        while not self._tokens.empty():
            self.wait(0)
        return self.received > 1

    def send(self) -> None:
        """Stop as if a signal had come."""
        self._tokens.put(0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._tokens.put(number)
