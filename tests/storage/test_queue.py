"""Queues come into being when they are worked or paused, and stay paused until they are resumed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_river.models import Queue
from tests.factories import QueueFactory


@pytest.fixture
def store(any_store):
    return any_store


def paused() -> list[str]:
    return sorted(Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


class TestTouch:
    def test_makes_a_row(self, store):
        assert store.queue_touch(["a"]) == [("a", False)]
        queue = Queue.objects.get()
        assert (queue.name, queue.metadata, queue.paused_at) == ("a", {}, None)
        assert abs(queue.created_at - timezone.now()) < timedelta(minutes=1)
        assert queue.updated_at == queue.created_at

    def test_renews_a_row_and_leaves_the_rest_of_it(self, store):
        before = timezone.now() - timedelta(hours=1)
        QueueFactory(name="a", created_at=before, updated_at=before, metadata={"x": 1})

        store.queue_touch(["a"])

        queue = Queue.objects.get()
        assert queue.updated_at > before
        assert (queue.created_at, queue.metadata) == (before, {"x": 1})

    def test_answers_how_they_stand(self, store):
        store.queue_pause("b")

        assert sorted(store.queue_touch(["c", "b", "a", "b"])) == [("a", False), ("b", True), ("c", False)]
        assert paused() == ["b"]

    def test_of_none_is_none(self, store):
        assert store.queue_touch([]) == []

    def test_is_not_needed_to_look(self, store):
        store.queue_touch(["a"])
        store.queue_pause("b")

        assert sorted(store.queue_list(["a", "b", "c"])) == [("a", False), ("b", True)]
        assert store.queue_list([]) == []
        assert Queue.objects.count() == 2


class TestPause:
    def test_stops_one(self, store):
        store.queue_touch(["a", "b"])

        assert store.queue_pause("a") == ["a"]
        assert paused() == ["a"]

    def test_stops_all(self, store):
        store.queue_touch(["b", "a", "c"])
        store.queue_pause("c")

        assert sorted(store.queue_pause("*")) == ["a", "b"]
        assert paused() == ["a", "b", "c"]
        assert not Queue.objects.filter(name="*").exists()

    def test_stops_one_that_nobody_has_worked_yet(self, store):
        assert store.queue_pause("new") == ["new"]
        assert paused() == ["new"]

    def test_of_a_paused_one_changes_nothing(self, store):
        store.queue_pause("a")
        before = Queue.objects.get()

        assert store.queue_pause("a") == []
        assert (Queue.objects.get().paused_at, Queue.objects.get().updated_at) == (
            before.paused_at,
            before.updated_at,
        )

    def test_of_all_when_there_are_none_is_none(self, store):
        assert store.queue_pause("*") == []
        assert not Queue.objects.exists()


class TestResume:
    def test_lets_one_go_on(self, store):
        for name in "ab":
            store.queue_pause(name)

        assert store.queue_resume("a") == ["a"]
        assert paused() == ["b"]

    def test_lets_all_go_on(self, store):
        store.queue_touch(["c"])
        for name in "ab":
            store.queue_pause(name)

        assert sorted(store.queue_resume("*")) == ["a", "b"]
        assert paused() == []

    def test_of_one_that_runs_or_is_unknown_changes_nothing(self, store):
        store.queue_touch(["a"])

        assert store.queue_resume("a") == store.queue_resume("unknown") == []
        assert Queue.objects.count() == 1
