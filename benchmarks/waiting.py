"""Waiting for the database to be in some state."""

from __future__ import annotations

import time
from collections.abc import Callable

#: A measurement that takes longer has failed, in seconds.
LONGEST = 600.0


def wait_until(condition: Callable[[], object], *, every: float = 0.02) -> None:
    """Return when it is so."""
    give_up_at = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"it took longer than {LONGEST:g} s")
        time.sleep(every)
