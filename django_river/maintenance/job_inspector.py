"""Finds jobs that run far longer than their kind has run so far."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Lock

from django_river.exceptions import JobSuspicious
from django_river.faults import Fault
from django_river.jobs.definition import Definition
from django_river.jobs.registry import Registry
from django_river.jobs.run_times import Suspicion, is_exempt
from django_river.maintenance.chore import Chore
from django_river.maintenance.job_rescuer import OnFault
from django_river.signals import job_suspicious
from django_river.storage.upkeep import RunningJob, Upkeep

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
#: How often to learn anew, in seconds.
LEARN_SECONDS = 300.0
#: Jobs looked at in one go: the oldest claims first.
LIMIT = 10_000


class JobInspector(Chore):
    """Flags them, and cancels or rescues those whose kind wants it. Kinds that we do not know are left to others."""

    def __init__(
        self,
        *,
        upkeep: Upkeep,
        lock: Lock,
        suspicion: Suspicion,
        policy: str,
        registry: Registry,
        promise: Callable[[Definition[..., object], int], float | None],
        on_fault: OnFault,
    ) -> None:
        super().__init__("job-inspector", upkeep=upkeep, lock=lock)
        self.suspicion = suspicion
        self.policy = policy
        self.registry = registry
        self.promise = promise
        self.on_fault = on_fault

        self._learn_at = 0.0
        # From when on jobs of a kind are suspicious.
        self._limits: dict[str, float] = {}

    def run_once(self) -> float:
        """Look at all jobs that have run for longer than the least that is suspicious."""
        if time.monotonic() >= self._learn_at:
            self._learn()
        if not self._limits:
            return LOOK_SECONDS
        older_than = timedelta(seconds=min(self._limits.values()))
        for job in self.upkeep.job_old(older_than, limit=LIMIT):
            limit = self._limits.get(job.kind)
            definition = self.registry.get(job.kind)
            if limit is None or definition is None or job.seconds < limit:
                continue
            if not is_exempt(definition.options, promised=self.promise(definition, job.priority)):
                self._suspect(job, definition, limit)
        return LOOK_SECONDS

    def _learn(self) -> None:
        self.upkeep.run_time_clean()
        limits = {kind: self.suspicion.limit(known) for kind, known in self.upkeep.run_time_list().items()}
        self._limits = {kind: limit for kind, limit in limits.items() if limit is not None}
        self._learn_at = time.monotonic() + LEARN_SECONDS

    def _suspect(self, job: RunningJob, definition: Definition[..., object], limit: float) -> None:
        policy = definition.options.on_suspicious or self.policy
        error = JobSuspicious(
            f"has run for {job.seconds:.0f} s, {limit:.0f} s are usual for its kind at most"
        )
        if policy == "rescue":
            is_done = self.upkeep.job_take(job, error=f"{type(error).__name__}: {error}")
        else:
            is_done = self.upkeep.job_flag(job, usual=limit, cancel=policy == "cancel")
        if is_done:
            text = "job %d (%s) is suspicious, policy %s: it %s"
            self.on_fault(job.kind, Fault.SUSPICIOUS, text, job.id, job.kind, policy, error)
            job_suspicious.send_robust(definition, job=job, usual=limit, policy=policy)
