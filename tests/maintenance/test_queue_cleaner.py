"""Rows of queues go when nothing at all speaks for them."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_river.jobs.states import State
from django_river.maintenance.batch_size import BatchSize
from django_river.maintenance.queue_cleaner import INTERVAL, QueueCleaner
from django_river.models import Queue
from tests.factories import JobFactory, QueueFactory


@pytest.fixture
def cleaner(upkeep):
    cleaner = QueueCleaner(upkeep=upkeep, lock=Lock(), keep=["default"])
    yield cleaner
    assert cleaner.stop(10)


def old(name, **given):
    return QueueFactory(name=name, updated_at=timezone.now() - timedelta(days=2), **given)


def names():
    return sorted(Queue.objects.values_list("name", flat=True))


def run(cleaner):
    """Run until it has nothing to do for long; how many runs it took."""
    runs = 1
    while cleaner.run_once() < INTERVAL:
        runs += 1
    return runs


def test_deletes_what_nobody_uses(cleaner, caplog):
    caplog.set_level("INFO")
    old("a")
    QueueFactory(name="worked")
    run(cleaner)

    assert names() == ["worked"]
    assert "queue a has had neither workers nor jobs for a day: its row is deleted" in caplog.text


@pytest.mark.parametrize("state", sorted(State))
def test_spares_a_queue_with_a_job_in_any_state(cleaner, state):
    old("a")
    JobFactory(queue="a", state=state)
    run(cleaner)

    assert names() == ["a"]


@pytest.mark.parametrize("given", [{"paused": True}, {"metadata": {"limit": 1}}])
def test_spares_a_queue_with_a_pause_or_settings(cleaner, given):
    old("a", **given)
    run(cleaner)

    assert names() == ["a"]


def test_spares_queues_of_the_settings(cleaner):
    old("default")
    run(cleaner)

    assert names() == ["default"]


def test_looks_at_no_job_without_a_candidate(cleaner, monkeypatch):
    monkeypatch.setattr(cleaner.upkeep, "queue_search", None)

    assert cleaner.run_once() == INTERVAL


def test_looks_at_all_jobs_page_by_page_before_it_deletes(cleaner):
    old("a")
    old("b")
    for queue in ("x", "x", "x", "b"):
        JobFactory(queue=queue)
    cleaner.batch = BatchSize(2, least=2, most=2)

    # Candidates, two pages of jobs, the end.
    assert run(cleaner) == 4
    assert names() == ["b"]


def test_stops_looking_when_all_candidates_have_jobs(cleaner):
    old("a")
    for _ in range(9):
        JobFactory(queue="a", completed=True)
    cleaner.batch = BatchSize(2, least=2, most=2)

    assert run(cleaner) == 2
    assert run(cleaner) == 2


def test_gives_up_for_an_hour_if_the_search_is_too_much(cleaner, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise OperationalError("canceling statement due to statement timeout")

    old("a")
    monkeypatch.setattr(cleaner.upkeep, "queue_search", fail)

    assert [cleaner.run_once(), cleaner.run_once()] == [0.0, INTERVAL]
    assert names() == ["a"]
    assert "whether idle queues have jobs could not be found out: canceling statement" in caplog.text


def test_deletes_nothing_after_the_term(cleaner, begin):
    old("a")
    begin("another")
    run(cleaner)

    assert names() == ["a"]
