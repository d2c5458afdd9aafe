"""Hearing: what is told on, what is not understood, and coming back after the connection broke."""

from __future__ import annotations

import json
import threading
from collections import deque

import pytest
from django.db import OperationalError, connection

from django_river import notifier as module
from django_river import storage
from django_river.notifier import TOPICS, Ears, Notifier
from django_river.service import Backoff
from django_river.storage.base import TOPIC_CONTROL, TOPIC_INSERT, TOPIC_LEADERSHIP, TOPIC_REGISTRY
from tests.waiting import wait_until


class Heard(list):
    """What the ears were told."""

    @property
    def ears(self):
        return Ears(
            on_insert=lambda queue: self.append(("insert", queue)),
            on_cancel=lambda job_id: self.append(("cancel", job_id)),
            on_pause=lambda queue, is_paused: self.append(("pause", queue, is_paused)),
            on_leadership=lambda action, leader: self.append(("leadership", action, leader)),
            on_connect=lambda: self.append(("connect",)),
            on_disconnect=lambda: self.append(("disconnect",)),
            on_registry=lambda: self.append(("registry",)),
        )


class Script:
    """A listener that hears what the test says, and breaks when it is told to."""

    def __init__(self):
        self.says = deque()
        self.can_hear = True
        self.connects = 0
        self.closes = 0
        self._came = threading.Event()

    def say(self, *said):
        self.says.append(said)
        self._came.set()

    def connect(self, topics):
        assert topics == TOPICS
        self.connects += 1
        return self.can_hear

    def wait(self, timeout):
        self._came.wait(timeout)
        self._came.clear()
        heard = []
        while self.says:
            said = self.says.popleft()
            if isinstance(said[0], Exception):
                raise said[0]
            heard.append(said)
        return heard

    def interrupt(self):
        self._came.set()

    def close(self):
        self.closes += 1


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def listen(heard):
    """Builds notifiers on listeners, and stops them."""
    built = []

    def build(listener, *, is_started=True):
        notifier = Notifier(listener=listener, ears=heard.ears)
        notifier._backoff = Backoff(first=0.01, longest=0.01)
        built.append(notifier)
        if is_started:
            notifier.start()
        return notifier

    yield build
    for notifier in built:
        assert notifier.stop(5)


class TestTelling:
    @pytest.mark.parametrize(
        ("topic", "message", "told"),
        [
            (TOPIC_INSERT, {"queue": "emails"}, ("insert", "emails")),
            (TOPIC_CONTROL, {"action": "cancel", "job_id": 7, "queue": "q"}, ("cancel", 7)),
            (TOPIC_CONTROL, {"action": "pause", "queue": "q"}, ("pause", "q", True)),
            (TOPIC_CONTROL, {"action": "resume", "queue": "*"}, ("pause", "*", False)),
            (TOPIC_LEADERSHIP, {"action": "resigned", "leader_id": "x"}, ("leadership", "resigned", "x")),
            (TOPIC_LEADERSHIP, {"action": "resigned"}, ("leadership", "resigned", "")),
            (TOPIC_REGISTRY, {"hash": "9f86"}, ("registry",)),
        ],
    )
    def test_what_each_message_says(self, listen, heard, topic, message, told):
        script = Script()
        listen(script)
        script.say(topic, json.dumps(message))

        wait_until(lambda: heard == [("connect",), told])

    def test_messages_of_later_rivers_are_passed_over(self, listen, heard, caplog):
        script = Script()
        listen(script)
        script.say(TOPIC_CONTROL, '{"action": "metadata_changed", "queue": "q"}')
        script.say(TOPIC_INSERT, '{"queue": "q"}')
        wait_until(lambda: heard[-1] == ("insert", "q"))

        assert len(heard) == 2
        assert not caplog.records

    @pytest.mark.parametrize(
        "payload",
        [
            "", "{", "[]", "null", '"text"', "7", "{}", '{"job_id": "x"}', '{"action": "cancel"}', "\x00", "[" * 7000,
            '{"action": "cancel", "job_id": 1e999}', '{"action": "cancel", "job_id": null}', "9" * 5000,
            '{"action": "cancel", "job_id": "7"}', '{"action": "cancel", "job_id": true}',
            '{"action": "cancel", "job_id": 7.5}', '{"action": ["pause"]}', '{"action": "pause"}',
            '{"action": "pause", "queue": 7}', '{"action": "resume", "queue": ["q"]}',
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("topic", [TOPIC_INSERT, TOPIC_CONTROL])
    def test_what_is_not_understood_does_not_keep_from_hearing(self, listen, heard, topic, payload, caplog):
        script = Script()
        listen(script)
        script.say(topic, payload)
        script.say(TOPIC_INSERT, '{"queue": "q"}')
        wait_until(lambda: heard[-1] == ("insert", "q"))

        assert heard == [("connect",), ("insert", "q")]
        assert script.connects == 1
        if not (topic == TOPIC_CONTROL and payload in {"{}", '{"job_id": "x"}'}):
            assert f"a notification on {topic} is not understood" in caplog.text

    @pytest.mark.parametrize("queue", ["null", "7", "true", '["q"]', '{"q": 1}'])
    def test_a_queue_that_is_no_name_is_not_understood(self, listen, heard, queue, caplog):
        script = Script()
        listen(script)
        script.say(TOPIC_INSERT, f'{{"queue": {queue}}}')
        script.say(TOPIC_INSERT, '{"queue": "q"}')
        wait_until(lambda: heard[-1] == ("insert", "q"))

        assert heard == [("connect",), ("insert", "q")]
        assert "a notification on river_insert is not understood" in caplog.text

    def test_an_ear_that_fails_does_not_keep_the_others_from_hearing(self, listen, heard):
        script = Script()
        notifier = listen(script)
        object.__setattr__(notifier.ears, "on_cancel", lambda job_id: 1 / 0)
        script.say(TOPIC_CONTROL, '{"action": "cancel", "job_id": 7}')
        script.say(TOPIC_INSERT, '{"queue": "q"}')

        wait_until(lambda: heard[-1] == ("insert", "q"))


class TestConnection:
    def test_that_breaks_is_opened_again_and_said_to_be(self, listen, heard):
        script = Script()
        notifier = listen(script)
        wait_until(lambda: notifier.is_listening)
        script.say(OperationalError("broken"))
        wait_until(lambda: heard == [("connect",), ("disconnect",), ("connect",)])

        assert (script.connects, script.closes) == (2, 1)
        assert notifier.is_listening

    def test_that_cannot_be_opened_is_tried_again(self, listen, heard):
        class Stubborn(Script):
            def connect(self, topics):
                if self.connects < 3:
                    self.connects += 1
                    raise OperationalError("away")
                return super().connect(topics)

        notifier = listen(Stubborn())
        wait_until(lambda: notifier.is_listening)

        assert heard == [("connect",)]

    def test_that_cannot_hear_is_said_once_and_tried_again_later(self, listen, heard, caplog, monkeypatch):
        monkeypatch.setattr(module, "DEAF_SECONDS", 0.01)
        script = Script()
        script.can_hear = False
        notifier = listen(script)
        wait_until(lambda: script.connects >= 5)
        assert not notifier.is_listening
        assert caplog.text.count("a pooler that swallows LISTEN") == 1

        script.can_hear = True
        wait_until(lambda: notifier.is_listening)
        assert heard == [("connect",)]


class TestStop:
    def test_ends_a_wait_at_once(self, listen):
        script = Script()
        notifier = listen(script)
        wait_until(lambda: notifier.is_listening)

        assert notifier.stop(1)
        assert not notifier.is_listening
        assert script.closes == 1

    def test_while_it_connects_is_not_forgotten(self, listen):
        class Slow(Script):
            def connect(self, topics):
                connecting.set()
                wait_until(lambda: notifier.is_stopping)
                self._came.clear()
                return True

        connecting = threading.Event()
        notifier = listen(Slow(), is_started=False)
        notifier.start()
        connecting.wait(10)

        assert notifier.stop(1)

    def test_during_a_deaf_spell(self, listen):
        script = Script()
        script.can_hear = False
        notifier = listen(script)
        wait_until(lambda: script.connects)

        assert notifier.stop(1)


@pytest.mark.postgres
class TestPostgres:
    @pytest.fixture
    def notifier(self, using, listen):
        notifier = listen(storage.open_listener(using))
        wait_until(lambda: notifier.is_listening)
        return notifier

    def listeners(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE application_name = 'django_river listener' AND datname = current_database()"
            )
            return [pid for (pid,) in cursor.fetchall()]

    def test_hears_what_storage_says(self, using, notifier, heard):
        storage.for_caller(using).notify_many(TOPIC_INSERT, ['{"queue": "a"}', '{"queue": "b"}'])

        wait_until(lambda: heard[1:] == [("insert", "a"), ("insert", "b")])

    def test_comes_back_when_its_connection_is_cut(self, using, notifier, heard):
        (pid,) = self.listeners()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: heard == [("connect",), ("disconnect",), ("connect",)])
        wait_until(lambda: len(self.listeners()) == 1)

        storage.for_caller(using).notify_many(TOPIC_INSERT, ['{"queue": "a"}'])
        wait_until(lambda: heard[-1] == ("insert", "a"))

    def test_leaves_no_connection_behind(self, notifier):
        assert notifier.stop(5)

        wait_until(lambda: not self.listeners())

    def test_notices_a_dead_connection_in_a_silence(self, notifier, heard, monkeypatch):
        monkeypatch.setattr(module, "SILENCE", 0.01)
        storage.for_caller("default").notify_many(TOPIC_INSERT, ['{"queue": "a"}'])
        wait_until(lambda: heard[-1] == ("insert", "a"))

        assert notifier.is_listening
