"""Which services a term has, and which of them share a connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Lock
from typing import Any

from django_river import storage
from django_river.conf import Config
from django_river.jobs.definition import Definition
from django_river.jobs.periodic_registry import PeriodicRegistry
from django_river.jobs.registry import Registry
from django_river.jobs.run_times import Suspicion
from django_river.maintenance import reindexer
from django_river.maintenance.client_cleaner import ClientCleaner
from django_river.maintenance.job_cleaner import JobCleaner, retentions
from django_river.maintenance.job_inspector import JobInspector
from django_river.maintenance.job_rescuer import JobRescuer, OnFault
from django_river.maintenance.job_scheduler import JobScheduler
from django_river.maintenance.judge import Judge
from django_river.maintenance.periodic_job_enqueuer import PeriodicJobEnqueuer
from django_river.maintenance.periodic_job_watcher import PeriodicJobWatcher
from django_river.maintenance.queue_cleaner import QueueCleaner
from django_river.maintenance.queue_remover import QueueRemover
from django_river.maintenance.queue_resumer import QueueResumer
from django_river.maintenance.reindexer import Reindexer
from django_river.polls import NO_POLL, Poll
from django_river.queue_options import said
from django_river.service import Service
from django_river.storage.upkeep import Retention, TermOver, Upkeep
from django_river.terms import Term

#: No statement of a service may take longer than this, in seconds, but to build an index.
TIMEOUT = 10.0
#: Short, so that one entry that has to wait for somebody does not make others late for long.
ENQUEUE_TIMEOUT = 2.0


def leader_services(
    term: Term,
    *,
    config: Config,
    periodic: PeriodicRegistry,
    known_kinds: Callable[[], list[str]],
    on_available: Callable[[Collection[str]], None],
    on_fault: OnFault,
    judge: Judge,
    registry: Registry,
    promise: Callable[[Definition[..., Any], int], float | None],
    on_resume: Callable[[], None] = lambda: None,
    is_told: Callable[[], bool] = lambda: False,
    has_removals: Callable[[], bool] = lambda: True,
    poll: Poll = NO_POLL,
) -> Sequence[Service]:
    """All services of a term, ready to be started.

    Raises Django's database errors if they could not reach the database, and :class:`TermOver` if it knows of no such
    term: a leader whose services cannot work must not stay in office.
    """
    open_upkeep = partial(storage.open_upkeep, config.database, term=term)
    urgent, patient = open_upkeep(timeout=TIMEOUT), open_upkeep(timeout=TIMEOUT)
    with ExitStack() as on_error:
        for upkeep in (urgent, patient):
            on_error.callback(upkeep.close)
            _check(upkeep)
        on_error.pop_all()
    lock, urgent_lock = Lock(), Lock()
    scheduler = JobScheduler(upkeep=urgent, lock=urgent_lock, on_available=on_available)
    services: list[Service] = [
        scheduler,
        JobRescuer(
            upkeep=urgent,
            lock=urgent_lock,
            judge=judge,
            rescue_after=config.rescue_after,
            client_timeout=config.client_timeout,
            poison_after=config.poison_after,
            known_kinds=known_kinds,
            on_fault=on_fault,
            poll=poll,
            on_due_in=scheduler.hear,
        ),
        QueueCleaner(upkeep=patient, lock=lock, keep=config.queues),
        ClientCleaner(upkeep=patient, lock=lock, client_timeout=config.client_timeout),
        *_queue_services(
            config, patient, lock, on_resume=on_resume, is_told=is_told, has_removals=has_removals
        ),
    ]
    if config.adaptive_rescue.policy != "ignore":
        known = config.adaptive_rescue
        services.append(
            JobInspector(
                upkeep=patient,
                lock=lock,
                suspicion=Suspicion(floor=known.floor, factor=known.factor, samples=known.samples),
                policy=known.policy,
                registry=registry,
                promise=promise,
                on_fault=on_fault,
            )
        )
    services.append(JobCleaner(upkeep=patient, lock=lock, retentions=partial(_retentions, config, patient)))
    if config.reindex_at is not None:
        slow = open_upkeep(timeout=reindexer.TIMEOUT)
        services.append(Reindexer(upkeep=slow, lock=Lock(), at=config.reindex_at))
    return [*services, *_periodic_services(periodic, config, patient, lock, on_available)]


def _queue_services(
    config: Config,
    shared: Upkeep,
    lock: Lock,
    *,
    on_resume: Callable[[], None],
    is_told: Callable[[], bool],
    has_removals: Callable[[], bool],
) -> Sequence[Service]:
    store = storage.storage_on(shared.session, config.database)
    return (
        QueueRemover(upkeep=shared, lock=lock, storage=store, named=config.queues, is_needed=has_removals),
        QueueResumer(upkeep=shared, lock=lock, storage=store, on_resume=on_resume, is_told=is_told),
    )


def _retentions(config: Config, upkeep: Upkeep) -> Sequence[Retention]:
    """By what is said now of all queues that there are."""
    rows = storage.storage_on(upkeep.session, config.database).queue_row_list()
    names = {*config.queues, *(row.name for row in rows), *upkeep.queue_names()}
    given = {row.name: said(row.settings) for row in rows}
    return retentions(config, {name: config.queue(name, given.get(name)) for name in names})


def _periodic_services(
    registry: PeriodicRegistry,
    config: Config,
    shared: Upkeep,
    lock: Lock,
    on_available: Callable[[Collection[str]], None],
) -> Sequence[Service]:
    """None without periodic jobs. To enqueue has a connection of its own: what others do at length makes no run late.

    They need no term: what they write is guarded by what they have seen (docs: adr/0012).
    """
    if not registry.entries:
        return ()
    using = config.database
    own = storage.open_storage(using, timeout=ENQUEUE_TIMEOUT)
    return (
        PeriodicJobEnqueuer(
            storage=own,
            periodic=storage.for_periodic(using, own.session),
            registry=registry,
            using=using,
            notifies=config.notify,
            on_available=on_available,
        ),
        PeriodicJobWatcher(periodic=storage.for_periodic(using, shared.session), lock=lock),
    )


def _check(upkeep: Upkeep) -> None:
    if not upkeep.leader_lasts():
        raise TermOver(f"the database knows of no such term: {upkeep.term}")
