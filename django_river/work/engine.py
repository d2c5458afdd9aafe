"""What works jobs, put together: queues, fetcher, threads and event loop, completer. No loop, no query."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from django_river.conf import Config
from django_river.jobs.context import CancelReason
from django_river.jobs.registry import Registry
from django_river.queue_choice import Choice
from django_river.queue_options import QueueConfig
from django_river.storage.base import Storage
from django_river.work.attempts import Attempts
from django_river.work.completer import Completer
from django_river.work.fetcher import Fetcher
from django_river.work.gatherer import Gatherer
from django_river.work.homes import Homes
from django_river.work.lookout import Lookout
from django_river.work.outcomes import INTERRUPTED
from django_river.work.queue_set import QueueSet
from django_river.work.room import Room
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)


class Engine:
    """Builds those parts and hands them to one another; empties them at the end."""

    def __init__(
        self,
        *,
        client_id: str,
        config: Config,
        registry: Registry,
        queues: Mapping[str, QueueConfig],
        choice: Choice,
        open_storage: Callable[[], Storage],
    ) -> None:
        self.attempts = Attempts()
        self.queue_set = QueueSet(config=config, queues=queues, choice=choice)
        self.completer = Completer(
            storage=open_storage(), client_id=client_id, attempts=self.attempts, registry=registry
        )
        self.room = Room(producers=self.queue_set.producers, slots=self.queue_set.slots)
        self.workers = Workers(
            client_id=client_id,
            config=config,
            registry=registry,
            attempts=self.attempts,
            completer=self.completer,
            slots=self.queue_set.slots,
            on_room=self.room.freed,
        )
        self.homes = Homes(client_id, is_leader_bound=self.queue_set.is_leader_bound)
        #: Only if there are batch kinds.
        self.gatherer: Gatherer | None = None
        if any(definition.options.batch is not None for definition in registry):
            self.gatherer = Gatherer(registry=registry, homes=self.homes, settle=self.workers.settle)
        fetching = open_storage()
        self.lookout = Lookout(
            storage=fetching,
            producers=self.queue_set.producers,
            attempts=self.attempts,
            gatherer=self.gatherer,
            poll_interval=config.poll_interval or fetching.default_poll_interval,
        )
        self.fetcher = Fetcher(
            storage=fetching,
            client_id=client_id,
            lookout=self.lookout,
            room=self.room,
            attempts=self.attempts,
            completer=self.completer,
            workers=self.workers,
            gatherer=self.gatherer,
        )
        self.completer.on_due_in = self.lookout.due_in
        self.completer.on_ended = self.workers.figures.note
        self.queue_set.lookout, self.queue_set.fetcher = self.lookout, self.fetcher
        self.queue_set.workers, self.queue_set.completer = self.workers, self.completer

    @property
    def is_idle(self) -> bool:
        """Whether nothing is claimed, running or waiting to be stored."""
        # In this order: a claim ends when its jobs are among the attempts.
        return not self.fetcher.is_claiming and not len(self.attempts)

    def hand_back_unstarted(self) -> None:
        """Let others have what has not begun. The fetcher has stopped before."""
        waiting = self.workers.take_waiting()
        for producer in self.queue_set.producers.values():
            waiting += producer.take_waiting()
        for attempt in waiting:
            self.workers.settle(attempt, INTERRUPTED)

    def finish(self, deadline: float, is_hurried: Callable[[], bool], *, grace: float) -> int:
        """Let jobs finish, then ask them to; how many would not in ``grace`` seconds, and were given back."""
        self._wait_for_jobs(deadline, is_hurried)
        self.workers.cancel(self.attempts.all(), CancelReason.SHUTDOWN)
        self._wait_for_jobs(time.monotonic() + grace)
        return self._give_back_running()

    def _wait_for_jobs(self, deadline: float, is_hurried: Callable[[], bool] = lambda: False) -> None:
        while (left := deadline - time.monotonic()) > 0 and not is_hurried():
            if self.attempts.wait_empty(min(left, 0.1)):
                return

    def _give_back_running(self) -> int:
        """What runs on will be cut off with the process: its attempt must not count."""
        given_back = [attempt for attempt in self.attempts.all() if not attempt.is_settled]
        for attempt in given_back:
            logger.warning(
                "job %d (%s) did not stop; its attempt is given back", attempt.job.id, attempt.job.kind
            )
        return sum(self.workers.settle(attempt, INTERRUPTED) for attempt in given_back)
