"""Waiting in tests: until something is so, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import connection

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


def is_a_lock_waited_for() -> bool:
    """Whether any connection to the Postgres of the tests waits for another one's lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone() is not None
