"""What others see of a client, and what it notices itself when it says that it lives."""

from __future__ import annotations

import pytest

from django_river.conf import Config
from django_river.faults import Fault
from django_river.presence import LATE_SECONDS, Presence
from django_river.signals import client_returned


class QueueSet:
    slots, producers = 7, {"b": None, "a": None}


class Storage:
    """Notes who beats; ``why`` is the answer."""

    def __init__(self):
        self.beats, self.why = [], ""

    def client_beat(self, info):
        self.beats.append(info)
        return self.why


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def heard():
    return []


@pytest.fixture
def presence(heard):
    return Presence(
        client_id="me",
        config=Config(heartbeat_interval=5.0),
        registry_hash="hash",
        storage=Storage(),
        queue_set=QueueSet(),
        present=lambda info: info,
        troubles=lambda: {"fetcher": "failed once"},
        on_away=lambda: heard.append("away"),
        on_return=lambda: heard.append("back"),
        clock=Clock(),
    )


def test_says_who_we_are_and_how_we_are(presence):
    assert presence.beat() == 5.0

    (info,) = presence.storage.beats
    assert (info.id, info.registry_hash, info.slots, info.queues) == ("me", "hash", 7, ["a", "b"])
    assert info.troubles == {"fetcher": "failed once"}


def test_who_beats_in_time_is_not_away(presence, heard):
    for _ in range(10):
        presence.beat()
        presence.clock.now += 5.0 + LATE_SECONDS

    assert heard == []


def test_who_beats_too_late_was_away(presence, heard):
    presence.beat()
    presence.clock.now += 5.1 + LATE_SECONDS
    presence.beat()
    presence.clock.now += 5.0
    presence.beat()

    assert heard == ["away"]


def test_who_was_taken_for_lost_says_that_it_is_back(presence, heard, caplog):
    def returned(client_id, why, **_):
        heard.append((client_id, why))

    client_returned.connect(returned)
    presence.storage.why = "client_stale"
    presence.beat()
    client_returned.disconnect(returned)

    assert heard == [("me", Fault.CLIENT_STALE), "back"]
    assert "client me had been taken for lost (client_stale) and is back" in caplog.text
