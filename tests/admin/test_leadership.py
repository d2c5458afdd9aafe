"""Leadership: who leads, since when, and for how long the lease still holds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.pages import text, url
from tests.factories import ClientFactory, LeaderFactory

pytestmark = pytest.mark.django_db


def test_shows_who_leads_since_when_and_where(root):
    ClientFactory(id="web-1", host="web", pid=77)
    LeaderFactory(
        leader_id="web-1",
        elected_at="2026-03-01T12:00:00Z",
        expires_at=timezone.now() + timedelta(hours=2, seconds=30),
    )

    assert "web-1 leads 2026-03-01 13:00:00 expires in 2 h web 77" in text(root.list("leader"))
    assert "Host: web" in text(root.row("leader", "default"))


def test_shows_that_a_term_is_over(root):
    LeaderFactory(leader_id="web-1", expires_at=timezone.now() - timedelta(hours=2, seconds=30))

    page = text(root.list("leader"))
    assert "web-1 expired" in page
    assert "expired 2 h ago — —" in page


def test_nobody_may_lead(root):
    assert "0 leader" in text(root.list("leader"))


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
