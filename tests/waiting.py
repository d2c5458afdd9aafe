"""Waiting in tests: until something is so, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.01


def wait_until(condition: Callable[[], T], timeout: float = 10, *, message: str = "") -> T:
    """Return the first true answer of ``condition``; fail if there is none for ``timeout`` seconds."""
    give_up_at = time.monotonic() + timeout
    never = threading.Event()
    while not (answer := condition()):
        if time.monotonic() >= give_up_at:
            what = message or f"{getattr(condition, '__qualname__', condition)} stayed {answer!r}"
            raise AssertionError(f"{what} for {timeout:g} s")
        never.wait(INTERVAL)
    return answer
