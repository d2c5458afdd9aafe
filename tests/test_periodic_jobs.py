"""Periodic jobs steered by hand: paused, resumed, run now; from code and by ``manage.py river_periodic``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, transaction
from django.utils import timezone

from django_river import UnknownPeriodicJob, periodic_jobs, storage
from django_river.models import Job, PeriodicJob
from tests.periodic import declare, put_into_force, registry_of

HOUR = timedelta(hours=1)
WINTER = datetime(2026, 3, 27, 12, tzinfo=UTC)


@pytest.fixture
def enforce(db, monkeypatch):
    """Puts declarations into force, which this process declares, too."""

    def enforce(*declarations):
        registry = registry_of(*declarations)
        put_into_force(storage.for_periodic("default"), registry)
        monkeypatch.setattr(periodic_jobs, "declared_registry", lambda config: registry)

    return enforce


def row(name="work"):
    return PeriodicJob.objects.get(name=name)


def printed(*arguments):
    out = StringIO()
    call_command("river_periodic", *arguments, stdout=out)
    return out.getvalue()


class TestPause:
    def test_pauses_until_it_is_resumed(self, enforce):
        enforce(declare())

        assert periodic_jobs.pause("work")
        assert row().is_paused
        assert not periodic_jobs.pause("work")
        assert periodic_jobs.resume("work")
        assert not row().is_paused
        assert not periodic_jobs.resume("work")

    def test_is_kept_when_another_registry_comes_into_force(self, enforce):
        enforce(declare())
        periodic_jobs.pause("work")
        enforce(declare(), declare("other"))

        assert row().is_paused

    def test_leaves_the_runs_of_the_meantime_out(self, enforce):
        enforce(declare())
        planned = timezone.now() - 3 * HOUR + timedelta(minutes=10)
        PeriodicJob.objects.update(next_run_at=planned, paused_at=planned)
        periodic_jobs.resume("work")

        assert row().next_run_at == planned + 3 * HOUR

    def test_leaves_a_run_that_is_to_come_where_it_is(self, enforce):
        enforce(declare())
        before = row().next_run_at
        periodic_jobs.pause("work")
        periodic_jobs.resume("work")

        assert row().next_run_at == before

    @pytest.mark.parametrize("verb", [periodic_jobs.pause, periodic_jobs.resume])
    def test_takes_known_names_only(self, enforce, verb):
        enforce(declare())

        with pytest.raises(UnknownPeriodicJob, match=r"^no periodic job is named 'wrok'$"):
            verb("wrok")


class TestRun:
    def test_enqueues_the_job_besides_the_schedule(self, enforce):
        enforce(declare(queue="other", priority=3, jitter=3600))
        planned = row().next_run_at
        job = periodic_jobs.run("work")

        stored = Job.objects.get()
        assert stored.pk == job.pk
        assert (stored.kind, stored.queue, stored.priority, stored.state) == (
            "shop.nothing",
            "other",
            3,
            "available",
        )
        assert stored.metadata["river:periodic_job_id"] == "work"
        assert stored.metadata["periodic"] is True
        assert (row().next_run_at, row().last_job_id) == (planned, job.pk)
        assert abs(row().last_run_at - timezone.now()) < timedelta(minutes=1)

    def test_runs_one_that_is_paused(self, enforce):
        enforce(declare())
        periodic_jobs.pause("work")
        periodic_jobs.run("work")

        assert Job.objects.count() == 1
        assert row().is_paused

    def test_belongs_to_the_callers_transaction(self, enforce):
        enforce(declare())
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            periodic_jobs.run("work")
            1 / 0  # noqa: B018

        assert not Job.objects.exists()
        assert row().last_job_id is None

    def test_takes_names_that_this_process_declares(self, enforce):
        enforce(declare())

        with pytest.raises(UnknownPeriodicJob, match=r"^this process declares no periodic job 'wrok'$"):
            periodic_jobs.run("wrok")


class TestUpcoming:
    def test_is_in_the_schedules_zone_across_a_change_of_the_clock(self, enforce):
        enforce(declare(cron="30 2 * * *", timezone="Europe/Paris"))
        PeriodicJob.objects.update(next_run_at=datetime(2026, 3, 28, 1, 30, tzinfo=UTC))
        runs = periodic_jobs.upcoming(row(), count=3)

        assert [run.isoformat() for run in runs] == [
            "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
        ]  # fmt: skip

    def test_of_an_interval_is_in_the_projects_zone(self, enforce, settings):
        enforce(declare(every=0.25))
        PeriodicJob.objects.update(next_run_at=WINTER)
        runs = periodic_jobs.upcoming(row(), count=3)

        assert runs == [WINTER, WINTER + timedelta(milliseconds=250), WINTER + timedelta(milliseconds=500)]
        assert runs[0].tzinfo == ZoneInfo(settings.TIME_ZONE)

    def test_is_nothing_for_one_that_never_runs(self, enforce):
        enforce(declare(enabled=False))

        assert periodic_jobs.upcoming(row()) == []


@pytest.fixture
def three(enforce):
    """One that has run, one that is paused and overdue, one that never runs."""
    enforce(
        declare("digest", every=0.25),
        declare("nightly", cron="0 3 * * *", timezone="Europe/Paris", expect_success_within=90_000),
        declare("unused", enabled=False),
    )
    rows = PeriodicJob.objects
    rows.filter(name="digest").update(next_run_at=WINTER + timedelta(milliseconds=250), error="DataError: no")
    rows.filter(name="nightly").update(
        next_run_at=datetime(2026, 3, 28, 2, tzinfo=UTC), last_outcome="discarded", last_finished_at=WINTER,
        paused_at=WINTER, overdue_since=WINTER,
    )  # fmt: skip


class TestCommand:
    def test_lists_how_they_fare(self, three):
        title, *lines = printed("list").splitlines()

        assert title == "Periodic jobs"
        assert [re.split(r"\s{2,}", line.strip()) for line in lines] == [
            [
                "digest", "every 250 ms", "next 2026-03-27 13:00:00.250+01:00", "no run is over",
                "CANNOT BE ENQUEUED: DataError: no",
            ],
            [
                "nightly", "every day at 03:00 (Europe/Paris)", "next 2026-03-28 03:00:00+01:00",
                "discarded 2026-03-27 13:00:00+01:00",
                "paused since 2026-03-27 13:00:00+01:00; OVERDUE since 2026-03-27 13:00:00+01:00",
            ],
            ["unused", "never", "never", "no run is over"],
        ]  # fmt: skip

    def test_lists_nothing(self, db):
        assert printed("list") == "Periodic jobs\n  none\n"

    def test_says_when_they_run_next(self, three):
        assert printed("next", "nightly", "unused", "-n", "2").splitlines() == [
            "nightly: every day at 03:00 (Europe/Paris), paused since 2026-03-27 13:00:00+01:00",
            "  2026-03-28 03:00:00+01:00",
            "  2026-03-29 03:00:00+02:00",
            "unused: never",
            "  never",
        ]

    def test_says_when_all_run_next(self, three):
        assert sum(line.startswith("  ") for line in printed("next").splitlines()) == 5 + 5 + 1

    def test_says_it_for_programs(self, three):
        found = {entry["name"]: entry for entry in json.loads(printed("list", "--json"))}
        assert found["nightly"]["schedule"] == "every day at 03:00 (Europe/Paris)"
        assert (found["nightly"]["last_outcome"], found["digest"]["error"]) == ("discarded", "DataError: no")

        runs = json.loads(printed("next", "digest", "--json", "-n", "1"))
        assert [datetime.fromisoformat(run) for run in runs["digest"]] == [
            WINTER + timedelta(milliseconds=250)
        ]

    def test_pauses_resumes_and_runs(self, enforce):
        enforce(declare("a"), declare("b"))

        assert printed("pause", "a", "b") == "Paused a.\nPaused b.\n"
        assert printed("pause", "a") == "a was paused already.\n"
        assert printed("resume", "a", "b") == "Resumed a.\nResumed b.\n"
        assert printed("resume", "a") == "a was not paused.\n"
        assert printed("run", "a") == f"Enqueued a as job {Job.objects.get().pk}.\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("next", "wrok"), r"^No periodic job is named 'wrok'. In force: work.$"),
            (("next", "-n", "0"), r"^-n must be a number from 1, not 0.$"),
            (("pause", "wrok"), r"^no periodic job is named 'wrok'$"),
            (("run", "wrok"), r"^this process declares no periodic job 'wrok'$"),
        ],
    )
    def test_refuses_what_cannot_be(self, enforce, arguments, message):
        enforce(declare())

        with pytest.raises(CommandError, match=message):
            printed(*arguments)

    def test_says_that_the_database_is_away(self, enforce, monkeypatch):
        def away(name, using=None):
            raise OperationalError("away")

        monkeypatch.setattr(periodic_jobs, "pause", away)

        with pytest.raises(CommandError, match="Database 'default' cannot be read: away"):
            printed("pause", "work")
