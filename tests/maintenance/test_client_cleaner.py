"""Rows of clients go when nothing has been heard of them for long."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest
from django.utils import timezone

from django_river.maintenance.batch_size import BatchSize
from django_river.maintenance.client_cleaner import INTERVAL, ClientCleaner
from django_river.models import Client
from tests.factories import ClientFactory


@pytest.fixture
def build(upkeep):
    built = []

    def build(client_timeout=60.0):
        built.append(ClientCleaner(upkeep=upkeep, lock=Lock(), client_timeout=client_timeout))
        return built[-1]

    yield build
    for cleaner in built:
        assert cleaner.stop(10)


def client(hours):
    return ClientFactory(heartbeat_at=timezone.now() - timedelta(hours=hours))


def ids():
    return [client.pk for client in Client.objects.order_by("heartbeat_at")]


def test_deletes_those_that_are_long_gone(build, caplog):
    caplog.set_level("INFO")
    gone, stale, alive = client(25), client(23), client(0)

    assert build().run_once() == INTERVAL
    assert ids() == [stale.pk, alive.pk]
    assert f"client {gone.pk} has not been heard of for a day: its row is deleted" in caplog.text


def test_waits_longer_where_clients_may_be_silent_for_longer(build):
    silent = client(25)
    build(client_timeout=20 * 3600.0).run_once()

    assert ids() == [silent.pk]


def test_goes_on_at_once_after_a_full_batch(build):
    for _ in range(3):
        client(48)
    cleaner = build()
    cleaner.batch = BatchSize(2, least=2, most=2)

    assert [cleaner.run_once(), cleaner.run_once()] == [0.0, INTERVAL]
    assert ids() == []
