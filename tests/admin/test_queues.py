"""Queues: how full they are, and their brake."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_river import queues as verbs
from django_river.admin import history, queues
from django_river.models import Queue
from django_river.storage.overview import QueueDepth, TooSlow
from tests.admin.pages import actions, buttons, said, shown, text, url
from tests.factories import ClientFactory, JobFactory, QueueFactory

pytestmark = pytest.mark.django_db


def paused():
    return sorted(Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


class TestList:
    def test_shows_how_full_a_queue_is(self, root):
        QueueFactory(name="emails")
        JobFactory.create_batch(2, queue="emails", scheduled_at=timezone.now() - timedelta(minutes=5))
        JobFactory.create_batch(3, queue="emails", running=True)
        JobFactory.create_batch(4, queue="emails", scheduled=True)
        response = root.list("queue")

        assert re.search(r"emails active 2 5 min (\d+ s )?3 4", text(response))
        assert f"{url('job', 'changelist')}?queue=emails&amp;state=available" in response.content.decode()

    def test_shows_since_when_a_queue_is_paused(self, root):
        QueueFactory(name="emails", paused_at="2026-03-01T12:00:00Z")

        assert "paused since 2026-03-01 13:00:00" in text(root.list("queue"))

    def test_shows_until_when_a_queue_is_paused(self, root):
        verbs.pause("default", until=timezone.make_aware(datetime(2036, 3, 1, 12, 0)))

        assert "until 2036-03-01 12:00:00" in text(root.list("queue"))

    def test_shows_what_is_being_removed(self, root):
        QueueFactory(name="tenant-1")
        QueueFactory(name="tenant-2")
        for name in ("tenant-1", "tenant-2"):
            verbs.add(name)
        JobFactory(queue="tenant-1", available=True)
        for name in ("tenant-1", "tenant-2"):
            verbs.remove(name)
        page = text(root.list("queue"))

        assert "tenant-1 being removed (drain)" in page
        assert "tenant-2 removed" in page
        assert "removed" in text(root.row("queue", "tenant-2"))

    def test_says_where_it_stopped_counting(self, root, monkeypatch):
        depth = QueueDepth(
            "emails", queues.AVAILABLE_LIMIT, 1, 100_000, later_is_exact=False, waiting_seconds=1.0
        )
        queue = QueueFactory(name="emails")
        queue.depth = depth
        monkeypatch.setattr(queues, "with_depths", lambda rows: [queue])

        assert "active ≥10000 1 s 1 ≥100000" in text(root.list("queue"))

    def test_works_when_the_database_takes_too_long_to_count(self, root, monkeypatch):
        QueueFactory(name="emails")

        def too_slow(self, names):
            raise TooSlow("stopped")

        for driver in ("postgres.overview.PostgresOverview", "sqlite.overview.SqliteOverview"):
            monkeypatch.setattr(f"django_river.storage.{driver}.queue_depths", too_slow)

        assert "emails active ? — ? ?" in text(root.list("queue"))
        assert root.row("queue", "emails").status_code == 200

    def test_costs_the_same_for_ten_queues_and_for_fifty(self, root):
        QueueFactory.create_batch(10)
        root.list("queue")
        with CaptureQueriesContext(connection) as ten:
            root.list("queue")
        QueueFactory.create_batch(40)
        with CaptureQueriesContext(connection) as fifty:
            assert len(shown(root.list("queue"))) == 50

        assert len(ten) == len(fifty)

    def test_finds_a_queue(self, root):
        QueueFactory(name="emails")
        QueueFactory(name="imports")

        assert shown(root.list("queue", q="mail")) == ["emails"]


class TestPage:
    def test_shows_the_queue(self, root):
        QueueFactory(name="a_b", metadata={"owner": "shop"})
        JobFactory(queue="a_b")

        page = text(root.row("queue", "a_b"))

        assert "Available: 1" in page
        assert '{ "owner": "shop" }' in page
        assert "all jobs of this queue" in page

    def test_shows_what_holds_and_where_it_comes_from(self, root, settings):
        settings.DJANGO_RIVER = {
            "QUEUE_DEFAULTS": {"WEIGHT": 2},
            "QUEUES": {"default": {}, "tenant-*": {"TIMEOUT": 60}},
        }
        QueueFactory(name="tenant-1")
        verbs.add("tenant-1", rate_limit="5/m", on={"zone": "<b>"}, autoscale={"MAX": 3})
        ClientFactory(id="behind", applied={"tenant-1": {"slots": 4, "version": "before"}})
        response = root.row("queue", "tenant-1")
        page = text(response)

        assert "max_workers 10 default" in page
        assert "weight 2 QUEUE_DEFAULTS" in page
        assert "timeout 60.0 QUEUES['tenant-*']" in page
        assert "rate_limit 5/m row" in page
        assert 'on {"zone": "<b>"} row' in page
        assert '"MAX": 3' in page
        assert "behind" in page
        assert "<b>" not in response.content.decode()

    def test_a_queue_that_is_not_there_leads_home(self, root):
        assert "“none”" in said(root.row("queue", "none"))[0]


class TestPermissions:
    def test_who_may_view_cannot_pause(self, staff):
        QueueFactory(name="emails")
        viewer = staff("view_queue")

        assert actions(viewer.list("queue")) == []
        assert buttons(viewer.row("queue", "emails")) == []
        assert viewer.press("queue", "emails", "pause").status_code == 403
        assert paused() == []

    def test_who_may_pause_can(self, staff):
        QueueFactory(name="emails")
        user = staff("view_queue", "pause_queue")

        assert actions(user.list("queue")) == ["pause_queues", "resume_queues"]
        assert buttons(user.row("queue", "emails")) == ["Pause"]

    def test_nobody_adds_edits_or_deletes(self, root):
        QueueFactory(name="emails")

        assert root.browser.get(url("queue", "add")).status_code == 403
        assert root.browser.post(url("queue", "change", "emails"), {}).status_code == 403
        assert root.browser.post(url("queue", "delete", "emails"), {"post": "yes"}).status_code == 403


class TestPauseAndResume:
    def test_from_the_list(self, root):
        chosen = [QueueFactory(name="a"), QueueFactory(name="b"), QueueFactory(name="c", paused=True)]

        response = root.act("queue", "pause_queues", chosen)
        assert said(response) == ["Paused 2 queues.", "Skipped 1 queue: already paused."]
        assert paused() == ["a", "b", "c"]

        response = root.act("queue", "resume_queues", chosen[:1])
        assert said(response) == ["Resumed 1 queue."]
        response = root.act("queue", "resume_queues", chosen)
        assert said(response) == ["Resumed 2 queues.", "Skipped 1 queue: not paused."]
        assert paused() == []

    def test_from_the_page(self, root):
        QueueFactory(name="a_b")

        response = root.press("queue", "a_b", "pause")
        assert response.url == url("queue", "change", "a_b")
        assert paused() == ["a_b"]
        assert buttons(root.row("queue", "a_b")) == ["Resume"]
        assert said(root.press("queue", "a_b", "pause")) == ["Skipped 1 queue: already paused."]

        root.press("queue", "a_b", "resume")
        assert paused() == []
        assert said(root.press("queue", "a_b", "resume")) == ["Skipped 1 queue: not paused."]

    def test_buttons_take_nothing_but_a_post(self, root):
        QueueFactory(name="emails")

        for button in ("pause", "resume"):
            assert root.browser.get(url("queue", button, "emails")).status_code == 405

    def test_a_queue_that_is_gone_leads_home(self, root):
        assert root.press("queue", "none", "pause").url == "/admin/"

    def test_is_kept_in_the_log(self, root, monkeypatch):
        root.act("queue", "pause_queues", [QueueFactory(name="a"), QueueFactory(name="b", paused=True)])
        assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [
            ("a", "Paused.")
        ]

        monkeypatch.setattr(history, "ONE_BY_ONE", 1)
        root.act("queue", "resume_queues", Queue.objects.all())
        assert LogEntry.objects.filter(object_repr="2 queues", change_message="Resumed.").exists()

    def test_says_so_when_a_queue_has_a_name_that_is_none(self, root):
        chosen = [QueueFactory(name="Not One Of Ours"), QueueFactory(name="a")]

        response = root.act("queue", "pause_queues", chosen)

        refused, done = said(response)
        assert refused.startswith("queue must be lower-case letters and digits")
        assert done == "Paused 1 queue."
