"""The leader's services: with the term they come, with the term they go."""

from __future__ import annotations

import threading

import pytest

from django_river.maintenance.maintainer import Maintainer
from django_river.service import Service
from tests.waiting import wait_until


class Session:
    closed = 0

    def close(self):
        self.closed += 1


class Working(Service):
    """Uses what the services share, for as long as it is told."""

    def __init__(self, lock, hold=lambda: None):
        super().__init__("working")
        self.lock = lock
        self.hold = hold
        self.steps = 0

    def step(self):
        with self.lock:
            self.steps += 1
            self.hold()
        return 60.0


@pytest.fixture
def maintain():
    """Builds a maintainer whose services are kept in ``built``, and closes it."""
    made = []

    def build(hold=lambda: None, count=2):
        def services():
            new = [Working(maintainer.lock, hold) for _ in range(count)]
            maintainer.built.extend(new)
            return new

        maintainer = Maintainer(storage=Session(), services=services)
        maintainer.built = []
        made.append(maintainer)
        return maintainer

    yield build
    for maintainer in made:
        maintainer.close()
        for service in maintainer.built:
            assert service.stop(5)


def test_starts_all(maintain):
    maintainer = maintain()
    maintainer.start()

    wait_until(lambda: all(service.steps for service in maintainer.built))


def test_stops_all_and_may_be_stopped_twice_and_before(maintain):
    maintainer = maintain()
    maintainer.stop()
    maintainer.start()
    maintainer.stop()
    maintainer.stop()

    assert not any(service.is_running for service in maintainer.built)


def test_starts_anew_with_each_term(maintain):
    maintainer = maintain()
    for _ in range(2):
        maintainer.start()

    assert [service.is_running for service in maintainer.built] == [False, False, True, True]


def test_closes_the_connection_at_the_end(maintain):
    maintainer = maintain()
    maintainer.start()
    maintainer.close()

    assert maintainer.storage.closed == 1
    assert not any(service.is_running for service in maintainer.built)


def test_a_service_of_the_last_term_shares_no_moment_with_one_of_this(maintain):
    inside, most, go_on = [], [], threading.Event()

    def hold():
        inside.append(1)
        most.append(len(inside))
        go_on.wait(10)
        inside.pop()

    maintainer = maintain(hold, count=1)
    maintainer.start()
    wait_until(lambda: inside)
    maintainer.stop(timeout=0)
    maintainer.start()
    go_on.set()
    wait_until(lambda: maintainer.built[1].steps)

    assert max(most) == 1


def test_a_service_that_cannot_start_leaves_none_running(maintain, monkeypatch):
    def refuse():
        raise RuntimeError("can't start new thread")

    maintainer = maintain()
    services = maintainer.services

    def second_refuses():
        first, second = services()
        monkeypatch.setattr(second, "start", refuse)
        return [first, second]

    maintainer.services = second_refuses
    with pytest.raises(RuntimeError):
        maintainer.start()
    maintainer.stop()

    assert not any(service.is_running for service in maintainer.built)
