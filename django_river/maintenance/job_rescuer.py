"""Makes jobs run again whose client is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Lock

from django_river.faults import Fault
from django_river.maintenance.chore import Chore
from django_river.maintenance.judge import Judge, Verdict
from django_river.polls import NO_POLL, Poll
from django_river.signals import client_lost, client_stale, job_rescued
from django_river.storage.upkeep import RescuedJob, Sights, Upkeep

logger = logging.getLogger(__name__)

#: How often to look at the clients, in seconds; and at jobs whose age alone counts, unless they count as lost sooner.
LOOK_SECONDS = 1.0
INTERVAL = 30.0
#: For so long after a loss every look rescues: a claim of the lost client may still have been under way in the server, or
#: somebody may have had one of its rows locked. The time limit of a statement, and a margin.
LATE_SECONDS = 15.0

#: Counts a fault: the job's kind, what it was, and a text for the log with its arguments.
OnFault = Callable[..., None]


class JobRescuer(Chore):
    """By liveness: a client whose session or heartbeat is gone is taken for lost, and its jobs from it.

    By age only where nothing is known of the client: those of other languages have no row here.

    Its look at the clients is the one look a second of an idle leader: for the scheduler and the lookout, too.
    """

    def __init__(
        self,
        *,
        upkeep: Upkeep,
        lock: Lock,
        judge: Judge,
        rescue_after: float,
        client_timeout: float,
        poison_after: int,
        known_kinds: Callable[[], list[str]],
        on_fault: OnFault,
        on_due_in: Callable[[float | None], None],
        poll: Poll = NO_POLL,
    ) -> None:
        super().__init__("job-rescuer", upkeep=upkeep, lock=lock)
        self.judge = judge
        self.rescue_after = timedelta(seconds=rescue_after)
        self.client_timeout = timedelta(seconds=client_timeout)
        self.poison_after = poison_after
        self.known_kinds = known_kinds
        self.on_fault = on_fault
        #: Told in how many seconds the next scheduled or retryable job is due, ``None`` without any; under our lock.
        self.on_due_in = on_due_in
        self.poll = poll
        self.interval = min(INTERVAL, rescue_after / 2)
        self.look = min(LOOK_SECONDS, client_timeout / 4)

        # When to rescue without a reason, and until when there is one. A former leader may have left some of its work
        # undone: we begin with a rescue.
        self._rescue_at = 0.0
        self._loss_until = 0.0

    def run_once(self) -> float:
        """Look at the clients, and rescue a batch if there is a reason to."""
        try:
            for verdict in self.judge.see(self._look()):
                self._lose(verdict)
            now = time.monotonic()
            if now >= self._rescue_at or now < self._loss_until:
                return self._rescue()
        except Exception:
            self.judge.shake()
            raise
        return self.look

    def _look(self) -> Sights:
        sights = self.upkeep.client_watch(with_queues=self.poll.is_wanted())
        self.on_due_in(sights.due_in)
        if sights.queues is not None:
            self.poll.answer(sights.queues)
        return sights

    def _lose(self, verdict: Verdict) -> None:
        client, why, silent_for = verdict
        if not self.upkeep.client_lose(client, why, silent_for=silent_for):
            return
        # Before anything else can fail: nobody will judge this client again.
        self._loss_until = time.monotonic() + LATE_SECONDS
        logger.warning(
            "client %s is taken for lost (%s), last heard of %.1f s ago", client.id, why, client.silent_for,
            extra={"event": why.value, "client_id": client.id},
        )  # fmt: skip
        signal = client_lost if why is Fault.CLIENT_LOST else client_stale
        signal.send_robust(type(self), client_id=client.id, seconds=client.silent_for)

    def _rescue(self) -> float:
        limit = self.batch.size
        with self.batch.timed():
            rescued = self.upkeep.job_rescue(
                # While we cannot know who lives, nobody's silence counts.
                rescue_after=self.rescue_after if self.judge.is_calm() else None,
                client_timeout=self.client_timeout,
                poison_after=self.poison_after,
                known_kinds=self.known_kinds(),
                limit=limit,
            )
            self.batch.taken = len(rescued)
        for job in rescued:
            self._tell(job)
        if rescued:
            self.on_due_in(0.0)
        if len(rescued) >= limit:
            self._rescue_at = 0.0
            return 0.0
        self._rescue_at = time.monotonic() + self.interval
        return self.look

    def _tell(self, job: RescuedJob) -> None:
        text = "job %d (%s) was running on a client that is gone: %s"
        if job.why:
            self.on_fault(job.kind, Fault(job.why), text, job.id, job.kind, job.state)
        else:
            logger.warning(text, job.id, job.kind, job.state)
        if job.is_poison:
            logger.error(
                "job %d (%s) is quarantined: it has taken %d clients with it",
                job.id,
                job.kind,
                self.poison_after,
            )
        job_rescued.send_robust(type(self), job=job)
