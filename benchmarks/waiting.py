"""Waiting for the database to be in some state."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: A measurement that takes longer has failed, in seconds.
LONGEST = 600.0


def wait_until(condition: Callable[[], T], *, every: float = 0.02, longest: float = LONGEST) -> T:
    """Its first true answer."""
    give_up_at = time.monotonic() + longest
    while not (answer := condition()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"it took longer than {longest:g} s")
        time.sleep(every)
    return answer
