"""What others are told: in River's words, on River's channels, and with the transaction."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, connection

from django_river import storage
from django_river.jobs.states import State
from django_river.storage.base import TOPIC_CONTROL, TOPIC_INSERT, TOPIC_LEADERSHIP, TOPIC_REGISTRY
from django_river.storage.postgres import listener as listener_module
from tests.factories import JobFactory
from tests.storage.steps import HOUR, ME, insert, make_due, new, run
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres

TOPICS = (TOPIC_INSERT, TOPIC_CONTROL, TOPIC_LEADERSHIP, TOPIC_REGISTRY)


@pytest.fixture
def listener(using):
    opened = storage.open_listener(using)
    assert opened.connect(TOPICS)
    yield opened
    opened.close()


@pytest.fixture
def heard(listener, store):
    """All that has been said so far: what is said last is heard last."""

    def ask():
        store.notify_many(TOPIC_CONTROL, ["end"])
        said = []
        while (TOPIC_CONTROL, "end") not in said:
            said += listener.wait(10)
        return [(topic, json.loads(payload)) for topic, payload in said[:-1]]

    return ask


@pytest.fixture
def channels(using):
    """A plain connection that hears by the full names of the channels."""
    wanted = ("dbname", "host", "port", "user", "password")
    params = {key: value for key, value in connection.get_connection_params().items() if key in wanted}
    with psycopg.connect(**params, autocommit=True) as plain:
        yield plain


class TestWhatIsSaid:
    @pytest.fixture
    def store(self, any_store):
        return any_store

    @pytest.mark.parametrize("jobs", [[new()], [new(), new()]], ids=["one", "many"])
    def test_of_inserts_as_far_as_wanted(self, store, heard, jobs):
        store.job_insert_many(jobs, notify=["default", "other"])
        store.job_insert_many(jobs)

        assert heard() == [(TOPIC_INSERT, {"queue": "default"}), (TOPIC_INSERT, {"queue": "other"})]

    def test_of_one_insert_in_one_statement(self, store, heard, monkeypatch):
        ran = []
        execute = store.session.execute
        with monkeypatch.context() as patch:
            patch.setattr(
                store.session, "execute", lambda sql, params: ran.append(sql) or execute(sql, params)
            )
            store.job_insert_many([new(queue="quo'ted\"")], notify=["quo'ted\""])

        assert len(ran) == 1
        assert heard() == [(TOPIC_INSERT, {"queue": "quo'ted\""})]

    def test_of_a_registry_that_comes_into_force(self, store, heard):
        storage.for_periodic("default", store.session).registry_enforce("9f86", "1.2")

        assert heard() == [(TOPIC_REGISTRY, {"hash": "9f86"})]

    def test_of_scheduled_jobs(self, store, upkeep, heard):
        jobs = [insert(store, queue=queue, delay=HOUR) for queue in "aab"]
        make_due(*jobs)

        upkeep.job_schedule(10)
        upkeep.job_schedule(10)

        assert sorted(heard(), key=str) == [(TOPIC_INSERT, {"queue": "a"}), (TOPIC_INSERT, {"queue": "b"})]

    def test_of_retried_jobs(self, store, heard):
        jobs = [
            JobFactory(state=state, queue=queue) for state, queue in (("completed", "b"), ("discarded", "a"))
        ]
        jobs.append(JobFactory(running=True, queue="c"))

        store.job_retry([job.id for job in jobs])

        assert heard() == [(TOPIC_INSERT, {"queue": "a"}), (TOPIC_INSERT, {"queue": "b"})]

    def test_of_cancelling_what_runs(self, store, heard):
        job = run(store, queue="other")
        others = [JobFactory(state=state) for state in (State.AVAILABLE, State.COMPLETED)]

        store.job_cancel([job.id, *[other.id for other in others]])

        assert heard() == [(TOPIC_CONTROL, {"action": "cancel", "job_id": job.id, "queue": "other"})]

    def test_of_queues(self, store, heard):
        store.queue_pause("a")
        store.queue_pause("a")
        store.queue_resume("a")
        store.queue_touch(["b"])
        store.queue_pause("*")
        store.queue_resume("*")
        store.queue_resume("*")

        assert heard() == [
            (TOPIC_CONTROL, {"action": action, "queue": queue})
            for queue in ("a", "*")
            for action in ("pause", "resume")
        ]

    def test_of_a_leader_that_resigns(self, store, heard):
        term = store.leader_elect(ME, timedelta(seconds=15))
        store.leader_resign(term)
        store.leader_resign(term)

        assert heard() == [(TOPIC_LEADERSHIP, {"action": "resigned", "leader_id": ME})]

    def test_is_said_at_the_commit(self, store, heard, other_store):
        with store.session.atomic():
            store.job_insert_many([new()], notify=["default"])
            other_store.notify_many(TOPIC_INSERT, ['"meanwhile"'])

        assert heard() == [(TOPIC_INSERT, "meanwhile"), (TOPIC_INSERT, {"queue": "default"})]

    def test_is_never_said_of_what_is_rolled_back(self, store, heard):
        with pytest.raises(LookupError), store.session.atomic():
            store.job_insert_many([new()], notify=["default"])
            raise LookupError

        assert heard() == []


class TestChannels:
    def test_are_named_by_schema_and_topic(self, store, channels):
        channels.execute('LISTEN "public.river_insert"')

        store.notify_many(TOPIC_INSERT, ["a", "b"])

        said = list(channels.notifies(timeout=10, stop_after=2))
        assert [(item.channel, item.payload) for item in said] == [("public.river_insert", p) for p in "ab"]

    def test_follow_the_schema_of_the_connection(self, using, store, channels, monkeypatch):
        channels.execute('CREATE SCHEMA IF NOT EXISTS "Else.where"')
        channels.execute('LISTEN "Else.where.river_insert"')
        store.queue_list([])
        elsewhere, listener = storage.open_storage(using, timeout=20), storage.open_listener(using)
        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict["OPTIONS"], "options", '-c search_path="Else.where"')
            listener.connect(TOPICS)
            store.notify_many(TOPIC_INSERT, ["not for us"])
            elsewhere.notify_many(TOPIC_INSERT, ["for us"])

        assert listener.wait(10) == [(TOPIC_INSERT, "for us")]
        assert [item.payload for item in channels.notifies(timeout=10, stop_after=1)] == ["for us"]
        listener.close()
        elsewhere.close()


class TestListener:
    def test_hears_only_its_topics(self, using, store):
        listener = storage.open_listener(using)
        listener.connect([TOPIC_LEADERSHIP])

        store.notify_many(TOPIC_INSERT, ["a"])
        store.notify_many(TOPIC_LEADERSHIP, ["b"])

        assert listener.wait(10) == [(TOPIC_LEADERSHIP, "b")]
        listener.close()

    def test_returns_when_it_is_told_to(self, listener):
        waited = []
        thread = threading.Thread(target=lambda: waited.append(listener.wait(60)))
        thread.start()

        listener.interrupt()
        thread.join(10)

        assert waited == [[]]

    def test_remembers_that_it_was_told_to(self, listener):
        listener.interrupt()
        listener.interrupt()

        assert listener.wait(60) == []

    def test_hears_after_it_was_told_to_return(self, listener, store):
        listener.interrupt()
        listener.wait(60)

        store.notify_many(TOPIC_INSERT, ["a"])

        assert listener.wait(10) == [(TOPIC_INSERT, "a")]

    def test_asks_after_a_silence_whether_anybody_is_there(self, listener, store):
        assert listener.wait(0.001) == []

        asked = "SELECT query FROM pg_stat_activity WHERE application_name = 'django_river listener'"
        assert store.session.execute(asked, {}) == [("SELECT 1",)]

    def test_notices_that_its_connection_was_cut(self, listener, store):
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %(name)s"
        store.session.execute(kill, {"name": "django_river listener"})

        with pytest.raises(OperationalError):
            wait_until(lambda: listener.wait(0.1))

    def test_connects_again(self, listener, store):
        assert listener.connect(TOPICS)

        store.notify_many(TOPIC_INSERT, ["a"])

        assert listener.wait(10) == [(TOPIC_INSERT, "a")]

    def test_is_deaf_behind_a_pooler_and_says_so(self, using, monkeypatch):
        monkeypatch.setattr(listener_module, "is_pooled", lambda connection: True)
        listener = storage.open_listener(using)

        assert listener.connect(TOPICS) is False
        with pytest.raises(OperationalError, match="not connected"):
            listener.wait(0)
        listener.close()

    def test_hears_beyond_a_thousand_open_files(self, using, store):
        with contextlib.ExitStack() as files:
            for _ in range(1100):
                files.enter_context(Path("/dev/null").open())
            listener = storage.open_listener(using)
            files.callback(listener.close)
            listener.connect(TOPICS)
            listener.interrupt()

            assert listener.wait(60) == []

    def test_never_makes_wait_who_tells_it_to_return(self, listener):
        for _ in range(10_000):
            listener.interrupt()

        assert wait_until(lambda: not listener.wait(60))

    def test_may_be_closed_and_told_to_return_at_any_time(self, using):
        listener = storage.open_listener(using)
        listener.interrupt()
        listener.close()
        listener.connect(TOPICS)
        listener.close()
        listener.interrupt()
        listener.close()

        with pytest.raises(OperationalError, match="not connected"):
            listener.wait(0)

    def test_says_why_it_cannot_connect(self, using, monkeypatch):
        listener = storage.open_listener(using)

        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict, "PORT", "1")
            with pytest.raises(OperationalError):
                listener.connect(TOPICS)
        listener.close()
