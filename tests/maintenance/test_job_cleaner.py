"""Finished jobs go when their time is over: fronts move on, sweeps come after, no page stands before the others."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from django_river import queues
from django_river.conf import Config, QueueConfig, config
from django_river.jobs.registry import Registry
from django_river.jobs.states import State
from django_river.maintenance import job_cleaner as module
from django_river.maintenance.batch_size import BatchSize
from django_river.maintenance.job_cleaner import (
    FAILED_WAIT,
    FRONT_INTERVAL,
    LONGEST_FRONT_INTERVAL,
    LONGEST_STRETCH,
    JobCleaner,
    Walk,
    retentions,
)
from django_river.maintenance.services import leader_services
from django_river.models import Job
from django_river.option import KEEP
from django_river.storage.upkeep import CleanedPage, Retention
from tests.factories import JobFactory, QueueFactory
from tests.periodic import registry_of
from tests.waiting import wait_until

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
COMPLETED = Retention(state=State.COMPLETED, kept_for=DAY)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def build(upkeep):
    """Builds cleaners, and stops them."""
    built = []

    def build(*given, size=1000):
        found = list(given or retentions(Config()))
        cleaner = JobCleaner(upkeep=upkeep, lock=Lock(), retentions=lambda: found)
        cleaner.adopt(found)
        cleaner.batch = BatchSize(size, least=size, most=size)
        built.append(cleaner)
        return cleaner

    yield build
    for cleaner in built:
        assert cleaner.stop(10)


def over(state="completed", age=2 * DAY, **given):
    moment = timezone.now() - age
    return JobFactory(state=state, **{"created_at": moment, **given}, finalized_at=moment)


def ids():
    return list(Job.objects.order_by("id").values_list("id", flat=True))


def run(cleaner):
    """Run until it has to wait; how many runs it took."""
    runs = 1
    while cleaner.run_once() == 0.0:
        runs += 1
        assert runs < 1000
    return runs


class TestRetentions:
    def test_are_three_by_default(self):
        assert retentions(Config()) == [
            Retention(state=State.CANCELLED, kept_for=DAY),
            Retention(state=State.COMPLETED, kept_for=DAY),
            Retention(state=State.DISCARDED, kept_for=7 * DAY),
        ]

    def test_are_none_for_what_is_kept_for_ever(self):
        config = Config(completed_retention=KEEP, cancelled_retention=KEEP, discarded_retention=KEEP)

        assert retentions(config) == []

    def test_of_queues_stand_beside_that_of_the_others(self):
        own = {
            "a": QueueConfig(completed_retention=60.0),
            "b": QueueConfig(completed_retention=KEEP),
            "c": QueueConfig(completed_retention=60.0),
            "d": QueueConfig(completed_retention=86_400.0),
            "e": QueueConfig(),
        }
        found = [r for r in retentions(Config(queues=own)) if r.state is State.COMPLETED]

        minute = timedelta(minutes=1)
        assert found == [
            Retention(state=State.COMPLETED, kept_for=DAY, queues=("a", "b", "c")),
            Retention(state=State.COMPLETED, kept_for=minute, queues=("a", "c"), is_for_others=False),
        ]

    def test_of_queues_stand_alone_where_others_keep(self):
        config = Config(queues={"a": QueueConfig(discarded_retention=0.0)}, discarded_retention=KEEP)
        found = [r for r in retentions(config) if r.state is State.DISCARDED]

        assert found == [
            Retention(state=State.DISCARDED, kept_for=timedelta(0), queues=("a",), is_for_others=False)
        ]

    def test_follow_what_holds_for_each_queue(self):
        config = Config(queues={"a": QueueConfig(completed_retention=60.0)})
        now = {"a": QueueConfig(completed_retention=5.0), "tenant-1": QueueConfig(completed_retention=5.0)}
        found = [r for r in retentions(config, now) if r.state is State.COMPLETED]

        assert found == [
            Retention(state=State.COMPLETED, kept_for=DAY, queues=("a", "tenant-1")),
            Retention(
                state=State.COMPLETED,
                kept_for=timedelta(seconds=5),
                queues=("a", "tenant-1"),
                is_for_others=False,
            ),
        ]


class TestLayers:
    @pytest.fixture
    def service(self, begin, settings):
        settings.DJANGO_RIVER = {
            "QUEUE_DEFAULTS": {"COMPLETED_RETENTION": 50 * 3600},
            "QUEUES": {
                "default": {},
                "named": {"COMPLETED_RETENTION": 3600},
                "tenant-*": {"COMPLETED_RETENTION": KEEP},
            },
        }
        services = leader_services(
            begin(),
            config=config(),
            periodic=registry_of(),
            known_kinds=list,
            on_available=lambda queues: None,
            on_fault=lambda *args: None,
            judge=None,
            registry=Registry(),
            promise=lambda definition, priority: None,
        )
        (found,) = [service for service in services if isinstance(service, JobCleaner)]
        yield found
        for one in services:
            assert one.stop(10)
            one.cleanup()

    def kept(self, service):
        run(service)
        return sorted(Job.objects.values_list("queue", flat=True))

    def test_hold_for_jobs_that_are_over(self, service):
        QueueFactory(name="tenant-1")
        for queue in ("default", "named", "tenant-1", "foreign"):
            over(queue=queue)
        over(queue="default", age=3 * DAY)

        assert self.kept(service) == ["default", "foreign", "tenant-1"]

    def test_are_overruled_at_run_time(self, service, monkeypatch):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
        for queue in ("default", "named", "added"):
            over(queue=queue)
        queues.update("named", completed_retention=-1)
        queues.add("added", completed_retention=3600)
        assert self.kept(service) == ["default", "named"]

        queues.update("named", completed_retention=queues.INHERIT)
        for walk in service.walks:
            walk.due_at = 0.0
        wait_until(lambda: self.kept(service) == ["default"])


class TestWalk:
    @pytest.mark.parametrize(
        ("kept_for", "slack", "interval"),
        [
            (timedelta(0), timedelta(seconds=10), 10.0),
            (HOUR, timedelta(seconds=36), 360.0),
            (DAY, timedelta(minutes=14, seconds=24), 600.0),
            (365 * DAY, timedelta(minutes=15), 600.0),
        ],
    )
    def test_gives_jobs_time_to_end_and_sweeps_as_often_as_it_matters(self, kept_for, slack, interval):
        walk = Walk(dataclasses.replace(COMPLETED, kept_for=kept_for), is_sweep=True)

        assert (walk.slack, walk.interval) == (slack, interval)

    @pytest.mark.parametrize(
        ("kept_for", "interval"),
        [
            (timedelta(0), FRONT_INTERVAL),
            (10_000 * timedelta(seconds=1), 10.0),
            (7 * DAY, LONGEST_FRONT_INTERVAL),
        ],
    )
    def test_of_the_front_comes_less_often_where_jobs_are_kept_for_long(self, kept_for, interval):
        assert Walk(dataclasses.replace(COMPLETED, kept_for=kept_for)).interval == interval

    def test_of_the_front_goes_on_at_once_while_there_is_more(self, clock):
        walk = Walk(COMPLETED)
        clock.now += 2
        walk.advance(CleanedPage(10, 10, passed_id=7, has_more=True), began=clock.now - 1, is_sparse=False)

        assert (walk.after, walk.due_at) == (7, clock.now)

    def test_of_the_front_stays_where_it_is_until_jobs_have_aged(self, clock):
        walk = Walk(COMPLETED, after=7)
        walk.advance(CleanedPage(3, 0, passed_id=None, has_more=False), began=clock.now, is_sparse=False)

        assert (walk.after, walk.due_at) == (7, clock.now + LONGEST_FRONT_INTERVAL)

    def test_of_a_sweep_takes_its_time(self, clock):
        walk = Walk(COMPLETED, is_sweep=True)
        clock.now += 2
        walk.advance(CleanedPage(10, 0, passed_id=7, has_more=True), began=clock.now - 2, is_sparse=False)

        assert (walk.after, walk.due_at) == (7, clock.now + 38)

    def test_of_a_sweep_begins_again(self, clock):
        walk = Walk(COMPLETED, is_sweep=True, after=7)
        walk.advance(CleanedPage(3, 0, passed_id=9, has_more=False), began=clock.now, is_sparse=False)

        assert (walk.after, walk.due_at) == (0, clock.now + 600)

    def test_takes_longer_strides_where_jobs_are_few(self, clock):
        walk, page = Walk(COMPLETED), CleanedPage(0, 0, passed_id=7, has_more=True)
        strides = []
        for is_sparse in (True, True, True, False, False, False):
            walk.advance(page, began=clock.now, is_sparse=is_sparse)
            strides.append(walk.stretch)

        assert strides == [2, 4, 8, 4, 2, 1]

    def test_takes_no_stride_beyond_all_bounds(self, clock):
        walk, page = Walk(COMPLETED), CleanedPage(0, 0, passed_id=7, has_more=True)
        for _ in range(99):
            walk.advance(page, began=clock.now, is_sparse=True)

        assert walk.stretch == LONGEST_STRETCH
        walk.advance(page._replace(has_more=False), began=clock.now, is_sparse=True)
        assert walk.stretch == 1


class TestRunOnce:
    def test_deletes_what_has_been_kept_long_enough(self, build):
        for state in ("completed", "cancelled", "discarded"):
            over(state, age=8 * DAY)
        kept = [over(age=DAY - HOUR), over("discarded"), JobFactory(running=True)]
        run(build())

        assert ids() == [job.id for job in kept]

    def test_goes_on_page_by_page(self, build):
        first, *_ = [over() for _ in range(5)]
        cleaner = build(COMPLETED, size=2)
        cleaner.walks[0].after = first.id - 1

        assert [cleaner.run_once() for _ in range(2)] == [0.0, 0.0]
        assert Job.objects.count() == 1
        assert 0 < cleaner.run_once() <= LONGEST_FRONT_INTERVAL
        assert ids() == []

    def test_finds_jobs_that_are_far_between(self, build):
        for id in (10, 5_000_000, 5_000_000_000):
            over(id=id)

        assert run(build(COMPLETED, size=10)) < 250
        assert ids() == []

    def test_reads_no_job_twice_until_the_sweep(self, build, clock):
        late = JobFactory(running=True, created_at=timezone.now() - 2 * DAY)
        over()
        cleaner = build(COMPLETED)
        run(cleaner)
        ended = {"state": "completed", "finalized_at": timezone.now() - DAY - HOUR}
        Job.objects.filter(pk=late.pk).update(**ended)
        clock.now += LONGEST_FRONT_INTERVAL
        run(cleaner)
        assert ids() == [late.id]

        clock.now += 600
        run(cleaner)
        assert ids() == []

    def test_takes_turns(self, build, clock):
        retentions = [
            dataclasses.replace(COMPLETED, state=state) for state in (State.COMPLETED, State.CANCELLED)
        ]
        cleaner = build(*retentions)
        done = []
        cleaner.upkeep.job_clean = lambda retention, **_: (
            done.append(retention.state) or CleanedPage(0, 0, None, has_more=False)
        )
        for _ in range(4):
            clock.now += cleaner.run_once()

        assert done == [State.COMPLETED, State.CANCELLED] * 2

    def test_a_page_that_fails_keeps_no_other_from_its_turn(self, build, clock, monkeypatch):
        cleaner = build(COMPLETED, dataclasses.replace(COMPLETED, state=State.CANCELLED))
        done = []

        def clean(retention, **_):
            done.append(retention.state)
            if retention.state is State.COMPLETED:
                raise OperationalError("canceling statement due to statement timeout")
            return CleanedPage(0, 0, None, has_more=False)

        monkeypatch.setattr(cleaner.upkeep, "job_clean", clean)
        with pytest.raises(OperationalError):
            cleaner.run_once()
        cleaner.run_once()

        assert done == [State.COMPLETED, State.CANCELLED]
        assert cleaner.walks[0].due_at == clock.now + FAILED_WAIT

    def test_a_page_that_fails_is_followed_by_a_shorter_stride(self, build, monkeypatch):
        def fail(*args, **kwargs):
            raise OperationalError("canceling statement due to statement timeout")

        cleaner = build(COMPLETED)
        cleaner.walks[0].stretch = 2**20
        monkeypatch.setattr(cleaner.upkeep, "job_clean", fail)
        with pytest.raises(OperationalError):
            cleaner.run_once()

        assert cleaner.walks[0].stretch == 2**10

    def test_after_the_term_deletes_nothing(self, build, begin):
        over()
        cleaner = build(COMPLETED)
        begin("another")
        cleaner.run_once()

        assert Job.objects.count() == 1


@pytest.mark.postgres
def test_takes_fewer_while_the_database_is_slow_and_more_when_it_is_quick_again(build):
    for _ in range(300):
        over()
    cleaner = build(COMPLETED)
    cleaner.batch = BatchSize(100, least=10, most=100)
    sizes = []
    with slow_deletes():
        for _ in range(3):
            cleaner.run_once()
            sizes.append(cleaner.batch.size)
    while cleaner.run_once() == 0.0:
        sizes.append(cleaner.batch.size)

    assert sizes[:3] == [50, 25, 12]
    assert max(sizes[3:]) > 12
    assert ids() == []


@contextmanager
def slow_deletes():
    """Whoever deletes jobs waits for a while, as he might on a busy server."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(0.15); RETURN NULL; END $$;"
            "CREATE TRIGGER slow BEFORE DELETE ON river_job FOR EACH STATEMENT EXECUTE FUNCTION be_slow()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION be_slow CASCADE")


def test_running_it_cleans(build):
    for _ in range(7):
        over()
    cleaner = build(size=2)
    cleaner.start()

    wait_until(lambda: ids() == [])
