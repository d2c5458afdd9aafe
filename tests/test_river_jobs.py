"""``manage.py river_jobs``: what runs, how far it is, what is expected of it; what went wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_river.models import FaultCount, RunTime
from tests.factories import CLIENT_ID, JobFactory

pytestmark = pytest.mark.django_db


def printed(*arguments):
    out = StringIO()
    call_command("river_jobs", *arguments, stdout=out)
    return out.getvalue()


def running(seconds=3700, **given):
    began = timezone.now() - timedelta(seconds=seconds)
    return JobFactory(running=True, attempted_at=began, created_at=began, **given)


def said(**given):
    at = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    return {"django_river:heartbeat": {"attempt": 1, "at": at, "progress": 0.4, "note": "page 4"} | given}


class TestRunning:
    def test_shows_age_beat_progress_owner_and_what_is_expected(self):
        RunTime.objects.bulk_create(
            RunTime(kind="tests.work", at=timezone.now(), seconds=n) for n in range(1, 101)
        )
        job = running(metadata=said())
        _, line = printed("running").splitlines()

        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        assert cells[:3] == [str(job.pk), "tests.work", "1"]
        assert cells[3].startswith("1:01:")
        assert cells[4].endswith(" s")
        assert cells[5:] == ["40%", "50.0 s, at most 0:01:39", CLIENT_ID, "page 4"]

    def test_shows_what_says_nothing_of_itself(self):
        running(attempted_by=None)

        assert printed("running").splitlines()[1].split()[-4:] == ["-", "-", "-", "-"]

    def test_shows_those_in_trouble_only_if_asked_to(self):
        running()
        stuck = running(metadata=said(stuck=True))
        suspicious = running(metadata={"django_river:suspicious": {"attempt": 1}})
        running(metadata={"django_river:suspicious": {"attempt": 7}})

        found = json.loads(printed("running", "--stuck", "--json"))
        assert [(job["id"], job["trouble"]) for job in found] == [
            (stuck.pk, "stuck"),
            (suspicious.pk, "suspicious"),
        ]
        assert len(json.loads(printed("running", "--json"))) == 4

    def test_says_that_nothing_runs(self):
        assert printed("running") == "Nothing runs.\n"


class TestFaults:
    def test_are_summed_up_by_kind_and_told_apart(self):
        for days, count in ((0, 2), (1, 3), (30, 100)):
            day = datetime.now(UTC).date() - timedelta(days=days)
            FaultCount.objects.create(kind="shop.send", what="stuck", day=day, count=count)
        FaultCount.objects.create(kind="shop.send", what="client_lost", day=datetime.now(UTC).date(), count=1)

        assert json.loads(printed("faults", "--json")) == [
            {"kind": "shop.send", "what": "stuck", "is_ours": False, "count": 5},
            {"kind": "shop.send", "what": "client_lost", "is_ours": True, "count": 1},
        ]
        assert printed("faults").splitlines()[1].split() == ["1", "client_lost", "machinery", "shop.send"]

    def test_says_that_there_are_none(self):
        assert printed("faults") == "No faults.\n"
        assert json.loads(printed("faults", "--json")) == []

    def test_of_no_days_are_refused(self):
        with pytest.raises(CommandError, match=r"^--days must be a number from 1, not 0\.$"):
            printed("faults", "--days=0")


def test_settings_that_are_wrong_are_named(settings):
    settings.DJANGO_RIVER = {"QUEUS": {}}

    with pytest.raises(CommandError, match="unknown key 'QUEUS'"):
        printed("running")
