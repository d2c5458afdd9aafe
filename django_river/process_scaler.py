"""How many processes a supervisor should run, by what waits in their queues: ``runworkers --processes auto``."""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django_river.queue_options import MAX_WORKERS_LIMIT, Autoscale, QueueConfig
from django_river.service import Service
from django_river.storage.base import Storage
from django_river.storage.queues import Backlog, ProcessLoad, Removal
from django_river.work.autoscaler import INTERVAL, Autoscaler
from django_river.work.queue_plan import QueuePlan

logger = logging.getLogger(__name__)

#: For how long jobs should wait at most before there are more processes, in seconds, unless their queue says otherwise.
TARGET_LATENCY = 1.0
_AUTO = re.compile(r"auto(?::(\d{1,5})-(\d{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class ProcessBounds:
    """Between how many processes the number may move."""

    minimum: int
    maximum: int

    @classmethod
    def read(cls, text: str) -> ProcessBounds | None:
        """``auto``, which is from one to as many as there are processors, or ``auto:2-8``; ``None`` for what is neither.

        >>> ProcessBounds.read("auto:2-8")
        ProcessBounds(minimum=2, maximum=8)
        """
        found = _AUTO.match(text)
        if found is None:
            return None
        if found.group(1) is None:
            return cls(1, _processors())
        bounds = cls(int(found.group(1)), int(found.group(2)))
        return bounds if 1 <= bounds.minimum <= bounds.maximum <= MAX_WORKERS_LIMIT else None


class ProcessScaler(Service):
    """Says how many, and who can go; it starts and stops nobody. One thread, one connection."""

    def __init__(
        self,
        bounds: ProcessBounds,
        *,
        storage: Storage,
        plan: QueuePlan,
        stop_timeout: float,
        host: str | None = None,
    ) -> None:
        super().__init__("process-scaler")
        self.storage = storage
        self.plan = plan
        self.stop_timeout = stop_timeout
        self.host = host or socket.gethostname()

        #: The processes that there are, the oldest first. Written by the supervisor, replaced as a whole, as is all that we answer.
        self.pids: Sequence[int] = ()
        #: How many there should be.
        self.wanted = bounds.minimum
        #: Those that can go, first those that run least.
        self.dispensable: Sequence[int] = ()
        rule = Autoscale(minimum=bounds.minimum, maximum=bounds.maximum, target_latency=TARGET_LATENCY)
        self._scaler = Autoscaler(rule)

    def step(self) -> float:
        self.scale(now=time.monotonic())
        return INTERVAL

    def cleanup(self) -> None:
        self.storage.close()

    def scale(self, *, now: float) -> None:
        """Look at what waits and what runs, and decide; ``now`` is monotonic."""
        loads = self.storage.client_running(self.host, self.pids)
        if not loads:
            # The first one is starting: what has waited for that long needs no second one.
            return
        self.dispensable = self._dispensable(loads)
        waiting, worked = self._look()
        backlogs = self._backlogs(waiting, worked)
        running: Counter[str] = Counter()
        for load in loads:
            running[load.queue] += load.running
        wanted = self._scaler.decide(
            now,
            running=self._processes(running, worked),
            available=self._processes({backlog.name: backlog.available for backlog in backlogs}, worked),
            waiting_seconds=max((backlog.waiting_seconds for backlog in backlogs), default=0.0),
        )
        if wanted != self.wanted:
            logger.info("%d worker processes from now on, instead of %d", wanted, self.wanted)
        self.wanted = wanted

    def _dispensable(self, loads: Sequence[ProcessLoad]) -> list[int]:
        """Who runs a job for longer than it would be given to finish is left alone; of equals, the youngest goes."""
        alone = {load.pid for load in loads if load.longest_seconds >= self.stop_timeout}
        running: Counter[int] = Counter()
        for load in loads:
            running[load.pid] += load.running
        able = [pid for pid in reversed(self.pids) if pid in running and pid not in alone]
        return sorted(able, key=lambda pid: running[pid])

    def _look(self) -> tuple[list[str], dict[str, QueueConfig]]:
        """The queues that have jobs, and all that are worked."""
        self.plan.look(self.storage)
        names = self.storage.job_queues()
        self.plan.find(names)
        return names, self.plan.wanted()

    def _backlogs(self, names: Sequence[str], worked: Mapping[str, QueueConfig]) -> list[Backlog]:
        """What waits that other processes could run; how long it does is told in parts of what it may."""
        ours = [name for name in names if name in worked and self._is_open(name, worked[name])]
        paused = {state.name for state in self.storage.queue_list(ours) if state.is_paused}
        limits = {name: worked[name].global_max_workers for name in ours}
        running = self.storage.queue_running([name for name, limit in limits.items() if limit is not None])
        found = []
        for name, available, waiting_seconds in self.storage.queue_backlogs(ours):
            limit, rule = limits[name], worked[name].autoscale
            room = available if limit is None else min(available, limit - running.get(name, 0))
            if room > 0 and name not in paused:
                target = TARGET_LATENCY if rule is None else rule.target_latency
                found.append(Backlog(name, room, waiting_seconds / target))
        return found

    def _is_open(self, name: str, queue: QueueConfig) -> bool:
        """Whether another process would let more of its jobs run."""
        row = self.plan.rows.get(name)
        is_closed = row is not None and row.removal not in ("", Removal.DRAIN)
        return not queue.leader_only and queue.rate_limit is None and not is_closed

    def _processes(self, counts: Mapping[str, int], worked: Mapping[str, QueueConfig]) -> int:
        """How many processes so many jobs of these queues would fill."""
        whole = math.ceil(sum(counts.values()) / self.plan.config.slots_for(worked))
        parts = (
            math.ceil(count / worked[name].most_workers) for name, count in counts.items() if name in worked
        )
        return max(whole, *parts, 0)


def _processors() -> int:
    """As many as this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
