"""A running client: builds all parts, hands them to one another, starts and stops them. No loop, no query.

Stopping goes in phases that share one deadline: stop fetching; let jobs finish; ask them to stop; hand back what has
not started, and give back the attempt of what would not stop; store the results; resign; leave.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Lock

from django.db import Error as DatabaseProblem

from django_river import storage
from django_river.candidate import Candidate
from django_river.conf import FOLLOW, Config
from django_river.exceptions import ConfigError
from django_river.hints import hints
from django_river.identity import unique_client_id
from django_river.jobs.periodic_registry import PeriodicRegistry
from django_river.jobs.registry import Registry
from django_river.jobs.registry import registry as all_jobs
from django_river.leadership import RENEWALS
from django_river.maintenance import queue_resumer
from django_river.maintenance.judges import Judges
from django_river.maintenance.maintainer import Maintainer
from django_river.maintenance.services import leader_services
from django_river.maintenance.stand_in import StandIn
from django_river.notifier import Ears, Notifier
from django_river.presence import Presence
from django_river.queue_choice import Choice
from django_river.queue_options import QueueConfig
from django_river.registration import LOOK_POLLING, Registration, declared_registry
from django_river.service import Service
from django_river.signals import client_started, client_stopped
from django_river.terms import Term
from django_river.work.engine import Engine
from django_river.work.keeper import Keeper
from django_river.work.leader_bound import LeaderBound
from django_river.work.long_jobs import LongJobs
from django_river.work.producer import Producer
from django_river.work.queue_duties import QueueDuties

logger = logging.getLogger(__name__)

#: No statement of the worker's own may take longer than this, in seconds.
STATEMENT_TIMEOUT = 10.0
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
        self.engine = engine = Engine(
            client_id=self.id,
            config=config,
            registry=registry,
            queues=queues,
            choice=choice,
            open_storage=open_storage,
        )
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
        self.long_jobs = LongJobs(
            client_id=self.id,
            config=config,
            registry=registry,
            keeper=self.keeper,
            attempts=engine.attempts,
            workers=engine.workers,
            completer=engine.completer,
        )
        self.judges = Judges(
            own_id=self.id,
            client_timeout=config.client_timeout,
            heartbeat_interval=config.heartbeat_interval,
        )
        self.maintainer = Maintainer(services=self._maintenance)
        self.leader_bound = LeaderBound(
            producers=lambda: engine.queue_set.leader_bound,
            attempts=engine.attempts,
            workers=engine.workers,
            registry=registry,
            open_storage=open_storage,
            on_open=engine.lookout.hint,
            is_claiming=lambda: engine.fetcher.is_claiming_as_leader,
            grace=config.cancel_timeout,
            poison_after=config.poison_after,
        )
        self.stand_in = StandIn(
            upkeep=storage.upkeep_on(self.keeper.storage.session, self.using),
            queues=lambda: sorted(self.producers),
            on_available=engine.lookout.hint,
            is_led=lambda: self.elector.knows_leader,
        )
        engine.queue_set.on_leader_bound = self.leader_bound.welcome
        self.queue_duties = QueueDuties(
            keeper=self.keeper,
            queue_set=engine.queue_set,
            figures=engine.workers.figures,
            client_id=self.id,
            is_listening=lambda: self._is_listening,
            on_change=self._heartbeat,
        )
        engine.lookout.on_unknown = self.queue_duties.hear_unknown
        self.notifier = self._notifier()
        parts = (engine.completer, self.keeper, engine.fetcher, self.notifier)
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
            poll=engine.lookout.poll,
            on_crash=on_crash,
        )
        self.elector = self.candidate.elector
        self.presence = Presence(
            client_id=self.id,
            config=config,
            registry_hash=self.registration.registry.hash,
            storage=self.keeper.storage,
            queue_set=engine.queue_set,
            present=self.candidate.present,
            troubles=self._troubles,
            on_away=self.judges.shake,
            on_return=self.long_jobs.hear_loss,
        )
        self._take_on_duties()
        self._on_crash = on_crash
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
            "client %s works %s with %d slots",
            self.id,
            ", ".join(sorted(self.producers)),
            self.engine.queue_set.slots,
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
        return self.engine.queue_set.producers

    @property
    def is_idle(self) -> bool:
        """Whether nothing is claimed, running or waiting to be stored."""
        return self.engine.is_idle

    def has_due_jobs(self) -> bool:
        """Whether any job of our queues could run now; asks the database on the caller's connection."""
        store = storage.for_caller(self.using)
        # Whatever keeps us from leading: the policy as well as the command line.
        may_lead = not (self.registration.objection or self.candidate.candidacy.objection)
        ours = [name for name, one in self.producers.items() if may_lead or not one.is_leader_bound]
        return store.job_has_due(sorted(ours), scheduled=may_lead)

    def _announce(self) -> None:
        try:
            # All of it, or nothing.
            with self.keeper.storage.session.atomic():
                self.registration.enter()
                self.queue_duties.begin()
            if self.engine.gatherer is not None:
                self._look_for_others()
        except BaseException:
            self.keeper.storage.close()
            raise

    def _standing_changed(self) -> None:
        self._heartbeat()
        self.candidate.reconsider()

    def _start_parts(self) -> None:
        hints.add_waker(self.using, self.engine.lookout.hint)
        for service in self._services:
            service.on_crash = self._on_crash
            service.start()
        self.candidate.start()

    def _stop(self, deadline: float, is_hurried: Callable[[], bool]) -> StopReport:
        hints.remove_waker(self.using, self.engine.lookout.hint)
        self.engine.fetcher.stop()
        self.engine.hand_back_unstarted()
        self.candidate.retire()
        interrupted = self.engine.finish(deadline, is_hurried, grace=self.config.cancel_timeout)
        self.engine.completer.flush(FLUSH_TIMEOUT)
        self.engine.workers.stop(timeout=0.5)
        self._leave()
        self._report = StopReport(interrupted=interrupted, unstored=len(self.engine.attempts))
        return self._report

    def _maintenance(self, term: Term) -> Sequence[Service]:
        services = leader_services(
            term,
            config=self.config,
            periodic=self.registration.registry,
            known_kinds=lambda: self.registry.kinds,
            on_available=self.engine.lookout.hint,
            on_resume=self.queue_duties.hear_resumption,
            is_told=lambda: self._is_listening,
            has_removals=lambda: self.engine.queue_set.plan.has_removals,
            on_fault=self.long_jobs.faults.note,
            judge=self.judges.new(),
            registry=self.registry,
            promise=self.long_jobs.promises.of,
            poll=self.engine.lookout.poll,
        )
        for service in services:
            # A leader without its services must not stay in office.
            service.on_crash = self._on_crash
        return services

    def _notifier(self) -> Notifier | None:
        listener = storage.open_listener(self.using) if self.config.notify else None
        if listener is None:
            return None
        ears = Ears(
            on_insert=lambda queue: self.engine.lookout.hint([queue]),
            on_cancel=self.long_jobs.watch.cancel,
            on_pause=self.queue_duties.hear_pause,
            on_leadership=self._leadership_changed,
            on_queues=self._queues_changed,
            on_connect=self._reconcile_now,
            on_disconnect=self._session_lost,
            on_registry=self._registry_changed,
        )
        return Notifier(listener=listener, ears=ears)

    def _take_on_duties(self) -> None:
        # What has been done to announce us is not due at once.
        self.keeper.add("heartbeat", self._heartbeat, after=self.config.heartbeat_interval)
        self.keeper.add("registration", self.registration.look, after=LOOK_POLLING)
        self.queue_duties.take_on()
        self.long_jobs.take_on()
        self.keeper.add("stand in", self.stand_in.attempt)
        if self.engine.gatherer is not None:
            self.keeper.add("look for others", self._look_for_others)

    def _heartbeat(self) -> float:
        return self.presence.beat()

    def _troubles(self) -> dict[str, str]:
        """Of all our services that fail just now, so that others see it."""
        services = [*self._services, self.candidate.steward, *self.maintainer.running]
        return {service.name: service.trouble for service in services if service.trouble}

    @property
    def _is_listening(self) -> bool:
        return self.notifier is not None and self.notifier.is_listening

    def _look_for_others(self) -> float:
        # As short as may be: as long as a client that is gone counts, its share of young jobs waits for others.
        alive_for = min(self.config.client_timeout, 3 * self.config.heartbeat_interval)
        self.engine.homes.refresh(self.keeper.storage.client_list_living(timedelta(seconds=alive_for)))
        return self.config.heartbeat_interval

    def _reconcile_now(self) -> None:
        self.engine.lookout.hint(())
        # The others are to know of our session.
        self._queues_changed()
        self.queue_duties.hear_resumption()
        self.long_jobs.hear_loss()
        self.keeper.hurry("heartbeat", "registration")

    def _leadership_changed(self, action: str, leader_id: str) -> None:
        self.candidate.hear(action, leader_id)

    def _queues_changed(self) -> None:
        self.queue_duties.hear_change()
        self.maintainer.wake(queue_resumer.NAME)

    def _registry_changed(self) -> None:
        self.keeper.hurry("registration")

    def _session_lost(self) -> None:
        self.judges.shake()
        # Before others see that our session is gone, they are to know that we have none.
        self.keeper.hurry("heartbeat")
        self.candidate.suspect()

    def _leave(self) -> None:
        self.engine.completer.stop(FLUSH_TIMEOUT)
        self.keeper.stop(STATEMENT_TIMEOUT)
        try:
            self.candidate.stop(STATEMENT_TIMEOUT)
            self.long_jobs.flush()
            # With results that could not be stored, others are to see that we are gone: they rescue the jobs at once.
            if not len(self.engine.attempts):
                self.keeper.storage.client_delete(self.id)
            self.queue_duties.end()
        except DatabaseProblem as error:
            logger.warning("could not say good-bye to the database: %s", error)
        finally:
            self.maintainer.stop()
            self.keeper.storage.close()
            # Last: until our row is gone, our session says that we live.
            if self.notifier is not None:
                self.notifier.stop(5.0)
