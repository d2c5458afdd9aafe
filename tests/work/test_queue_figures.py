"""What a client sees of its queues, counted and written down."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError

from django_river import storage
from django_river.histogram import place
from django_river.jobs.context import JobContext
from django_river.models import QueueMinute
from django_river.work import queue_figures as module
from django_river.work.outcomes import SUCCESS
from django_river.work.queue_figures import QueueFigures
from tests.work.building import attempt_at, times

pytestmark = pytest.mark.django_db


@pytest.fixture
def figures():
    return QueueFigures("here_1")


@pytest.fixture
def store(db):
    return storage.for_caller("default")


def ran(queue):
    attempt = attempt_at(queue=queue)
    attempt.context = JobContext(id=attempt.job.id)
    return attempt


def test_counts_how_jobs_ended_and_how_long_they_took(figures, store):
    figures.ends.extend(
        [("a", False, 0.5, 2.0), ("a", True, 0.5, 3.0), ("b", True, 0.0, 0.0), ("a", False, 9.0, 2.0)]
    )

    assert figures.write(store) == 2
    a, b = QueueMinute.objects.order_by("queue")
    assert (a.completed, a.failed, b.completed, b.failed) == (2, 1, 0, 1)
    assert a.waits == {str(place(0.5)): 2, str(place(9.0)): 1}
    assert a.runs == {str(place(2.0)): 2, str(place(3.0)): 1}
    assert b.runs == {"0": 1}


def test_writes_later_what_could_not_be_written(figures, store, monkeypatch):
    minutes = [store.queue_minute() - timedelta(minutes=1), store.queue_minute()]
    monkeypatch.setattr(store, "queue_minute", lambda: minutes.pop(0))
    figures.ends.append(("a", False, 0.5, 2.0))
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(store, "queue_minute_put", times(1, OperationalError("away")))
        figures.write(store)

    figures.ends.append(("b", False, 0.5, 2.0))
    figures.write(store)
    assert list(QueueMinute.objects.order_by("queue").values_list("queue", "completed")) == [
        ("a", 1),
        ("b", 1),
    ]
    assert QueueMinute.objects.get(queue="a").minute < QueueMinute.objects.get(queue="b").minute


def test_counts_what_has_become_much_before_it_is_written(figures, store, monkeypatch):
    monkeypatch.setattr(module, "MANY_ENDS", 3)
    attempt = ran("a")

    for seconds in [0.5] * 5 + [9.0] * 3:
        figures.note(attempt, SUCCESS, attempt.context.began_at + seconds)
        assert len(figures.ends) < 3

    figures.write(store)
    (row,) = QueueMinute.objects.all()
    assert row.completed == 8
    assert row.runs == {str(place(0.5)): 5, str(place(9.0)): 3}


def test_counts_all_that_many_threads_end(figures, store, monkeypatch):
    monkeypatch.setattr(module, "MANY_ENDS", 3)
    attempt = ran("a")

    def work() -> None:
        for _ in range(500):
            figures.note(attempt, SUCCESS, attempt.context.began_at)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        figures.write(store)
    for thread in threads:
        thread.join()

    figures.write(store)
    assert sum(QueueMinute.objects.values_list("completed", flat=True)) == 2000
