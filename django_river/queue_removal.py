"""What becomes of the jobs of a queue that goes: moved or deleted in batches, by whoever removes it and by the leader.

A queue is *removed* when no job of it runs or waits. Its row stays for a while after that: what a transaction puts there
that began before the removal is drained, moved or deleted all the same.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from django_river import storage
from django_river.hints import hints
from django_river.storage.base import Storage
from django_river.storage.queues import Removal

#: Jobs moved or deleted in one transaction.
BATCH = 1000
#: How often one who waits looks, in seconds.
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal has done so far."""

    #: Jobs that were moved or deleted.
    jobs: int
    #: Whether the last job is gone.
    is_done: bool


def remove_jobs(name: str, how: Removal, *, to: str, timeout: float | None, using: str) -> Removed:
    """Move or delete what waits, and wait for the rest; ``None`` does not wait."""
    store = storage.for_caller(using)
    give_up_at = None if timeout is None else time.monotonic() + timeout
    never = threading.Event()
    done = 0
    while True:
        done += clear(store, name, how, to=to)
        is_done = settle(store, name)
        if done and to:
            hints.wake_on_commit(using, [to])
        if is_done or give_up_at is None or time.monotonic() >= give_up_at:
            return Removed(done, is_done)
        never.wait(LOOK_SECONDS)


def clear(store: Storage, name: str, how: Removal, *, to: str) -> int:
    """Move or delete what waits in a queue; how many jobs."""
    done = 0
    while how is not Removal.DRAIN:
        count = (
            store.job_move(name, to, BATCH) if how is Removal.MOVE else store.job_delete_in_queue(name, BATCH)
        )
        if not count:
            break
        done += count
    return done


def settle(store: Storage, name: str) -> bool:
    """Write down whether the last job is gone; whether it is."""
    is_done = not store.queue_has_open(name)
    store.queue_row_set_removed(name, is_removed=is_done)
    return is_done
