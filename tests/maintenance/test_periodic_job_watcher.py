"""How runs ended is seen, and alarms are raised for those that should have succeeded."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest
from django.utils import timezone

from django_river import storage
from django_river.maintenance import periodic_job_watcher as module
from django_river.maintenance.periodic_job_watcher import INTERVAL, PeriodicJobWatcher
from django_river.models import Job, PeriodicJob
from django_river.signals import periodic_overdue
from tests.factories import JobFactory
from tests.periodic import declare, put_into_force, registry_of
from tests.waiting import wait_until

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def heard():
    heard = []

    def receive(sender, signal, **given):
        heard.append(given)

    periodic_overdue.connect(receive)
    yield heard
    periodic_overdue.disconnect(receive)


@pytest.fixture
def watch(using, store):
    """Builds watchers of what is declared."""
    built = []

    def build(*declarations):
        periodic = storage.for_periodic(using, store.session)
        if declarations:
            put_into_force(periodic, registry_of(*declarations))
        built.append(PeriodicJobWatcher(periodic=periodic, lock=Lock()))
        return built[-1]

    yield build
    for watcher in built:
        assert watcher.stop(10)


def ran(name="work", **given):
    """Let an entry have had a run."""
    job = JobFactory(**given)
    PeriodicJob.objects.filter(name=name).update(last_job_id=job.pk, last_run_at=job.scheduled_at)
    return job


def finish(job, state="completed"):
    Job.objects.filter(pk=job.pk).update(state=state, finalized_at=timezone.now())


def entry(name="work"):
    return PeriodicJob.objects.get(name=name)


class TestOutcomes:
    @pytest.mark.parametrize("state", ["completed", "discarded", "cancelled"])
    def test_are_seen(self, watch, state):
        watcher = watch(declare())
        job = ran(running=True)
        watcher.run_once()
        assert entry().last_outcome == ""

        finish(job, state)
        watcher.run_once()
        finalized_at = Job.objects.get().finalized_at
        assert (entry().last_outcome, entry().last_finished_at) == (state, finalized_at)
        assert entry().last_success_at == (finalized_at if state == "completed" else None)

    def test_of_earlier_runs_are_seen_while_the_last_goes_on(self, watch):
        watcher = watch(declare())
        first = ran(running=True)
        watcher.run_once()
        ran(running=True)
        watcher.run_once()
        finish(first)
        watcher.run_once()

        assert entry().last_success_at is not None

    def test_are_not_waited_for_when_a_job_is_gone(self, watch):
        watcher = watch(declare())
        ran(running=True).delete()
        watcher.run_once()

        assert watcher._open == {"work": []}

    def test_of_no_more_jobs_than_a_limit_are_waited_for(self, watch, monkeypatch):
        monkeypatch.setattr(module, "MOST_WATCHED", 3)
        watcher = watch(declare())
        jobs = []
        for _ in range(5):
            jobs.append(ran(running=True))
            watcher.run_once()
        assert watcher._open == {"work": [job.pk for job in jobs[:3]]}

        finish(jobs[0])
        ran(running=True)
        watcher.run_once()
        watcher.run_once()
        assert len(watcher._open["work"]) == 3 - 1
        ran(running=True)
        watcher.run_once()
        assert len(watcher._open["work"]) == 3

    def test_are_seen_though_many_runs_wait_for_another_attempt(self, watch, monkeypatch):
        monkeypatch.setattr(module, "MOST_WATCHED", 3)
        watcher = watch(declare())
        for _ in range(4):
            Job.objects.filter(pk=ran(running=True).pk).update(state="retryable")
            watcher.run_once()
        last = ran(running=True)
        watcher.run_once()
        finish(last)
        watcher.run_once()

        assert entry().last_success_at is not None

    def test_are_found_by_a_leader_that_comes_later(self, watch):
        watch(declare()).run_once()
        finish(ran(running=True))
        watch().run_once()

        assert entry().last_outcome == "completed"

    def test_of_entries_that_are_gone_are_forgotten(self, watch):
        watcher = watch(declare())
        ran(running=True)
        watcher.run_once()
        PeriodicJob.objects.all().delete()
        watcher.run_once()

        assert (watcher._open, watcher._newest) == ({}, {})


class TestAlarms:
    def late(self):
        PeriodicJob.objects.update(expected_since=timezone.now() - HOUR)

    def test_are_raised_once_by_signal_and_log(self, watch, heard, caplog):
        watcher = watch(declare(expect_success_within=60))
        self.late()
        for _ in range(3):
            assert watcher.step() == INTERVAL

        assert heard == [
            {"name": "work", "kind": "shop.nothing", "last_success_at": None, "expect_success_within": 60.0}
        ]
        assert (
            caplog.text.count(
                "periodic job work has not succeeded for more than 60 s; its last success: none"
            )
            == 1
        )
        assert entry().overdue_since is not None

    def test_are_not_raised_again_by_another_leader(self, watch, heard):
        watch(declare(expect_success_within=60))
        self.late()
        for _ in range(2):
            watch().step()

        assert len(heard) == 1

    def test_end_with_a_success_and_may_come_again(self, watch, heard, caplog):
        caplog.set_level("INFO", "django_river")
        watcher = watch(declare(expect_success_within=60))
        self.late()
        watcher.step()
        finish(ran(running=True))
        watcher.step()
        assert entry().overdue_since is None
        assert "periodic job work is overdue no longer" in caplog.text

        PeriodicJob.objects.update(last_success_at=timezone.now() - HOUR)
        watcher.step()
        assert [each["last_success_at"] is None for each in heard] == [True, False]

    def test_are_not_raised_while_runs_succeed(self, watch, heard):
        watcher = watch(declare(expect_success_within=60))
        self.late()
        finish(ran(running=True))
        watcher.step()

        assert heard == []

    def test_are_raised_while_runs_fail(self, watch, heard):
        watcher = watch(declare(expect_success_within=60))
        self.late()
        finish(ran(running=True), "discarded")
        watcher.step()

        assert len(heard) == 1

    def test_do_not_depend_on_what_hears_them(self, watch, heard):
        def fail(**given):
            raise ValueError

        periodic_overdue.connect(fail)
        watcher = watch(declare(expect_success_within=60))
        self.late()
        watcher.step()
        periodic_overdue.disconnect(fail)

        assert len(heard) == 1


def test_goes_on_by_itself(watch, heard):
    watcher = watch(declare(expect_success_within=0.5))
    watcher.start()

    wait_until(lambda: heard, 10)
