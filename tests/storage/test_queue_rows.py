"""What is said of queues at run time: kept in rows, each change with a version of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from django_river.models import Client, Job, Queue, QueueResume, QueueRow
from django_river.storage.queues import Removal
from tests.factories import ClientFactory, JobFactory, QueueFactory

ALWAYS = timedelta(seconds=-1)


@pytest.fixture
def store(any_store):
    return any_store


def said(store):
    return {row.name: json.loads(row.settings) for row in store.queue_row_list()}


def row(store, name="a"):
    (found,) = store.queue_row_list([name])
    return found


class TestRows:
    def test_are_added_once(self, store):
        assert store.queue_row_add("a", '{"max_workers": 3}')
        assert not store.queue_row_add("a", '{"max_workers": 4}')

        assert row(store)[:5] == ("a", '{"max_workers": 3}', "", "", False)

    def test_are_changed_key_by_key(self, store):
        store.queue_row_add("a", '{"max_workers": 3, "weight": 2, "on": {"x": "1"}}')

        store.queue_row_change("a", '{"max_workers": 5, "on": {"y": "1"}}', inherit=["weight"])

        assert said(store) == {"a": {"max_workers": 5, "on": {"y": "1"}}}

    def test_are_made_by_a_change(self, store):
        store.queue_row_change("a", '{"rate_limit": [5, 1.5]}')

        assert said(store) == {"a": {"rate_limit": [5, 1.5]}}

    def test_keep_what_is_none(self, store):
        store.queue_row_change("a", '{"rate_limit": null}')
        store.queue_row_change("a", '{"weight": 2}')

        assert said(store) == {"a": {"rate_limit": None, "weight": 2}}

    def test_are_listed_by_name(self, store):
        for name in "cab":
            store.queue_row_add(name, "{}")

        assert [found.name for found in store.queue_row_list()] == ["a", "b", "c"]
        assert [found.name for found in store.queue_row_list(["c", "x"])] == ["c"]
        assert store.queue_row_list([]) == []

    def test_have_another_version_after_each_change(self, store):
        store.queue_row_add("a", "{}")
        versions = [row(store).version]
        for change in (
            lambda: store.queue_row_change("a", "{}"),
            lambda: store.queue_row_close("a", Removal.DRAIN),
            lambda: store.queue_row_set_removed("a", is_removed=True),
            lambda: store.queue_row_add("a", "{}"),
        ):
            change()
            versions.append(row(store).version)

        assert len(set(versions)) == 5

    def test_have_another_digest_after_each_change(self, store):
        digests = [store.queue_row_digest()]
        for change in (
            lambda: store.queue_row_add("a", "{}"),
            lambda: store.queue_row_add("b", "{}"),
            lambda: store.queue_row_change("a", "{}"),
            lambda: store.queue_row_close("a", Removal.DRAIN),
            lambda: store.queue_row_set_removed("a", is_removed=True),
            lambda: store.queue_row_prune([], ALWAYS),
        ):
            change()
            digests.append(store.queue_row_digest())

        assert len(set(digests)) == 7
        assert store.queue_row_digest() == digests[-1]

    def test_have_another_digest_after_a_change_that_had_to_wait(self, store):
        store.queue_row_add("a", "{}")
        store.queue_row_add("b", "{}")
        before = store.queue_row_digest()
        # Its moment was taken before it waited for the other's transaction.
        QueueRow.objects.filter(name="a").update(
            changed_at=QueueRow.objects.get(name="a").changed_at - ALWAYS
        )
        between = store.queue_row_digest()
        QueueRow.objects.filter(name="a").update(
            changed_at=QueueRow.objects.get(name="b").changed_at - timedelta(microseconds=1)
        )

        assert len({before, between, store.queue_row_digest()}) == 3


class TestRemoval:
    def test_is_written_down_with_the_settings_kept(self, store):
        store.queue_row_add("a", '{"weight": 2}')

        store.queue_row_close("a", Removal.MOVE, "b")

        assert row(store)[1:5] == ('{"weight": 2}', "move", "b", False)

    def test_of_a_queue_without_a_row_makes_one(self, store):
        store.queue_row_close("a", Removal.DELETE)

        assert row(store)[:5] == ("a", "{}", "delete", "", False)

    def test_is_taken_back_by_an_addition(self, store):
        store.queue_row_close("a", Removal.MOVE, "b")
        store.queue_row_set_removed("a", is_removed=True)

        assert store.queue_row_add("a", '{"weight": 3}')
        assert row(store)[1:5] == ('{"weight": 3}', "", "", False)

    def test_is_over_and_begins_again(self, store):
        store.queue_row_close("a", Removal.DRAIN)
        store.queue_row_set_removed("a", is_removed=True)
        assert row(store).is_removed

        store.queue_row_set_removed("a", is_removed=False)
        assert not row(store).is_removed

    def test_that_is_over_already_changes_nothing(self, store):
        store.queue_row_close("a", Removal.DRAIN)
        store.queue_row_set_removed("a", is_removed=True)
        before = row(store)

        store.queue_row_set_removed("a", is_removed=True)

        assert row(store) == before

    def test_is_never_over_for_a_queue_that_stays(self, store):
        store.queue_row_add("a", "{}")
        store.queue_row_set_removed("a", is_removed=True)

        assert not row(store).is_removed

    def test_is_forgotten_after_a_while(self, store):
        for name in "abc":
            QueueFactory(name=name)
            store.queue_row_close(name, Removal.DRAIN)
        store.queue_row_set_removed("a", is_removed=True)
        store.queue_row_set_removed("b", is_removed=True)

        assert store.queue_row_prune(["b"], timedelta(hours=1)) == []
        assert store.queue_row_prune(["b"], ALWAYS) == ["a"]
        assert sorted(QueueRow.objects.values_list("name", flat=True)) == ["b", "c"]
        assert sorted(Queue.objects.values_list("name", flat=True)) == ["b", "c"]

    def test_is_not_forgotten_while_others_are_moved_there(self, store):
        store.queue_row_close("a", Removal.MOVE, "b")
        store.queue_row_close("b", Removal.DRAIN)
        for name in "ab":
            store.queue_row_set_removed(name, is_removed=True)

        assert store.queue_row_prune(["a"], ALWAYS) == []
        assert store.queue_row_prune([], ALWAYS) == ["a"]
        assert store.queue_row_prune([], ALWAYS) == ["b"]


class TestOpenJobs:
    @pytest.mark.parametrize("state", ["available", "running", "scheduled", "retryable"])
    def test_are_those_that_run_without_anybodys_doing(self, store, state):
        JobFactory(state=state, queue="a")

        assert store.queue_open(["a", "b"]) == {"a"}

    @pytest.mark.parametrize("state", ["pending", "completed", "cancelled", "discarded"])
    def test_are_no_others(self, store, state):
        JobFactory(state=state, queue="a")

        assert store.queue_open(["a"]) == set()


def fill(queue="a"):
    """Jobs of all states, and some of another queue."""
    for state in ("available", "scheduled", "retryable", "running", "pending", "completed"):
        JobFactory.create_batch(2, state=state, queue=queue)
    JobFactory(state="available", queue="other")


def counts(queue):
    found = Job.objects.filter(queue=queue).values_list("state", flat=True)
    return {state: list(found).count(state) for state in sorted(set(found))}


def until_done(step):
    done = []
    while count := step():
        done.append(count)
    return done


class TestMove:
    def test_takes_what_waits(self, store):
        fill()

        assert sum(until_done(lambda: store.job_move("a", "b", 3))) == 6
        assert counts("b") == {"available": 2, "retryable": 2, "scheduled": 2}
        assert counts("a") == {"completed": 2, "pending": 2, "running": 2}
        assert counts("other") == {"available": 1}

    def test_takes_batches_in_the_order_of_the_line(self, store):
        late = JobFactory(available=True, queue="a", priority=2)
        first = JobFactory(available=True, queue="a", priority=1)
        second = JobFactory(available=True, queue="a", priority=1)

        order = []
        while store.job_move("a", "b", 1):
            order.append(Job.objects.filter(queue="b").exclude(pk__in=order).get().pk)

        assert order == [first.pk, second.pk, late.pk]

    def test_leaves_everything_else_as_it_is(self, store):
        job = JobFactory(retryable=True, queue="a", unique_key=b"k" * 32, unique_states=245, tags=["x"])
        before = Job.objects.values().get()

        store.job_move("a", "b", 10)

        assert Job.objects.values().get(pk=job.pk) == before | {"queue": "b"}


class TestDelete:
    def test_takes_what_waits(self, store):
        fill()

        assert sum(until_done(lambda: store.job_delete_in_queue("a", 3))) == 6
        assert counts("a") == {"completed": 2, "pending": 2, "running": 2}
        assert counts("other") == {"available": 1}


class TestResumeLater:
    def test_resumes_when_it_is_time(self, store):
        for name in "abc":
            store.queue_pause(name)
        store.queue_resume_at(["a"], delay=timedelta(seconds=-1))
        store.queue_resume_at(["b"], moment=datetime.now(UTC) + timedelta(hours=1))

        assert store.queue_resume_due() == ["a"]
        assert store.queue_resume_due() == []
        assert sorted(Queue.objects.filter(paused_at=None).values_list("name", flat=True)) == ["a"]

    def test_says_when_the_next_is_due(self, store):
        assert store.queue_seconds_until_resume() is None
        store.queue_resume_at(["a"], delay=timedelta(hours=1))
        assert store.queue_seconds_until_resume() == pytest.approx(3600, abs=60)
        store.queue_resume_at(["b"], moment=datetime.now(UTC) - timedelta(hours=1))
        assert store.queue_seconds_until_resume() == pytest.approx(-3600, abs=60)

    def test_goes_by_the_last_word(self, store):
        store.queue_pause("a")
        store.queue_resume_at(["a"], delay=timedelta(hours=1))
        store.queue_resume_at(["a"], delay=timedelta(seconds=-1))

        assert store.queue_resume_due() == ["a"]

    def test_is_forgotten_when_told_so(self, store):
        store.queue_pause("a")
        store.queue_resume_at(["a"], delay=timedelta(seconds=-1))
        store.queue_resume_at(["a"])

        assert store.queue_resume_due() == []
        assert not QueueResume.objects.exists()

    def test_says_nothing_of_one_that_was_resumed_by_hand(self, store):
        store.queue_pause("a")
        store.queue_resume_at(["a"], delay=timedelta(seconds=-1))
        store.queue_resume("a")

        assert store.queue_resume_due() == []


def test_what_a_client_has_applied_is_kept(store):
    client = ClientFactory()

    store.queue_apply(client.pk, '{"a": {"slots": 3, "version": "1"}}')

    assert Client.objects.get().applied == {"a": {"slots": 3, "version": "1"}}
