"""While nobody leads, clients move what is due in their own queues."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from django_river import storage
from django_river.maintenance import stand_in as module
from django_river.maintenance.batch_size import BatchSize
from django_river.maintenance.stand_in import LOOK_SECONDS, MOVE_SECONDS, VACANT_SECONDS, StandIn
from django_river.models import Job, Leader
from tests.factories import JobFactory, LeaderFactory


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def told():
    return []


@pytest.fixture
def stand_in(store, using, clock, told):
    return StandIn(
        upkeep=storage.upkeep_on(store.session, using),
        queues=lambda: ["default", "mine"],
        on_available=lambda queues: told.extend(sorted(queues)),
    )


def due(queue="default"):
    return JobFactory(scheduled=True, queue=queue, scheduled_at=timezone.now() - timedelta(minutes=1))


def states():
    return sorted(Job.objects.values_list("state", flat=True))


def test_only_looks_while_somebody_leads(stand_in, clock):
    LeaderFactory()
    due()
    for _ in range(5):
        assert stand_in.attempt() == LOOK_SECONDS
        clock.now += LOOK_SECONDS

    assert states() == ["scheduled"]


def test_asks_nobody_while_it_is_known_that_somebody_leads(stand_in, clock):
    stand_in.upkeep, stand_in.is_led = None, lambda: True

    assert stand_in.attempt() == LOOK_SECONDS


def test_counts_from_when_that_was_known_last(stand_in, clock):
    stand_in.is_led = lambda: True
    clock.now += 5 * VACANT_SECONDS
    stand_in.attempt()
    stand_in.is_led = lambda: False
    due()
    stand_in.attempt()

    assert states() == ["scheduled"]


def test_waits_before_it_takes_the_office_for_vacant(stand_in, clock):
    due()
    assert stand_in.attempt() == LOOK_SECONDS
    clock.now += VACANT_SECONDS - 1

    assert stand_in.attempt() == 1.0
    assert states() == ["scheduled"]


def test_moves_what_is_due_in_its_own_queues_and_tells(stand_in, clock, told, caplog):
    for queue in ("default", "mine", "other"):
        due(queue)
    clock.now += VACANT_SECONDS

    assert [stand_in.attempt(), stand_in.attempt()] == [MOVE_SECONDS, MOVE_SECONDS]
    assert states() == ["available", "available", "scheduled"]
    assert told == ["default", "mine"]
    assert caplog.text.count("nobody has led for 10 s: due jobs of our own queues go on") == 1


def test_goes_on_at_once_after_a_full_batch(stand_in, clock):
    for _ in range(3):
        due()
    stand_in.batch = BatchSize(2, least=2, most=2)
    clock.now += VACANT_SECONDS

    assert [stand_in.attempt(), stand_in.attempt()] == [0.0, MOVE_SECONDS]
    assert states() == ["available"] * 3


def test_believes_a_lease_that_has_long_run_out(stand_in):
    LeaderFactory(expired=True)
    due()
    stand_in.attempt()

    assert states() == ["available"]


def test_stops_when_somebody_leads_again(stand_in, clock):
    clock.now += VACANT_SECONDS
    stand_in.attempt()
    assert stand_in.is_needed
    LeaderFactory()
    due()

    assert stand_in.attempt() == LOOK_SECONDS
    assert not stand_in.is_needed
    assert states() == ["scheduled"]


def test_counts_anew_from_the_last_term(stand_in, clock):
    LeaderFactory()
    clock.now += VACANT_SECONDS
    stand_in.attempt()
    Leader.objects.all().delete()
    clock.now += VACANT_SECONDS - 1
    due()

    assert stand_in.attempt() == 1.0
    assert states() == ["scheduled"]
