"""A running client: builds all parts, hands them to one another, starts and stops them. No loop, no query.

Stopping goes in phases that share one deadline: stop fetching; let jobs finish; ask them to stop; hand back what has
not started, and give back the attempt of what would not stop; store the results; resign; leave.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from threading import Lock

from django.db import Error as DatabaseProblem

from django_river import storage
from django_river.candidate import Candidate
from django_river.conf import FOLLOW, Config
from django_river.exceptions import ConfigError
from django_river.faults import Fault
from django_river.hints import hints
from django_river.identity import unique_client_id, version
from django_river.jobs.context import CancelReason
from django_river.jobs.periodic_registry import PeriodicRegistry
from django_river.jobs.registry import Registry
from django_river.jobs.registry import registry as all_jobs
from django_river.leadership import RENEWALS
from django_river.maintenance.judge import RECOVERY, Judge
from django_river.maintenance.maintainer import Maintainer
from django_river.maintenance.services import leader_services
from django_river.maintenance.stand_in import StandIn
from django_river.names import queue_problem
from django_river.notifier import Ears, Notifier
from django_river.queue_options import QueueConfig, is_pattern
from django_river.registration import Registration, declared_registry
from django_river.service import Service
from django_river.signals import client_returned, client_started, client_stopped
from django_river.storage.base import ClientInfo, QueueState
from django_river.terms import Term
from django_river.work.attempts import Attempts
from django_river.work.autoscaler import INTERVAL as SCALE_SECONDS
from django_river.work.completer import Completer
from django_river.work.fault_log import FaultLog
from django_river.work.fetcher import Fetcher
from django_river.work.gatherer import Gatherer
from django_river.work.homes import Homes
from django_river.work.keeper import Keeper
from django_river.work.leader_bound import LeaderBound
from django_river.work.outcomes import INTERRUPTED
from django_river.work.producer import Producer
from django_river.work.pulse import Pulse
from django_river.work.queue_set import Choice, QueueSet
from django_river.work.run_times import RunTimes
from django_river.work.watch import Watch
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)

#: No statement of the worker's own may take longer than this, in seconds.
STATEMENT_TIMEOUT = 10.0
#: How often queue states are polled, in seconds: with notifications arriving, and without.
RECONCILE_LISTENING = 10.0
RECONCILE_POLLING = 2.0
#: Queue rows say that somebody works the queue.
TOUCH_SECONDS = 600.0
#: How often what is said of queues is looked for: with notifications arriving, and without.
ROWS_LISTENING = 10.0
ROWS_POLLING = 1.0
QUEUE_ROWS = "queue rows"
#: Many changes that come one after the other are applied together, so often at most.
ROWS_SPACING = 0.1
FIGURES_SECONDS = 5.0
#: What is left for storing results when the deadline has passed.
FLUSH_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a client ended."""

    #: Jobs whose attempt was given back because they would not stop.
    interrupted: int
    #: Results that could not be stored.
    unstored: int


class Client:
    """One worker process's share of the work.

    >>> client = Client(config())                                      # doctest: +SKIP
    >>> client.start()                                                 # doctest: +SKIP
    >>> client.stop(timeout=30)                                        # doctest: +SKIP
    """

    def __init__(
        self,
        config: Config,
        *,
        registry: Registry = all_jobs,
        periodic: PeriodicRegistry | None = None,
        queues: Mapping[str, QueueConfig] | None = None,
        choice: Choice | None = None,
        can_lead: bool = True,
        client_id: str | None = None,
        on_crash: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.config = config
        self.registry = registry
        queues = config.queues if queues is None else queues
        if not queues and choice is None:
            raise ConfigError("a client needs at least one queue to work")
        # Whoever is told which queues to work, and no pattern, works no others.
        choice = choice or Choice(only=() if queues is config.queues else tuple(queues))
        self.can_lead = can_lead
        self.id = unique_client_id(client_id)
        self.using = config.database

        open_storage = partial(storage.open_storage, self.using, timeout=STATEMENT_TIMEOUT)
        fetching = open_storage()
        self.attempts = Attempts()
        self.queue_set = QueueSet(config=config, queues=queues, choice=choice)
        slots = self.queue_set.slots
        self.completer = Completer(
            storage=open_storage(), client_id=self.id, attempts=self.attempts, registry=registry
        )
        self.fetcher = Fetcher(
            storage=fetching,
            client_id=self.id,
            producers=self.queue_set.producers,
            attempts=self.attempts,
            completer=self.completer,
            poll_interval=config.poll_interval or fetching.default_poll_interval,
            slots=slots,
        )
        self.completer.on_due_in = self.fetcher.due_in
        self.workers = self.fetcher.workers = Workers(
            client_id=self.id,
            config=config,
            registry=registry,
            attempts=self.attempts,
            completer=self.completer,
            slots=slots,
            on_room=self.fetcher.freed,
        )
        self.homes = Homes(self.id, is_leader_bound=self.queue_set.is_leader_bound)
        if any(definition.options.batch is not None for definition in registry):
            self.fetcher.gatherer = Gatherer(registry=registry, homes=self.homes, settle=self.workers.settle)
        # Nothing that the keeper does may last so long that the lease is not renewed in time.
        patience = min(STATEMENT_TIMEOUT, config.leader_ttl / RENEWALS)
        self.keeper = Keeper(storage=storage.open_storage(self.using, timeout=patience))
        self.registration = Registration(
            storage=storage.for_periodic(self.using, self.keeper.storage.session),
            registry=declared_registry(config) if periodic is None else periodic,
            release=config.release,
            client_timeout=config.client_timeout,
            follows_mismatch=config.on_mismatch == FOLLOW,
            announce=self._heartbeat,
            on_change=self._standing_changed,
            is_listening=lambda: self._is_listening,
        )
        self.watch = Watch(
            storage=self.keeper.storage, client_id=self.id, attempts=self.attempts, workers=self.workers
        )
        self.faults = FaultLog(storage=self.keeper.storage, client_id=self.id, registry=registry)
        self.workers.executor.on_timeout = self.faults.note_timeout
        self.run_times = RunTimes(storage=self.keeper.storage)
        self.completer.on_stored = self.run_times.note
        self.pulse = Pulse(
            storage=self.keeper.storage,
            client_id=self.id,
            attempts=self.attempts,
            registry=registry,
            promises=self.workers.executor.promises,
            faults=self.faults,
            interval=config.progress_interval,
            grace=config.stuck_after,
            give_up=self.workers.give_up_stuck,
        )
        self.maintainer = Maintainer(services=self._maintenance)
        self.leader_bound = LeaderBound(
            producers=lambda: self.queue_set.leader_bound,
            attempts=self.attempts,
            workers=self.workers,
            registry=registry,
            open_storage=open_storage,
            on_open=self.fetcher.hint,
            is_claiming=lambda: self.fetcher.is_claiming_as_leader,
            grace=config.cancel_timeout,
            poison_after=config.poison_after,
        )
        self.stand_in = StandIn(
            upkeep=storage.upkeep_on(self.keeper.storage.session, self.using),
            queues=lambda: sorted(self.producers),
            on_available=self.fetcher.hint,
        )
        self.queue_set.fetcher, self.queue_set.workers = self.fetcher, self.workers
        self.queue_set.completer = self.completer
        self.queue_set.on_leader_bound = self.leader_bound.welcome
        self.fetcher.on_unknown = self._note_unknown
        self.notifier = self._notifier()
        parts = (self.completer, self.keeper, self.fetcher, self.notifier)
        self._services: list[Service] = [part for part in parts if part is not None]
        self.candidate = Candidate(
            client_id=self.id,
            config=config,
            objection="" if can_lead else "it was started with --no-lead",
            registration=self.registration,
            keeper=self.keeper,
            notifier=self.notifier,
            maintainer=self.maintainer,
            leader_bound=self.leader_bound,
            on_crash=on_crash,
        )
        self.elector = self.candidate.elector
        self.info = ClientInfo(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version(),
            slots=slots,
            queues=sorted(self.queue_set.producers),
            labels=config.labels,
            release=config.release,
            registry_hash=self.registration.registry.hash,
        )
        self._rows_applied_at = float("-inf")
        self._take_on_duties()
        self._on_crash = on_crash
        # Guards which queues are paused, and counts how often we were told.
        self._pausing = Lock()
        self._pauses_heard = 0
        # Written by the notifier, and with each term.
        self._session_lost_at: float | None = None
        self._judge: Judge | None = None
        # Guarded by the lock: whether start has been called, and how we have ended.
        self._lifecycle = Lock()
        self._is_started = False
        self._report: StopReport | None = None

    def start(self) -> None:
        """Announce this client and start its parts, unless they run; nothing is started if it cannot be announced.

        Raises Django's database errors when the database cannot be reached, or has not been migrated,
        :class:`RegistryMismatch` when other periodic jobs are in force, and :class:`RuntimeError` after a stop: a
        client runs once.
        """
        with self._lifecycle:
            if self._report is not None:
                raise RuntimeError(f"client {self.id} has been stopped; a client runs once")
            if self._is_started:
                return
            self._announce()
            self._is_started = True
            try:
                self._start_parts()
            except BaseException:
                self._stop(time.monotonic(), is_hurried=lambda: True)
                raise
        client_started.send_robust(type(self), client_id=self.id)
        logger.info(
            "client %s works %s with %d slots", self.id, ", ".join(sorted(self.producers)), self.info.slots
        )

    def stop(
        self, *, timeout: float | None = None, is_hurried: Callable[[], bool] = lambda: False
    ) -> StopReport:
        """Stop in phases: ``timeout`` seconds (default ``STOP_TIMEOUT``) for jobs to finish, then they are asked to.

        ``is_hurried`` is asked while waiting; once it is true jobs are asked to stop at once. Safe twice, and before
        the start.
        """
        deadline = time.monotonic() + (self.config.stop_timeout if timeout is None else timeout)
        with self._lifecycle:
            if not self._is_started:
                return StopReport(interrupted=0, unstored=0)
            if self._report is not None:
                return self._report
            report = self._stop(deadline, is_hurried)
        logger.info("client %s has stopped: %s", self.id, report)
        client_stopped.send_robust(type(self), client_id=self.id)
        return report

    @property
    def producers(self) -> Mapping[str, Producer]:
        """The queues that are worked now, by name."""
        return self.queue_set.producers

    @property
    def is_idle(self) -> bool:
        """Whether nothing is claimed, running or waiting to be stored."""
        # In this order: a claim ends when its jobs are among the attempts.
        return not self.fetcher.is_claiming and not len(self.attempts)

    def has_due_jobs(self) -> bool:
        """Whether any job of our queues could run now; asks the database on the caller's connection."""
        store = storage.for_caller(self.using)
        # Whatever keeps us from leading: the policy as well as the command line.
        may_lead = not (self.registration.objection or self.candidate.candidacy.objection)
        ours = [name for name, one in self.producers.items() if may_lead or not one.is_leader_bound]
        return store.job_has_due(sorted(ours), scheduled=may_lead)

    def _announce(self) -> None:
        try:
            self.registration.enter()
            self._apply_rows()
            self._touch_queues()
            if self.fetcher.gatherer is not None:
                self._look_for_others()
        except BaseException:
            self.keeper.storage.close()
            raise

    def _standing_changed(self) -> None:
        self._heartbeat()
        self.candidate.reconsider()

    def _start_parts(self) -> None:
        hints.add_waker(self.using, self.fetcher.hint)
        for service in self._services:
            service.on_crash = self._on_crash
            service.start()
        self.candidate.start()

    def _stop(self, deadline: float, is_hurried: Callable[[], bool]) -> StopReport:
        hints.remove_waker(self.using, self.fetcher.hint)
        self.fetcher.stop()
        self._hand_back_unstarted()
        self.candidate.retire()
        self._wait_for_jobs(deadline, is_hurried)
        self.workers.cancel(self.attempts.all(), CancelReason.SHUTDOWN)
        self._wait_for_jobs(time.monotonic() + self.config.cancel_timeout)
        interrupted = self._give_back_running()
        self.completer.flush(FLUSH_TIMEOUT)
        self.workers.stop(timeout=0.5)
        self._leave()
        self._report = StopReport(interrupted=interrupted, unstored=len(self.attempts))
        return self._report

    def _maintenance(self, term: Term) -> Sequence[Service]:
        services = leader_services(
            term,
            config=self.config,
            periodic=self.registration.registry,
            known_kinds=lambda: self.registry.kinds,
            on_available=self.fetcher.hint,
            on_resume=lambda: self.keeper.hurry("reconcile"),
            on_fault=self.faults.note,
            judge=self._new_judge(),
            registry=self.registry,
            promise=self.workers.executor.promises.of,
        )
        for service in services:
            # A leader without its services must not stay in office.
            service.on_crash = self._on_crash
        return services

    def _new_judge(self) -> Judge:
        judge = self._judge = Judge(
            own_id=self.id,
            client_timeout=self.config.client_timeout,
            heartbeat_interval=self.config.heartbeat_interval,
            clock=time.monotonic,
        )
        if self._session_lost_at is not None and time.monotonic() - self._session_lost_at < RECOVERY:
            # What has cut us off may have cut off the others, too.
            judge.shake()
        return judge

    def _notifier(self) -> Notifier | None:
        listener = storage.open_listener(self.using) if self.config.notify else None
        if listener is None:
            return None
        ears = Ears(
            on_insert=lambda queue: self.fetcher.hint([queue]),
            on_cancel=self.watch.cancel,
            on_pause=self._pause,
            on_leadership=self._leadership_changed,
            on_queues=lambda: self.keeper.hurry(QUEUE_ROWS),
            on_connect=self._reconcile_now,
            on_disconnect=self._session_lost,
            on_registry=self._registry_changed,
        )
        return Notifier(listener=listener, ears=ears)

    def _take_on_duties(self) -> None:
        self.keeper.add("heartbeat", self._heartbeat)
        self.keeper.add("registration", self.registration.look)
        self.keeper.add("touch queues", self._touch_queues)
        self.keeper.add("reconcile", self._reconcile)
        self.keeper.add(QUEUE_ROWS, self._apply_rows)
        self.keeper.add("scale queues", self._scale_queues)
        self.keeper.add("figures", self._write_figures)
        self.keeper.add("look after jobs", self.watch.look)
        self.keeper.add("look for summons", self.watch.look_for_summons)
        self.keeper.add("feel the pulse", self.pulse.feel)
        self.keeper.add("store progress", self.pulse.store)
        self.keeper.add("count faults", self.faults.store)
        self.keeper.add("sample run times", self.run_times.store)
        self.keeper.add("stand in", self.stand_in.attempt)
        if self.fetcher.gatherer is not None:
            self.keeper.add("look for others", self._look_for_others)

    def _heartbeat(self) -> float:
        presented = self.candidate.present(replace(self.info, troubles=self._troubles()))
        why = self.keeper.storage.client_beat(presented)
        if why:
            self._came_back(why)
        return self.config.heartbeat_interval

    def _came_back(self, why: str) -> None:
        """Others have taken us for lost, and some of our jobs from us. Those are asked to stop; we go on with the rest."""
        logger.warning(
            "client %s had been taken for lost (%s) and is back: what was taken from it meanwhile is refused",
            self.id, why, extra={"event": "client_returned", "client_id": self.id},
        )  # fmt: skip
        client_returned.send_robust(type(self), client_id=self.id, why=Fault(why))
        self.keeper.hurry("look for summons")

    def _troubles(self) -> dict[str, str]:
        """Of all our services that fail just now, so that others see it."""
        services = [*self._services, self.candidate.steward, *self.maintainer.running]
        return {service.name: service.trouble for service in services if service.trouble}

    def _touch_queues(self, names: Collection[str] | None = None) -> float:
        self._follow_pauses(self.keeper.storage.queue_touch, names)
        return TOUCH_SECONDS

    def _apply_rows(self) -> float:
        """Find what was said of queues at run time, and which new ones have jobs; tell the others."""
        soon = self._rows_applied_at + ROWS_SPACING - time.monotonic()
        if soon > 0:
            return soon
        changed = self.queue_set.look(self.keeper.storage)
        if self.config.queue_layers.patterns:
            changed |= self.queue_set.find(self.keeper.storage.job_queues())
        if changed:
            self._touch_queues(changed & self.producers.keys())
            self.info = replace(self.info, queues=sorted(self.producers), slots=self.queue_set.slots)
            self._heartbeat()
        self.queue_set.say(self.keeper.storage, self.id)
        self._rows_applied_at = time.monotonic()
        return ROWS_LISTENING if self._is_listening else ROWS_POLLING

    def _scale_queues(self) -> float:
        if self.queue_set.is_scaled:
            self.queue_set.scale(self.keeper.storage, now=time.monotonic())
        return SCALE_SECONDS

    def _write_figures(self) -> float:
        self.workers.figures.write(self.keeper.storage)
        return FIGURES_SECONDS

    def _note_unknown(self, queues: Collection[str]) -> None:
        if any(self.config.queue_layers.has_pattern_for(name) for name in queues):
            self.keeper.hurry(QUEUE_ROWS)

    def _reconcile(self) -> float:
        """Find what notifications would have said of our queues."""
        self._follow_pauses(self.keeper.storage.queue_list)
        return RECONCILE_LISTENING if self._is_listening else RECONCILE_POLLING

    @property
    def _is_listening(self) -> bool:
        return self.notifier is not None and self.notifier.is_listening

    def _look_for_others(self) -> float:
        # As short as may be: as long as a client that is gone counts, its share of young jobs waits for others.
        alive_for = min(self.config.client_timeout, 3 * self.config.heartbeat_interval)
        self.homes.refresh(self.keeper.storage.client_list_living(timedelta(seconds=alive_for)))
        return self.config.heartbeat_interval

    def _reconcile_now(self) -> None:
        self.fetcher.hint(())
        # The others are to know of our session.
        self.keeper.hurry("reconcile", QUEUE_ROWS, "look for summons", "heartbeat", "registration")

    def _pause(self, queue: str, is_paused: bool) -> None:  # noqa: FBT001  (called by the notifier)
        with self._pausing:
            self._pauses_heard += 1
            for name in self.producers if queue == "*" else (queue,):
                self.queue_set.set_paused(name, is_paused=is_paused)

    def _follow_pauses(
        self, read: Callable[[Sequence[str]], Sequence[QueueState]], names: Collection[str] | None = None
    ) -> None:
        """Take over what the rows say. What we have heard while they were read is newer: then they are read again."""
        while True:
            heard = self._pauses_heard
            rows = read(sorted(self.producers if names is None else names))
            with self._pausing:
                if heard == self._pauses_heard:
                    for row in rows:
                        self.queue_set.set_paused(row.name, is_paused=row.is_paused)
                    return

    def _leadership_changed(self, action: str, leader_id: str) -> None:
        self.candidate.hear(action, leader_id)

    def _registry_changed(self) -> None:
        self.keeper.hurry("registration")

    def _session_lost(self) -> None:
        self._session_lost_at = time.monotonic()
        if self._judge is not None:
            self._judge.shake()
        # Before others see that our session is gone, they are to know that we have none.
        self.keeper.hurry("heartbeat")
        self.candidate.suspect()

    def _hand_back_unstarted(self) -> None:
        waiting = self.workers.take_waiting()
        for producer in self.producers.values():
            waiting += producer.take_waiting()
        for attempt in waiting:
            self.workers.settle(attempt, INTERRUPTED)

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

    def _leave(self) -> None:
        self.completer.stop(FLUSH_TIMEOUT)
        self.keeper.stop(STATEMENT_TIMEOUT)
        try:
            self.candidate.stop(STATEMENT_TIMEOUT)
            # With results that could not be stored, others are to see that we are gone: they rescue the jobs at once.
            if not len(self.attempts):
                self.keeper.storage.client_delete(self.id)
        except DatabaseProblem as error:
            logger.warning("could not say good-bye to the database: %s", error)
        finally:
            self.maintainer.stop()
            self.keeper.storage.close()
            # Last: until our row is gone, our session says that we live.
            if self.notifier is not None:
                self.notifier.stop(5.0)


def chosen_queues(
    config: Config,
    *,
    only: Collection[str] = (),
    exclude: Collection[str] = (),
    added: Callable[[], Collection[str]] = tuple,
) -> dict[str, QueueConfig]:
    """The queues of the settings, narrowed by names and patterns.

    Raises :class:`ConfigError` for a name that is neither there nor among those that were ``added``.
    """
    known = dict(config.queues)
    names = {name for name in (*only, *exclude) if not is_pattern(name)}
    if config.dynamic_queues:
        known |= {name: config.queue(name) for name in only if name not in known and not queue_problem(name)}
    unknown = {name for name in names - set(known) if not config.queue_layers.has_pattern_for(name)}
    unknown = unknown.difference(added()) if unknown else unknown
    if unknown:
        raise ConfigError(
            f"unknown queue {', '.join(map(repr, sorted(unknown)))}; "
            f"the settings name {', '.join(sorted(config.queue_names))}"
        )
    choice = Choice(only, exclude)
    return {name: options for name, options in known.items() if choice.takes(name)}
