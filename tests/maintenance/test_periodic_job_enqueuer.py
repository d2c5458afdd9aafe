"""Runs of periodic jobs: each enqueued once and on time, whatever becomes of the others."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError, transaction
from django.utils import timezone

from django_river import Unique, storage
from django_river.enqueue import JobFunction
from django_river.jobs.context import JobContext
from django_river.jobs.definition import JobOptions
from django_river.maintenance import periodic_job_enqueuer as module
from django_river.maintenance.periodic_job_enqueuer import LOOK_SECONDS, PeriodicJobEnqueuer
from django_river.models import Job, PeriodicJob
from django_river.storage.base import TOPIC_INSERT
from tests.factories import JobFactory
from tests.periodic import declare, put_into_force, registry_of
from tests.waiting import is_a_lock_waited_for, wait_until

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def told():
    return []


@pytest.fixture
def build(using, told):
    """Puts declarations into force and builds enqueuers of them, each on a connection of its own."""
    built = []

    def build(*declarations, enter=True):
        store = storage.open_storage(using, timeout=module.LOOK_SECONDS * 5)
        periodic = storage.for_periodic(using, store.session)
        registry = registry_of(*declarations)
        if enter:
            put_into_force(periodic, registry)
        built.append(
            PeriodicJobEnqueuer(
                storage=store,
                periodic=periodic,
                registry=registry,
                using=using,
                notifies=True,
                on_available=lambda queues: told.append(sorted(queues)),
            )
        )
        return built[-1]

    yield build
    for enqueuer in built:
        assert enqueuer.stop(10)
        enqueuer.storage.close()


def entry(name="work"):
    return PeriodicJob.objects.get(name=name)


def plan(ago=SECOND / 10, name=None, **given):
    """Let entries have been due for so long; when they were planned."""
    at = timezone.now() - ago
    rows = PeriodicJob.objects.all() if name is None else PeriodicJob.objects.filter(name=name)
    rows.update(next_run_at=at, **given)
    return at


def enqueued(name="work"):
    """The runs that were enqueued for an entry, the oldest first: when they were planned for."""
    jobs = Job.objects.order_by("scheduled_at", "id")
    return [job.scheduled_at for job in jobs if job.metadata["river:periodic_job_id"] == name]


class TestRun:
    def test_is_enqueued_as_planned(self, build, told):
        enqueuer = build(declare(args={"number": 5}, queue="other", priority=3))
        planned = plan()
        enqueuer.run_once()

        job = Job.objects.get()
        assert (job.kind, job.state, job.args) == ("shop.nothing", "available", {"number": 5})
        assert (job.queue, job.priority, job.scheduled_at) == ("other", 3, planned)
        assert job.metadata == {
            "periodic": True,
            "river:periodic_job_id": "work",
            "django_river:planned_at": planned.isoformat(),
        }
        assert JobContext(id=1, metadata=json.dumps(job.metadata)).planned_at == planned
        assert told == [["other"]]

    def test_is_written_down(self, build):
        enqueuer = build(declare())
        planned = plan()
        enqueuer.run_once()

        row = entry()
        assert (row.last_run_at, row.next_run_at) == (planned, planned + HOUR)
        assert row.last_job_id == Job.objects.get().pk

    def test_is_enqueued_once(self, build):
        enqueuer = build(declare())
        planned = plan()
        for _ in range(3):
            enqueuer.run_once()

        assert enqueued() == [planned]

    def test_is_left_alone_before_it_is_due(self, build):
        enqueuer = build(declare(every=HOUR))

        assert enqueuer.run_once() <= LOOK_SECONDS
        assert enqueued() == []

    def test_is_waited_for_no_longer_than_until_it_is_due(self, build):
        enqueuer = build(declare())
        plan(-SECOND / 2)

        assert 0 < enqueuer.run_once() <= 0.51

    def test_of_an_entry_that_is_paused_waits(self, build):
        enqueuer = build(declare())
        plan(paused_at=timezone.now())
        enqueuer.run_once()

        assert enqueued() == []

    def test_of_an_entry_paused_since_the_last_look_waits(self, build):
        enqueuer = build(declare())
        plan(-SECOND / 5)
        enqueuer.run_once()
        PeriodicJob.objects.update(paused_at=timezone.now())
        wait_until(lambda: timezone.now() > entry().next_run_at)
        enqueuer.run_once()

        assert enqueued() == []

    def test_of_an_entry_that_others_declare_in_another_way_is_theirs(self, build):
        build(declare(args={"number": 1}))
        enqueuer = build(declare(args={"number": 2}), enter=False)
        plan()
        enqueuer.run_once()

        assert enqueued() == []

    def test_of_an_entry_changed_since_the_last_look_is_theirs_too(self, build):
        enqueuer = build(declare(args={"number": 1}))
        plan(-SECOND / 5)
        enqueuer.run_once()
        PeriodicJob.objects.update(fingerprint="another")
        wait_until(lambda: timezone.now() > entry().next_run_at)
        enqueuer.run_once()

        assert enqueued() == []

    @pytest.mark.postgres
    def test_is_told_to_other_processes(self, build, using):
        listener = storage.open_listener(using)
        listener.connect([TOPIC_INSERT])
        enqueuer = build(declare(queue="other"))
        plan()
        enqueuer.run_once()

        assert listener.wait(5) == [(TOPIC_INSERT, '{"queue": "other"}')]
        listener.close()

    def test_may_be_spread_by_chance(self, build):
        enqueuer = build(*(declare(f"n{number}", jitter=HOUR) for number in range(5)))
        planned = plan()
        enqueuer.run_once()

        jobs = list(Job.objects.all())
        assert all(planned < job.scheduled_at < planned + HOUR for job in jobs)
        assert len({job.scheduled_at for job in jobs}) == 5
        assert {job.metadata["django_river:planned_at"] for job in jobs} == {planned.isoformat()}
        assert {job.state for job in jobs} == {"scheduled"}

    def test_that_is_unique_takes_its_period_from_the_plan(self, build, monkeypatch):
        unique = JobOptions(unique=Unique(by_period=MINUTE))
        job = JobFunction(lambda number=0: None, kind="shop.unique", options=unique)
        enqueuer = build(declare(job=job, every=MINUTE, on_missed="all"))
        plan(5 * MINUTE)
        enqueuer.run_once()

        assert len(enqueued()) == 6
        assert entry().last_job_id == Job.objects.latest("scheduled_at").pk


class TestTwoLeaders:
    def test_enqueue_a_run_once(self, build):
        first = build(declare("a"), declare("b"))
        second = build(declare("a"), declare("b"), enter=False)
        plan(-SECOND / 5)
        for leader in (first, second):
            leader.run_once()
        wait_until(lambda: timezone.now() > entry("a").next_run_at)
        for leader in (first, second):
            leader.run_once()

        assert len(enqueued("a")) == len(enqueued("b")) == 1

    @pytest.mark.slow
    def test_at_work_together_enqueue_every_run_once(self, build):
        names = [f"n{number}" for number in range(5)]
        leaders = [
            build(*(declare(name, every=0.1) for name in names), enter=not number) for number in range(2)
        ]
        for leader in leaders:
            leader.start()
        wait_until(lambda: Job.objects.count() > 150, 30)
        for leader in leaders:
            leader.stop()

        for name in names:
            runs = enqueued(name)
            assert len(set(runs)) == len(runs)
            assert {later - earlier for earlier, later in itertools.pairwise(runs)} == {SECOND / 10}

    @pytest.mark.postgres
    def test_wait_for_each_other_and_look_again(self, build, using):
        first, second = build(declare()), build(declare(), enter=False)
        plan(-SECOND / 5)
        second.run_once()
        wait_until(lambda: timezone.now() > entry().next_run_at)
        with first.periodic.atomic():
            first.run_once()
            thread = threading.Thread(target=second.run_once)
            thread.start()
            wait_until(is_a_lock_waited_for)
        thread.join(10)

        assert len(enqueued()) == 1


class TestMissed:
    """The leader was away for three days."""

    AWAY = timedelta(days=3)

    def runs(self, build, **options):
        enqueuer = build(declare(**options))
        planned = plan(self.AWAY)
        enqueuer.run_once()
        enqueuer.run_once()
        return planned, enqueued()

    def test_runs_are_skipped(self, build, caplog):
        planned, runs = self.runs(build, every=timedelta(hours=5))

        assert runs == []
        assert entry().next_run_at == planned + timedelta(hours=75)
        assert f"periodic job work: runs since {planned} were missed" in caplog.text

    def test_runs_are_made_up_for_by_one(self, build):
        planned, runs = self.runs(build, every=timedelta(hours=5), on_missed="once")

        assert runs == [planned + timedelta(hours=70)]

    def test_runs_are_all_made_up_for(self, build):
        planned, runs = self.runs(build, every=timedelta(hours=5), on_missed="all")

        assert runs == [planned + timedelta(hours=5) * number for number in range(15)]

    def test_runs_are_made_up_for_to_a_limit(self, build):
        planned, runs = self.runs(build, every=1, on_missed="all", max_catch_up=7)

        # The newest ones are on time and do not count.
        assert runs[-1] - planned <= self.AWAY + 2 * SECOND
        assert 7 <= len(runs) <= 9

    def test_an_interval_of_tenths_comes_back_without_a_burst(self, build):
        _, runs = self.runs(build, every=0.1)

        assert len(runs) <= 11

    def test_times_of_day_are_made_up_for(self, build):
        enqueuer = build(declare(cron="0 12 * * *", on_missed="all"))
        noon = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)
        noon -= timedelta(days=timezone.now() < noon)
        PeriodicJob.objects.update(next_run_at=noon - self.AWAY)
        enqueuer.run_once()

        assert enqueued() == [noon - timedelta(days=day) for day in (3, 2, 1, 0)]

    def test_a_run_that_is_a_little_late_is_not_missed(self, build):
        enqueuer = build(declare())
        planned = plan(30 * SECOND)
        enqueuer.run_once()

        assert enqueued() == [planned]


class TestOverlap:
    def test_is_allowed(self, build):
        enqueuer = build(declare())
        for _ in range(2):
            plan()
            enqueuer._look_at = 0
            enqueuer.run_once()

        assert len(enqueued()) == 2

    @pytest.mark.parametrize("state", ["available", "running", "retryable", "scheduled"])
    def test_if_it_is_not_a_run_is_left_out_while_the_last_is_not_over(self, build, state):
        enqueuer = build(declare(overlap=False))
        last = JobFactory(**{state: True}, metadata={"river:periodic_job_id": "work"})
        planned = plan(last_job_id=last.pk)
        enqueuer.run_once()

        assert Job.objects.count() == 1
        assert (entry().next_run_at, entry().last_job_id) == (planned + HOUR, last.pk)

    @pytest.mark.parametrize("state", ["completed", "discarded", "cancelled", None])
    def test_a_run_comes_when_the_last_is_over_or_gone(self, build, state):
        enqueuer = build(declare(overlap=False))
        last = JobFactory(**{state or "completed": True}, metadata={"river:periodic_job_id": "old"})
        if state is None:
            Job.objects.all().delete()
        planned = plan(last_job_id=last.pk)
        enqueuer.run_once()

        assert enqueued() == [planned]

    def test_of_many_that_were_missed_one_is_enqueued(self, build):
        enqueuer = build(declare(overlap=False, on_missed="all"))
        plan(5 * HOUR)
        enqueuer.run_once()

        assert len(enqueued()) == 1


class TestExtraRun:
    def test_comes_besides_the_schedule(self, build):
        enqueuer = build(declare(run_on_start=True))
        asked, next_run_at = entry().extra_run_at, entry().next_run_at
        enqueuer.run_once()
        enqueuer.run_once()

        assert enqueued() == [asked]
        assert (entry().extra_run_at, entry().next_run_at) == (None, next_run_at)

    def test_and_a_run_that_is_due_are_two(self, build):
        enqueuer = build(declare(run_on_start=True))
        asked, planned = entry().extra_run_at, plan()
        enqueuer.run_once()

        assert sorted(enqueued()) == sorted([asked, planned])


class TestClockPutBack:
    def test_an_interval_begins_anew_in_step(self, build, caplog):
        enqueuer = build(declare(every=0.5))
        later = timezone.now() + HOUR
        PeriodicJob.objects.update(next_run_at=later, last_run_at=later - SECOND / 2)
        enqueuer.run_once()

        row = entry()
        assert row.next_run_at < timezone.now() + SECOND
        assert (later - row.next_run_at) % (SECOND / 2) == timedelta(0)
        assert row.last_run_at <= timezone.now()
        assert enqueued() == []
        assert "periodic job work: the clock was put back, it begins anew" in caplog.text

    def test_a_time_of_day_has_had_its_run(self, build):
        enqueuer = build(declare(cron="@hourly"))
        later = timezone.now() + 3 * HOUR
        PeriodicJob.objects.update(next_run_at=later, last_run_at=later - HOUR)
        enqueuer.run_once()

        assert entry().next_run_at == later

    def test_a_start_that_is_to_come_is_waited_for(self, build):
        start = timezone.now() + timedelta(days=9)
        enqueuer = build(declare(every=1, start_at=start))
        enqueuer.run_once()

        assert entry().next_run_at == start


class Refusing:
    """Makes the database refuse jobs of one priority, as a trigger of the project's might."""

    def __init__(self, enqueuer, priority=4, error=DataError):
        self.insert = enqueuer.storage.job_insert_many
        self.priority, self.error, self.is_on = priority, error, True

    def __call__(self, jobs, **given):
        if self.is_on and any(job.priority == self.priority for job in jobs):
            raise self.error("not this one")
        return self.insert(jobs, **given)


class TestErrors:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch):
        monkeypatch.setattr(module, "LONGEST_PAUSE", 0.0)
        monkeypatch.setattr(module.Failing, "__init__", _impatient)

    @contextmanager
    def refusing(self, enqueuer, monkeypatch, **given):
        refusing = Refusing(enqueuer, **given)
        monkeypatch.setattr(enqueuer.storage, "job_insert_many", refusing)
        yield refusing
        refusing.is_on = False

    def test_of_the_database_about_one_hold_back_no_other(self, build, monkeypatch):
        enqueuer = build(declare("good"), declare("bad", priority=4), declare("fine"))
        plan()
        with self.refusing(enqueuer, monkeypatch):
            enqueuer.run_once()

        assert len(enqueued("good")) == len(enqueued("fine")) == 1
        assert enqueued("bad") == []
        assert entry("bad").error == "DataError: not this one"
        assert entry("good").error == ""

    def test_of_arguments_hold_back_no_other(self, build, monkeypatch):
        enqueuer = build(declare("bad"), declare("good"))
        monkeypatch.setitem(enqueuer.registry.entries["bad"].declaration.args, "number", "x")
        plan()
        enqueuer.run_once()

        assert len(enqueued("good")) == 1
        assert entry("bad").error.startswith("ArgumentTypeError: shop.nothing: argument 'number'")

    def test_are_tried_again_and_forgotten(self, build, monkeypatch, caplog):
        caplog.set_level("INFO", "django_river")
        enqueuer = build(declare("bad", priority=4))
        planned = plan()
        with self.refusing(enqueuer, monkeypatch):
            enqueuer.run_once()
            assert enqueuer.run_once() == 0.0
        enqueuer.run_once()

        assert enqueued("bad") == [planned]
        assert entry("bad").error == ""
        assert "periodic job bad can be enqueued again" in caplog.text

    def test_make_no_run_a_missed_one(self, build):
        build(declare("bad"))
        planned = plan(10 * MINUTE, error="DataError: not this one")
        build(declare("bad"), enter=False).run_once()

        assert enqueued("bad") == [planned]

    def test_of_a_database_that_is_away_are_nobodys_fault(self, build, monkeypatch):
        enqueuer = build(declare("a"), declare("b"))
        plan()

        def away(*args, **given):
            raise OperationalError("away")

        with monkeypatch.context() as patch:
            for name in ("periodic_move_many", "now"):
                patch.setattr(enqueuer.periodic, name, away)
            with pytest.raises(OperationalError):
                enqueuer.run_once()
        assert set(PeriodicJob.objects.values_list("error", flat=True)) == {""}

        enqueuer.run_once()
        assert len(enqueued("a")) == len(enqueued("b")) == 1

    @pytest.mark.postgres
    def test_of_one_that_has_to_wait_for_a_key_hold_others_back_for_seconds_only(self, build, second):
        job = JobFunction(lambda: None, kind="shop.unique", options=JobOptions(unique=Unique(by_queue=True)))
        enqueuer = build(declare("waits", job=job), declare("good"))
        enqueuer.storage.session.timeout = 0.5
        enqueuer.storage.close()
        plan()
        with transaction.atomic(using=second):
            job.using(database=second).enqueue()
            enqueuer.run_once()
            assert len(enqueued("good")) == 1
            assert "statement timeout" in entry("waits").error
        enqueuer.run_once()

        assert entry("waits").error == ""
        assert entry("waits").last_job_id == Job.objects.get(kind="shop.unique").pk


def _impatient(self):
    self.retry_at, self.backoff = 0.0, module.Backoff(first=0.0, longest=0.0)


class TestMany:
    def test_are_enqueued_in_one_statement(self, build, monkeypatch):
        enqueuer = build(*(declare(f"n{number}") for number in range(200)))
        insert, sizes = enqueuer.storage.job_insert_many, []

        def counted(jobs, **given):
            sizes.append(len(jobs))
            return insert(jobs, **given)

        monkeypatch.setattr(enqueuer.storage, "job_insert_many", counted)
        plan()
        enqueuer.run_once()

        assert sizes == [200]
        rows = PeriodicJob.objects.all()
        jobs = {job.pk: job for job in Job.objects.all()}
        assert {row.name for row in rows} == {
            jobs[row.last_job_id].metadata["river:periodic_job_id"] for row in rows
        }
        assert all(jobs[row.last_job_id].metadata["river:periodic_job_id"] == row.name for row in rows)

    def test_are_divided_if_they_are_very_many(self, build, monkeypatch):
        monkeypatch.setattr(module, "BATCH", 3)
        enqueuer = build(*(declare(f"n{number}") for number in range(8)))
        plan()
        enqueuer.run_once()

        assert Job.objects.count() == 8


class TestRunning:
    def test_keeps_an_interval_without_drift(self, build):
        enqueuer = build(declare(every=0.1))
        enqueuer.start()
        wait_until(lambda: Job.objects.count() >= 20)
        enqueuer.stop()

        runs = enqueued()
        assert {later - earlier for earlier, later in itertools.pairwise(runs)} == {SECOND / 10}
        late = sorted(job.created_at - job.scheduled_at for job in Job.objects.all())
        assert late[0] >= timedelta(0)
        assert late[len(late) // 2] < SECOND / 2
        assert {job.state for job in Job.objects.all()} == {"available"}

    def test_finds_what_is_resumed_or_new_within_a_look(self, build):
        enqueuer = build(declare(every=0.2))
        PeriodicJob.objects.update(paused_at=timezone.now())
        enqueuer.start()
        wait_until(lambda: enqueuer._now_then is not None)
        PeriodicJob.objects.update(paused_at=None)

        wait_until(Job.objects.exists, 5)

    def test_survives_a_database_that_is_away(self, build, monkeypatch):
        enqueuer = build(declare(every=0.1))
        move, fails = enqueuer.periodic.periodic_move_many, iter([OperationalError("away")] * 2)

        def unreliable(wanted, advances):
            for error in fails:
                raise error
            return move(wanted, advances)

        monkeypatch.setattr(enqueuer.periodic, "periodic_move_many", unreliable)
        enqueuer.start()

        wait_until(lambda: Job.objects.count() > 3)
