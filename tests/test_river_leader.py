"""``manage.py river_leader``, and the report that it prints."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_river.conf import config
from django_river.leader_report import report
from tests.factories import ClientFactory, LeaderFactory, TermFactory

pytestmark = pytest.mark.django_db
AT = "2026-03-01T12:00:00Z"


def printed(*flags):
    out = StringIO()
    call_command("river_leader", *flags, stdout=out)
    return out.getvalue()


@pytest.fixture
def fleet():
    ClientFactory(id="web-1", host="web", pid=7, preference=10, labels={"zone": "a", "rack": "2"})
    ClientFactory(id="jobs-2", host="jobs", pid=8)
    ClientFactory(id="far-3", objection="its labels lack zone=a", can_lead=False)
    ClientFactory(id="gone-4", stale=True)
    ClientFactory(id="old-5", can_lead=False)
    LeaderFactory(leader_id="web-1", elected_at=AT, expires_at=timezone.now() + timedelta(seconds=13.4))
    TermFactory(client_id="jobs-0", elected_at="2026-03-01T10:00:00Z", ended_at=AT, why="lost")
    TermFactory(client_id="web-1", elected_at=AT)


def test_says_who_leads_who_stands_and_why_others_do_not(fleet):
    assert [line.rstrip() for line in printed().splitlines()] == [
        "Leader: web-1 (web, pid 7), since 2026-03-01 13:00:00+01:00, its lease holds 13 s more.",
        "",
        "Candidates",
        "  web-1   leads    preference 10  rack=2 zone=a",
        "  jobs-2  follows  preference 0",
        "Others",
        "  far-3   its labels lack zone=a",
        "  gone-4  it has not been heard of for 3600 s",
        "  old-5   it may not lead",
        "Last terms",
        "  2026-03-01 13:00:00+01:00  still lasts                web-1",
        "  2026-03-01 11:00:00+01:00  2026-03-01 13:00:00+01:00  jobs-0  lost",
    ]


def test_says_what_fails():
    ClientFactory(id="web-1", troubles={"keeper": "failed once: away", "job-cleaner": "failed 3 times: why"})
    ClientFactory(id="web-2")

    assert [line.split(None, 2) for line in printed().splitlines()[-3:]] == [
        ["Troubles"],
        ["web-1", "job-cleaner", "failed 3 times: why"],
        ["web-1", "keeper", "failed once: away"],
    ]
    clients = json.loads(printed("--json"))["clients"]
    assert {client["id"]: list(client["troubles"]) for client in clients} == {
        "web-1": ["keeper", "job-cleaner"],
        "web-2": [],
    }


def test_says_that_nobody_does():
    assert printed() == "Nobody leads.\n\nCandidates\n  none\n"


def test_says_that_a_lease_has_run_out():
    LeaderFactory(leader_id="go-1", elected_at=AT, expires_at=timezone.now() - timedelta(seconds=30.4))

    assert "Leader: go-1 (a client of another language), since 2026" in printed()
    assert "but its lease ran out 30 s ago." in printed()


def test_says_it_for_programs(fleet):
    found = json.loads(printed("--json"))

    assert (found["leader"]["id"], found["leader"]["pid"]) == ("web-1", 7)
    assert 10 < found["leader"]["seconds_left"] <= 13.4
    assert [client["id"] for client in found["clients"]] == ["web-1", "jobs-2", "far-3", "gone-4", "old-5"]
    assert found["clients"][0]["is_leader"]
    assert [(term["client_id"], term["why"]) for term in found["terms"]] == [
        ("web-1", ""),
        ("jobs-0", "lost"),
    ]


def test_shows_as_many_terms_as_asked_for(fleet):
    assert len(json.loads(printed("--json", "--terms", "1"))["terms"]) == 1
    assert "Last terms" not in printed("--terms", "0")
    with pytest.raises(CommandError, match="--terms must be a number from 0, not -1"):
        printed("--terms", "-1")


def test_asks_the_database_three_times(fleet, django_assert_num_queries):
    with django_assert_num_queries(3):
        report(config())


def test_says_that_settings_are_wrong(settings):
    settings.DJANGO_RIVER = {"QEUES": {}}

    with pytest.raises(CommandError, match="Did you mean 'QUEUES'"):
        printed()


def test_says_that_the_database_cannot_be_read(monkeypatch):
    from django.db import OperationalError

    def away(*args, **kwargs):
        raise OperationalError("no such table")

    monkeypatch.setattr("django_river.management.commands.river_leader.report", away)
    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.close", lambda self: None)
    with pytest.raises(CommandError, match="Database 'default' cannot be read: no such table"):
        printed()
