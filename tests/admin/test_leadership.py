"""Leadership: who leads, since when, and for how long the lease still holds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from django_river.models import Leader, LeaderTerm
from tests.admin.pages import actions, buttons, said, shown, text, url
from tests.factories import ClientFactory, LeaderFactory, TermFactory

pytestmark = pytest.mark.django_db


def test_shows_who_leads_since_when_and_where(root):
    ClientFactory(id="web-1", host="web", pid=77)
    LeaderFactory(
        leader_id="web-1",
        elected_at="2026-03-01T12:00:00Z",
        expires_at=timezone.now() + timedelta(hours=2, seconds=30),
    )

    assert "web-1 leads 2026-03-01 13:00:00 expires in 2 h web 77 —" in text(root.list("leader"))
    assert "Host: web" in text(root.row("leader", "default"))


def test_shows_which_of_its_services_fail(root):
    ClientFactory(id="web-1", troubles={"job-cleaner": "failed 3 times in a row: permission denied"})
    LeaderFactory(leader_id="web-1")

    trouble = "job-cleaner: failed 3 times in a row: permission denied"
    assert trouble in text(root.list("leader"))
    assert trouble in text(root.row("leader", "default"))


def test_shows_that_a_term_is_over(root):
    LeaderFactory(leader_id="web-1", expires_at=timezone.now() - timedelta(hours=2, seconds=30))

    page = text(root.list("leader"))
    assert "web-1 expired" in page
    assert "expired 2 h ago — —" in page


def test_nobody_may_lead(root):
    assert "0 leader" in text(root.list("leader"))


class TestResign:
    def test_is_asked_for_by_a_button(self, root):
        LeaderFactory(leader_id="web-1")
        term = TermFactory(client_id="web-1", elected_at=Leader.objects.get().elected_at)
        assert buttons(root.row("leader", "default")) == ["Ask to resign"]

        response = root.press("leader", "default", "resign")
        term.refresh_from_db()
        assert said(response) == ["Asked web-1 to resign. Another client leads in a moment, if one may."]
        assert response.url == url("leader", "changelist")
        assert term.resign_requested_at is not None
        assert LogEntry.objects.get().change_message == "Asked to resign."

    def test_is_asked_for_by_an_action(self, root):
        leader = LeaderFactory(leader_id="web-1")

        assert said(root.act("leader", "ask_to_resign", [leader])) == [
            "Asked web-1 to resign. Another client leads in a moment, if one may."
        ]

    def test_of_nobody_is_said(self, root):
        leader = LeaderFactory(expired=True)

        assert said(root.act("leader", "ask_to_resign", [leader])) == ["Nobody leads, so nobody was asked."]
        assert not LogEntry.objects.exists()

    def test_needs_a_permission(self, staff):
        leader = LeaderFactory()
        viewer = staff("view_leader")
        assert buttons(viewer.row("leader", "default")) == []
        assert actions(viewer.list("leader")) == []
        assert viewer.press("leader", "default", "resign").status_code == 403

        allowed = staff("view_leader", "resign_leader")
        assert actions(allowed.list("leader")) == ["ask_to_resign"]
        assert said(allowed.act("leader", "ask_to_resign", [leader]))

    def test_is_not_asked_for_by_looking(self, root):
        LeaderFactory()

        assert root.browser.get(url("leader", "resign", "default")).status_code == 405


class TestTerms:
    def test_shows_who_led_and_why_it_ended(self, root):
        began = timezone.now() - timedelta(hours=3)
        TermFactory(client_id="web-1", host="web", pid=7, elected_at=began, ended_at=began + timedelta(hours=1),
                    why="lost", labels={"zone": "a"})  # fmt: skip
        last = TermFactory(client_id="web-2", elected_at=timezone.now() - timedelta(minutes=2, seconds=1))
        page = text(root.list("leaderterm"))

        assert shown(root.list("leaderterm"))[0] == last.pk
        assert "web-1 lost" in page
        assert "1 h web 7" in page
        assert "web-2 leads" in page
        assert '"zone": "a"' in text(root.row("leaderterm", LeaderTerm.objects.get(client_id="web-1").pk))

    def test_are_nobodys_to_change(self, root, staff):
        term = TermFactory()

        assert staff().list("leaderterm").status_code == 403
        assert staff("view_leaderterm").list("leaderterm").status_code == 200
        assert root.browser.post(url("leaderterm", "delete", term.pk), {"post": "yes"}).status_code == 403


def test_nobody_changes_the_leader(root, staff):
    LeaderFactory()

    assert staff().list("leader").status_code == 403
    assert staff("view_leader").list("leader").status_code == 200
    assert root.browser.post(url("leader", "delete", "default"), {"post": "yes"}).status_code == 403


def test_asks_the_database_a_fixed_number_of_times(root, django_assert_max_num_queries):
    LeaderFactory()
    root.list("leader")
    with django_assert_max_num_queries(10):
        root.list("leader")
