"""What all services of a term have in common: they start, stop, survive failures, and count in their term only."""

from __future__ import annotations

import datetime as dt
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from django_river.conf import Config
from django_river.jobs.registry import Registry
from django_river.maintenance.judge import Judge
from django_river.maintenance.services import leader_services
from django_river.models import Client, Job, Leader, Queue
from django_river.option import KEEP
from django_river.storage.upkeep import TermOver
from django_river.terms import Term
from tests.factories import ClientFactory, JobFactory, QueueFactory
from tests.periodic import declare, registry_of
from tests.waiting import wait_until

NAMES = [
    "job-scheduler",
    "job-rescuer",
    "queue-cleaner",
    "client-cleaner",
    "queue-remover",
    "queue-resumer",
    "job-inspector",
    "job-cleaner",
    "reindexer",
]
CONFIG = Config(reindex_at=dt.time(3, 30))
DAY = timedelta(days=1)
THREADS = 10
CYCLES = 50


@pytest.fixture
def build(begin):
    """Builds the services of a new term by name, and stops them."""
    built = []

    def build(config=CONFIG, term=None, periodic=registry_of()):  # noqa: B008  (nobody changes it)
        services = leader_services(
            term or begin(),
            config=config,
            periodic=periodic,
            known_kinds=lambda: ["tests.work"],
            on_available=lambda queues: None,
            on_fault=lambda *args: None,
            judge=Judge(own_id="me", client_timeout=60.0, heartbeat_interval=1e-9, clock=time.monotonic),
            registry=Registry(),
            promise=lambda definition, priority: None,
        )
        built.extend(services)
        return {service.name: service for service in services}

    yield build
    for service in built:
        assert service.stop(10)
    wait_until(lambda: not threads(), message="threads are left")
    for service in built:
        service.cleanup()


def threads():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("river-")}


def connections():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'django_river'")
        return cursor.fetchone()[0]


def work_for_each():
    """One thing to do for every service but the reindexer."""
    long_ago = timezone.now() - 3 * DAY
    JobFactory(scheduled=True, scheduled_at=long_ago)
    JobFactory(running=True, created_at=long_ago, attempted_at=long_ago)
    JobFactory(completed=True, created_at=long_ago, finalized_at=long_ago)
    QueueFactory(name="old", updated_at=long_ago)
    ClientFactory(heartbeat_at=long_ago)


def left():
    states = sorted(Job.objects.values_list("state", flat=True))
    return states, Queue.objects.count(), Client.objects.count()


class TestTerm:
    def test_has_its_services(self, build):
        assert list(build()) == NAMES

    def test_has_only_those_that_the_settings_want(self, build):
        keep = Config(completed_retention=KEEP, cancelled_retention=KEEP, discarded_retention=KEEP)

        # Queues may say something else at run time.
        assert list(build(keep)) == NAMES[:8]

    def test_has_those_of_periodic_jobs_if_there_are_any(self, build):
        services = build(periodic=registry_of(declare()))

        assert list(services) == [*NAMES, "periodic-job-enqueuer", "periodic-job-watcher"]
        for service in services.values():
            service.start()

    def test_that_the_database_does_not_know_has_none(self, build):
        with pytest.raises(TermOver, match="the database knows of no such term"):
            build(term=Term("nobody", timezone.now()))
        assert connection.vendor != "postgresql" or connections() == 0

    def test_gets_its_work_done(self, build):
        work_for_each()
        for service in build().values():
            service.start()

        # What was lost and rescued becomes available, too.
        wait_until(lambda: left() == (["available"] * 2, 0, 0))

    def test_that_is_over_leaves_everything_as_it_is(self, build):
        """Its leader was frozen, and wakes up: every service runs, and what it writes does not count."""
        services = build()
        work_for_each()
        Leader.objects.update(expires_at=timezone.now() - DAY)
        before = left()
        for service in services.values():
            for _ in range(5):
                service.run_once()

        assert left() == before

    @pytest.mark.postgres
    def test_takes_its_connections_with_it(self, build, term):
        before = connections()
        services = build(term=term)
        for service in services.values():
            service.start()
        assert connections() >= before + 2
        for service in services.values():
            service.stop(10)

        wait_until(lambda: connections() == before)


@pytest.mark.parametrize("name", NAMES)
class TestService:
    def test_starts_and_stops_in_any_order_from_any_thread(self, build, name):
        service = build()[name]
        barrier = threading.Barrier(THREADS)

        def cycle(number):
            barrier.wait()
            for turn in range(CYCLES):
                if (number + turn) % 2:
                    service.start()
                else:
                    assert service.stop(30)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(cycle, range(THREADS)))
        service.stop(30)
        assert not service.is_running

        service.start()
        assert service.is_running

    def test_goes_on_after_a_failure_and_says_so(self, build, name, monkeypatch, caplog):
        caplog.set_level("INFO")
        service = build()[name]
        run_once, failures = service.run_once, []

        def fail_twice():
            if len(failures) < 2:
                failures.append(1)
                raise OperationalError("the database is away")
            return run_once()

        monkeypatch.setattr(service, "run_once", fail_twice)
        service.start()

        wait_until(lambda: f"{name} works again after 2 failures" in caplog.text)
        assert f"{name} failed, trying again in" in caplog.text
        assert "the database is away" in caplog.text
