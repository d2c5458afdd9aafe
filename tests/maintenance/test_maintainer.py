"""The leader's services: with the term they come, with the term they go."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from django_river.maintenance.maintainer import Maintainer
from django_river.service import Service
from django_river.terms import Term
from tests.waiting import wait_until

TERM = Term("me", datetime(2026, 3, 1, 12, tzinfo=UTC))


class Working(Service):
    """Steps for as long as it is told."""

    def __init__(self, hold):
        super().__init__("working")
        self.hold = hold
        self.steps = 0

    def step(self):
        self.steps += 1
        self.hold()
        return 60.0


@pytest.fixture
def maintain():
    """Builds a maintainer whose services are kept in ``built``, and their terms in ``terms``; and stops it."""
    made = []

    def build(hold=lambda: None, count=2):
        def services(term):
            new = [Working(hold) for _ in range(count)]
            maintainer.built.extend(new)
            maintainer.terms.append(term)
            return new

        maintainer = Maintainer(services=services)
        maintainer.built, maintainer.terms = [], []
        made.append(maintainer)
        return maintainer

    yield build
    for maintainer in made:
        maintainer.stop()
        for service in maintainer.built:
            assert service.stop(5)


def test_starts_all_for_the_term(maintain):
    maintainer = maintain()
    maintainer.start(TERM)

    wait_until(lambda: all(service.steps for service in maintainer.built))
    assert maintainer.terms == [TERM]


def test_stops_all_and_may_be_stopped_twice_and_before(maintain):
    maintainer = maintain()
    maintainer.stop()
    maintainer.start(TERM)
    maintainer.stop()
    maintainer.stop()

    assert not any(service.is_running for service in maintainer.built)


def test_starts_anew_with_each_term(maintain):
    maintainer = maintain()
    for _ in range(2):
        maintainer.start(TERM)

    assert [service.is_running for service in maintainer.built] == [False, False, True, True]


def test_waits_for_none_longer_than_for_all(maintain):
    go_on = threading.Event()
    maintainer = maintain(lambda: go_on.wait(20), count=20)
    maintainer.start(TERM)
    wait_until(lambda: all(service.steps for service in maintainer.built))
    began = time.monotonic()
    maintainer.stop(timeout=0.5)
    took = time.monotonic() - began
    go_on.set()

    # One after the other they would be waited for ten seconds.
    assert 0.5 <= took < 5.0


def test_asks_all_before_it_waits_for_one(maintain):
    asked = threading.Barrier(5)

    def hold():
        # Passed only when all have been asked to end: with none that waits for another.
        wait_until(lambda: all(service.is_stopping for service in maintainer.built))
        asked.wait(10)

    maintainer = maintain(hold, count=5)
    maintainer.start(TERM)
    maintainer.stop()

    assert not any(service.is_running for service in maintainer.built)


def test_a_service_that_cannot_start_leaves_none_running(maintain, monkeypatch):
    def refuse():
        raise RuntimeError("can't start new thread")

    maintainer = maintain()
    services = maintainer.services

    def second_refuses(term):
        first, second = services(term)
        monkeypatch.setattr(second, "start", refuse)
        return [first, second]

    maintainer.services = second_refuses
    with pytest.raises(RuntimeError, match="can't start"):
        maintainer.start(TERM)

    assert not any(service.is_running for service in maintainer.built)
