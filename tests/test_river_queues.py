"""The command: words to calls, answers to lines or JSON, mistakes to one line and an exit code."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_river.known_queues import known_queues
from django_river.models import Job, Queue, QueueRow
from tests.factories import ClientFactory, JobFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forgetful():
    yield
    known_queues.__init__()


def said(*words):
    out = StringIO()
    call_command("river_queues", *words, stdout=out)
    return out.getvalue()


def answered(*words):
    return json.loads(said(*words, "--json"))


def test_lists_what_holds_and_where_it_comes_from():
    ClientFactory(id="here_1", applied={"default": {"slots": 10, "version": ""}})
    said("add", "tenant-1", "max_workers=3", "rate_limit=5/s", 'on={"gpu": "yes"}')

    assert said("list").splitlines() == [
        "default",
        "  max_workers = 10  (from QUEUES['default'])",
        "  worked by here_1 (10 slots)",
        "other",
        "  max_workers = 2  (from QUEUES['other'])",
        "tenant-1",
        "  max_workers = 3  (from row)",
        "  rate_limit = 5/s  (from row)",
        "  on = {'gpu': 'yes'}  (from row)",
        "  worked by nobody; awaited: here_1",
    ]
    (one,) = answered("list", "tenant-1")
    assert one["settings"]["rate_limit"] == {"value": [5, 1.0], "from": "row"}


def test_changes_settings_and_takes_them_back():
    said("add", "tenant-1", "max_workers=3", "weight=2")
    said("set", "tenant-1", "MAX_WORKERS=inherit", "priority_ageing=60")

    assert QueueRow.objects.get().settings == {"weight": 2, "priority_ageing": 60.0}


def test_pauses_and_resumes():
    assert said("pause", "default").strip() == "Paused: default."
    assert said("pause", "default").strip() == "Paused: none that was not paused before."
    assert answered("pause", "other", "--for", "60") == {"paused": ["other"]}
    assert "other: paused until 20" in said("list")
    assert sorted(answered("resume")["resumed"]) == ["default", "other"]
    assert not Queue.objects.exclude(paused_at=None).exists()


def test_moves_and_removes():
    JobFactory(available=True, queue="other")

    assert said("move", "other", "default").strip() == ("Removing other: 1 jobs moved. Its last job is gone.")
    assert Job.objects.get().queue == "default"
    said("add", "tenant-1")
    JobFactory(running=True, queue="tenant-1")
    assert answered("remove", "tenant-1", "--jobs", "delete") == {
        "name": "tenant-1",
        "jobs": 0,
        "is_done": False,
    }
    assert "tenant-1: being removed (delete)" in said("list")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["add", "default"], "queue 'default' is in DJANGO_RIVER"),
        (["add", "Bad"], "queue must be lower-case letters"),
        (["add", "a", "max_workers"], "Write settings as NAME=VALUE, not 'max_workers'."),
        (["add", "a", "max_workers=many"], "max_workers must be an int from 1 to 10000, got 'many'"),
        (["set", "nowhere", "weight=2"], "there is no queue 'nowhere'"),
        (["remove", "nowhere"], "there is no queue 'nowhere'"),
        (["list", "nowhere"], "there is no queue 'nowhere'"),
        (["remove", "other", "--jobs", "move"], "to must be given with jobs='move'"),
        (["list", "--database", "x"], "Unknown database 'x'; known: default."),
    ],
)
def test_says_what_is_wrong(words, text):
    with pytest.raises(CommandError) as caught:
        said(*words)

    assert str(caught.value).startswith(text)
