"""Says and counts what has gone wrong with running jobs; the counts are stored now and then, by the keeper."""

from __future__ import annotations

import logging
from collections import Counter
from threading import Lock

from django_river.faults import Fault
from django_river.jobs.registry import Registry
from django_river.signals import job_timed_out
from django_river.storage.base import Storage
from django_river.work.attempts import Attempt

logger = logging.getLogger("django_river.faults")

#: How often counts are stored, in seconds.
STORE_SECONDS = 5.0


class FaultLog:
    """One line in the log and one more in the count for each; may be told from any thread."""

    def __init__(self, *, storage: Storage, client_id: str, registry: Registry) -> None:
        self.storage = storage
        self.client_id = client_id
        self.registry = registry

        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def note_timeout(self, attempt: Attempt) -> None:
        """An attempt has taken longer than its timeout."""
        job = attempt.job
        self.note(job.kind, Fault.TIMEOUT, "job %d (%s) has taken longer than its timeout", job.id, job.kind)
        job_timed_out.send_robust(self.registry.get(job.kind), job=job, client_id=self.client_id)

    def note(self, kind: str, fault: Fault, text: str, *args: object) -> None:
        """Say it now, count it soon. The log's record has the fault as ``event``, and the kind as ``kind``."""
        logger.warning(text, *args, extra={"event": fault.value, "kind": kind})
        with self._lock:
            self._counts[kind, fault.value] += 1

    def store(self) -> float:
        """Store what has been counted; in how many seconds to do so again."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if counts:
            try:
                self.storage.fault_add(counts)
            except BaseException:
                with self._lock:
                    self._counts.update(counts)
                raise
        return STORE_SECONDS
