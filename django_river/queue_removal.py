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
from django_river.storage.queues import QueueRow, Removal

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
    row = QueueRow(name, "{}", how.value, to, is_removed=False, version="")
    give_up_at = None if timeout is None else time.monotonic() + timeout
    never = threading.Event()
    done = 0
    while True:
        count = 0
        while more := clear_batch(store, row):
            count += more
        done += count
        is_done = not store.queue_open([name])
        store.queue_row_set_removed(name, is_removed=is_done)
        if count and to:
            hints.wake_on_commit(using, [to])
        if is_done or give_up_at is None or time.monotonic() >= give_up_at:
            return Removed(done, is_done)
        never.wait(LOOK_SECONDS)


def clear_batch(store: Storage, row: QueueRow) -> int:
    """Move or delete some of what waits in a queue that is being removed; how many jobs, and 0 at the end."""
    if row.removal == Removal.MOVE:
        return store.job_move(row.name, row.moved_to, BATCH)
    if row.removal == Removal.DELETE:
        return store.job_delete_in_queue(row.name, BATCH)
    return 0
