"""SIGTERM and SIGINT, noted; somebody else acts on them."""

from __future__ import annotations

import queue
import signal
from types import FrameType


class StopSignals:
    """Counts stop signals. The handler puts a token into a queue that may be used in one, and does nothing more."""

    def __init__(self) -> None:
        #: How many have been noticed: the first asks to stop, the second to hurry.
        self.received = 0

        self._tokens: queue.SimpleQueue[int] = queue.SimpleQueue()

    def install(self) -> None:
        """Handle SIGTERM and SIGINT from now on; in the main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def wait(self, timeout: float) -> bool:
        """Wait for a signal; whether one came within ``timeout`` seconds."""
        try:
            self._tokens.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return False
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
