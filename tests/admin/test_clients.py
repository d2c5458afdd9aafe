"""Clients: who is running, where, and how busy."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_river.storage.overview import Overview, TooSlow
from tests.admin.pages import said, shown, text, url
from tests.factories import ClientFactory, JobFactory

pytestmark = pytest.mark.django_db


def test_shows_what_a_client_is_and_does(root):
    client = ClientFactory(id="web-1", host="web", pid=77, slots=12, version="9.9", queues=["a", "b"])
    JobFactory.create_batch(3, running=True, client_id=client.pk)
    JobFactory(completed=True, client_id=client.pk)

    page = text(root.list("client"))
    assert "web-1 alive 3/12 a, b" in page
    assert "web 77 9.9" in page
    page = text(root.row("client", "web-1"))
    assert "Runs: 3/12" in page
    assert "Host: web" in page


def test_a_client_with_an_old_heartbeat_is_stale(root, settings):
    settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"CLIENT_TIMEOUT": 100}
    ClientFactory(id="fresh", heartbeat_at=timezone.now() - timedelta(seconds=90))
    ClientFactory(id="old", heartbeat_at=timezone.now() - timedelta(seconds=110))

    page = text(root.list("client"))
    assert "fresh alive" in page
    assert re.search(r"1 min 3\d s ago", page)
    assert "old stale" in page


def test_shows_what_fails_in_a_client(root):
    ClientFactory(id="web-1", troubles={"keeper": "failed once: away", "job-cleaner": "failed 3 times: <b>"})

    assert "web-1 in trouble" in text(root.list("client"))
    assert "Troubles: job-cleaner: failed 3 times: <b> keeper: failed once: away" in text(
        root.row("client", "web-1")
    )


def test_names_some_queues_in_the_list_and_all_on_the_page(root):
    client = ClientFactory(queues=[f"q{number}" for number in range(1, 9)])

    assert "q1, q2, q3, q4, q5 and 3 more" in text(root.list("client"))
    assert "q1, q2, q3, q4, q5, q6, q7, q8" in text(root.row("client", client.pk))


def test_a_client_of_no_queues_has_none(root):
    ClientFactory(queues=[])

    assert " 0/10 — " in text(root.list("client"))


def test_costs_the_same_for_ten_clients_and_for_a_hundred(root):
    ClientFactory.create_batch(10)
    root.list("client")
    with CaptureQueriesContext(connection) as ten:
        root.list("client")
    ClientFactory.create_batch(90)
    with CaptureQueriesContext(connection) as hundred:
        assert len(shown(root.list("client"))) == 100

    assert len(ten) == len(hundred)


def test_works_when_the_database_takes_too_long_to_count(root, monkeypatch):
    def too_slow(self):
        raise TooSlow("stopped")

    monkeypatch.setattr(Overview, "client_loads", too_slow)
    ClientFactory(id="web-1")

    assert "web-1 alive ?/10" in text(root.list("client"))


def test_nobody_changes_a_client(root, staff):
    client = ClientFactory()

    assert staff().list("client").status_code == 403
    assert staff("view_client").list("client").status_code == 200
    assert root.list("client").context["action_form"] is None
    assert root.browser.post(url("client", "change", client.pk), {}).status_code == 403
    assert root.browser.post(url("client", "delete", client.pk), {"post": "yes"}).status_code == 403


def test_a_client_that_has_stopped_leads_home(root):
    assert "“gone”" in said(root.row("client", "gone"))[0]


def test_shows_what_a_client_is_in_the_election(root):
    ClientFactory(id="web-1", preference=3, labels={"zone": "a", "rack": "2"})
    ClientFactory(id="web-2", can_lead=False, objection="its labels lack zone=a")
    ClientFactory(id="web-3", can_lead=False)

    page = text(root.row("client", "web-1"))
    assert "Election: candidate, preference 3" in page
    assert "Labels: rack=2, zone=a" in page
    assert "Election: its labels lack zone=a" in text(root.row("client", "web-2"))
    assert "Election: no candidate" in text(root.row("client", "web-3"))
