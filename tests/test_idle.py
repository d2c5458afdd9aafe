"""What clients ask the database that have nothing to do. Counted in looks, of which there is one a second."""

from __future__ import annotations

from collections import Counter

import pytest

from django_river.client import Client
from django_river.conf import config
from django_river.models import LeaderTerm
from django_river.storage.postgres.session import PostgresSession
from django_river.storage.statements import load
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres

LOOKS = 5


@pytest.fixture
def run(using):
    """Starts clients, and stops them."""
    started = []

    def run(name):
        client = Client(config(), client_id=name)
        started.append(client)
        client.start()
        wait_until(lambda: client.notifier.is_listening)
        return client

    yield run
    for client in reversed(started):
        client.stop(timeout=0)


@pytest.fixture
def asked(monkeypatch):
    """Statements of all clients, by name."""
    asked, execute = Counter(), PostgresSession.execute
    names = {sql: name for name, sql in load("django_river.storage.postgres").items()}

    def count(self, sql, params):
        asked[names.get(sql, sql)] += 1
        return execute(self, sql, params)

    monkeypatch.setattr(PostgresSession, "execute", count)
    return asked


def test_a_leader_and_a_follower_ask_one_thing_a_second_and_little_besides(run, asked):
    leader = run("leader")
    wait_until(lambda: leader.elector.is_leader)
    run("follower")
    # Both have settled: what is due at the start is done.
    wait_until(lambda: asked["leader_watch"] >= 3 and asked["client_watch"] >= 3)
    asked.clear()
    wait_until(lambda: asked["client_watch"] >= LOOKS and asked["leader_watch"] >= LOOKS - 1)
    seen = Counter(asked)

    # Two a second for each of them; alone, their parts would ask eight.
    assert seen.total() <= 4 * (seen["client_watch"] + 1), seen
    assert LeaderTerm.objects.count() == 1
