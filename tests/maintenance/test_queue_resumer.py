"""Pauses are ended by the clock, in the name of the term."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest

from django_river import queues, storage
from django_river.maintenance.queue_resumer import INTERVAL, QueueResumer
from django_river.models import Queue, QueueResume


@pytest.fixture
def resumed():
    return []


@pytest.fixture
def resumer(upkeep, using, resumed):
    store = storage.storage_on(upkeep.session, using)
    resumer = QueueResumer(
        upkeep=upkeep, lock=Lock(), storage=store, on_resume=lambda: resumed.append(paused())
    )
    yield resumer
    assert resumer.stop(10)


def paused():
    return sorted(Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


def pause(**spans):
    for name, seconds in spans.items():
        queues.pause(name, until=timedelta(seconds=seconds))


def test_resumes_what_is_due_and_says_so_afterwards(resumer, resumed, caplog):
    caplog.set_level("INFO")
    pause(a=-1, b=3600)

    assert resumer.run_once() == 0
    assert resumer.run_once() == INTERVAL
    assert (paused(), resumed) == (["b"], [["b"]])
    assert "resumed by the clock: a" in caplog.text


def test_writes_nothing_when_nothing_is_due(resumer, resumed, monkeypatch):
    pause(b=3600)
    monkeypatch.setattr(resumer.upkeep, "in_term", None)

    assert resumer.run_once() == INTERVAL
    assert resumed == []


def test_resumes_nothing_after_the_term(resumer, resumed, begin):
    pause(a=-1)
    begin("another")
    resumer.run_once()

    assert (paused(), resumed) == (["a"], [])
    assert QueueResume.objects.exists()


def test_a_new_pause_wins_over_the_end_of_the_old(resumer):
    pause(a=-1)
    pause(a=3600)
    resumer.run_once()

    assert paused() == ["a"]
