"""Periodic jobs: how they fare, and what may be done about them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import LogEntry

from django_river import periodic_jobs, storage
from django_river.models import Job, PeriodicJob
from tests.admin.pages import actions, buttons, said, shown, text, url
from tests.factories import JobFactory
from tests.periodic import declare, put_into_force, registry_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(monkeypatch):
    """Two that are in force."""
    registry = registry_of(declare("a/b"), declare("nightly", cron="0 3 * * *", timezone="America/New_York"))
    put_into_force(storage.for_periodic("default"), registry)
    monkeypatch.setattr(periodic_jobs, "declared_registry", lambda config: registry)
    return PeriodicJob.objects.order_by("name")


def paused():
    return sorted(PeriodicJob.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


class TestList:
    def test_shows_how_they_fare(self, root, rows):
        job = JobFactory()
        rows.filter(name="nightly").update(
            next_run_at=NOON, last_run_at=NOON, last_job_id=job.pk, last_outcome="completed",
            overdue_since=NOON, paused_at=NOON,
        )  # fmt: skip
        rows.filter(name="a/b").update(next_run_at=NOON, error="DataError: no")
        response = root.list("periodicjob")

        page = text(response)
        assert "a/b active cannot be enqueued every 1 h 2026-03-01 13:00:00" in page
        assert "nightly paused overdue every day at 03:00 (America/New_York) 2026-03-01 13:00:00" in page
        assert url("job", "change", job.pk) in response.content.decode()

    def test_finds_one(self, root, rows):
        assert shown(root.list("periodicjob", q="night")) == ["nightly"]


class TestPage:
    def test_shows_the_next_runs_in_the_zone_of_the_schedule(self, root, rows):
        rows.update(next_run_at=datetime(2026, 3, 7, 8, tzinfo=UTC))

        page = text(root.row("periodicjob", "nightly"))
        assert "2026-03-07 03:00:00-05:00 2026-03-08 03:00:00-04:00" in page

    def test_shows_one_that_never_runs(self, root):
        put_into_force(storage.for_periodic("default"), registry_of(declare(enabled=False)))

        assert "never" in text(root.row("periodicjob", "work"))

    def test_one_that_is_not_there_leads_home(self, root):
        assert "“none”" in said(root.row("periodicjob", "none"))[0]


class TestPermissions:
    @pytest.mark.parametrize(
        ("permissions", "allowed", "labels"),
        [
            ([], [], []),
            (["pause_periodicjob"], ["pause_jobs", "resume_jobs"], ["Pause"]),
            (["run_periodicjob"], ["run_jobs"], ["Run now"]),
        ],
    )
    def test_say_what_is_offered(self, staff, rows, permissions, allowed, labels):
        user = staff("view_periodicjob", *permissions)

        assert actions(user.list("periodicjob")) == allowed
        assert buttons(user.row("periodicjob", "a/b")) == labels

    def test_are_asked_for(self, staff, rows):
        viewer = staff("view_periodicjob")

        for button in ("pause", "resume", "run"):
            assert viewer.press("periodicjob", "nightly", button).status_code == 403
        assert paused() == []
        assert not Job.objects.exists()

    def test_nobody_adds_edits_or_deletes(self, root, rows):
        assert root.browser.get(url("periodicjob", "add")).status_code == 403
        assert root.browser.post(url("periodicjob", "change", "nightly"), {}).status_code == 403
        assert root.browser.post(url("periodicjob", "delete", "nightly"), {"post": "yes"}).status_code == 403


class TestActions:
    def test_pause_and_resume_from_the_list(self, root, rows):
        assert said(root.act("periodicjob", "pause_jobs", rows[:1])) == ["Paused 1 periodic job."]
        assert said(root.act("periodicjob", "pause_jobs", rows)) == [
            "Skipped a/b: it was so already.",
            "Paused 1 periodic job.",
        ]
        assert paused() == ["a/b", "nightly"]
        assert said(root.act("periodicjob", "resume_jobs", rows)) == ["Resumed 2 periodic jobs."]
        assert paused() == []

    def test_run_from_the_list(self, root, rows):
        assert said(root.act("periodicjob", "run_jobs", rows)) == ["Enqueued 2 runs."]
        assert {job.metadata["river:periodic_job_id"] for job in Job.objects.all()} == {"a/b", "nightly"}

    def test_from_the_page(self, root, rows):
        response = root.press("periodicjob", "a/b", "pause")
        assert response.url == url("periodicjob", "change", "a/b")
        assert buttons(root.row("periodicjob", "a/b")) == ["Resume", "Run now"]

        root.press("periodicjob", "a/b", "resume")
        assert paused() == []
        root.press("periodicjob", "a/b", "run")
        assert Job.objects.count() == 1

    def test_are_kept_in_the_log(self, root, rows):
        root.press("periodicjob", "nightly", "run")

        assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [
            ("nightly", "Run by hand.")
        ]

    def test_say_so_when_this_site_does_not_declare_it(self, root, rows, monkeypatch):
        monkeypatch.setattr(periodic_jobs, "declared_registry", lambda config: registry_of())

        response = root.press("periodicjob", "nightly", "run")
        assert said(response) == ["this process declares no periodic job 'nightly'"]
        assert not LogEntry.objects.exists()

    def test_take_nothing_but_a_post(self, root, rows):
        for button in ("pause", "resume", "run"):
            assert root.browser.get(url("periodicjob", button, "nightly")).status_code == 405
