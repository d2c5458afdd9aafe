"""Whoever enqueues is refused by a queue that is being removed, wherever that was said, at no cost of a look."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_river import QueueClosed, Unique, UnknownQueue, enqueue_many, known_queues, queues
from django_river.models import Job
from django_river.storage import for_caller
from django_river.storage.queues import Removal
from tests.shop.jobs import nothing


@pytest.fixture
def elsewhere(db):
    """What another process does: nothing in this one hears of it."""
    return for_caller("default")


@pytest.fixture
def later(monkeypatch):
    """Let what was seen grow old."""
    return lambda: [seen.clear() for seen in known_queues.known_queues._open.values()]


def statements(call):
    with CaptureQueriesContext(connection) as seen:
        call()
    return len(seen)


class TestRemoval:
    def test_by_another_process_is_respected(self, elsewhere):
        elsewhere.queue_row_close("other", Removal.DRAIN)

        with pytest.raises(
            QueueClosed,
            match=r"shop\.nothing: queue must be open, but 'other' is being removed \(drain\)",
        ):
            nothing.using(queue="other").enqueue()
        with pytest.raises(QueueClosed):
            nothing.using(queue="other", unique=Unique(by_args=True)).enqueue()
        with pytest.raises(QueueClosed):
            enqueue_many([nothing.build(), nothing.using(queue="other").build()])
        assert not Job.objects.exists()

    @pytest.mark.postgres
    def test_is_respected_a_second_after_a_job_went_in_at_the_latest(self, elsewhere, later):
        nothing.using(queue="other").enqueue()
        elsewhere.queue_row_close("other", Removal.DRAIN)
        nothing.using(queue="other").enqueue()
        later()

        with pytest.raises(QueueClosed):
            nothing.using(queue="other").enqueue()

    def test_here_is_respected_at_once(self, db):
        nothing.using(queue="other").enqueue()
        queues.remove("other")

        with pytest.raises(QueueClosed):
            nothing.using(queue="other").enqueue()

    def test_that_is_over_is_respected_for_good(self, db):
        assert queues.remove("other").is_done

        with pytest.raises(QueueClosed):
            nothing.using(queue="other").enqueue()

    def test_leaves_the_callers_transaction_as_it_was(self, using):
        queues.remove("other")
        with transaction.atomic():
            nothing.enqueue(1)
            with pytest.raises(QueueClosed):
                nothing.using(queue="other").enqueue()
            nothing.enqueue(2)

        assert Job.objects.count() == 2

    def test_that_is_taken_back_elsewhere_lets_jobs_in_at_once(self, elsewhere):
        queues.remove("other")
        with pytest.raises(QueueClosed):
            nothing.using(queue="other").enqueue()
        elsewhere.queue_row_add("other", "{}")

        assert nothing.using(queue="other").enqueue().queue == "other"


class TestCost:
    @pytest.fixture(autouse=True)
    def layers(self, settings, using):
        settings.DJANGO_RIVER = {"QUEUES": {"default": {}, "tenant-*": {}}}

    @pytest.mark.parametrize("queue", ["default", "tenant-7"])
    @pytest.mark.parametrize("has_row", [False, True])
    def test_of_a_queue_of_the_settings_is_one_statement(self, queue, has_row, elsewhere):
        if has_row:
            elsewhere.queue_row_change(queue, '{"max_attempts": 3}')
        enqueue = nothing.using(queue=queue).enqueue

        with transaction.atomic():
            assert [statements(enqueue) for _ in range(3)] == [1, 1, 1]
        known_queues.known_queues.__init__()
        with transaction.atomic():
            assert statements(enqueue) == 1

    def test_of_one_that_was_added_is_a_look_a_minute(self, elsewhere):
        elsewhere.queue_row_add("added", "{}")
        enqueue = nothing.using(queue="added").enqueue

        with transaction.atomic():
            assert [statements(enqueue) for _ in range(3)] == [2, 1, 1]

    def test_what_may_be_rolled_back_is_not_remembered(self):
        with pytest.raises(RuntimeError), transaction.atomic():
            queues.add("added")
            nothing.using(queue="added").enqueue()
            raise RuntimeError

        with pytest.raises(UnknownQueue):
            nothing.using(queue="added").enqueue()


class TestAttempts:
    @pytest.mark.parametrize("queue", ["default", "other"])
    def test_are_what_the_row_says(self, elsewhere, queue, later):
        elsewhere.queue_row_change(queue, '{"max_attempts": 3}')
        enqueue = nothing.using(queue=queue).enqueue

        assert [enqueue().max_attempts for _ in range(3)] == [3, 3, 3]
        elsewhere.queue_row_change(queue, '{"max_attempts": 4}')
        later()
        assert enqueue().max_attempts == 4
        assert sorted(Job.objects.values_list("max_attempts", flat=True)) == [3, 3, 3, 4]

    def test_of_the_job_itself_come_first(self, elsewhere):
        elsewhere.queue_row_change("default", '{"max_attempts": 3}')
        own = nothing.using(max_attempts=7)

        assert [own.enqueue().max_attempts, nothing.enqueue().max_attempts] == [7, 3]
        assert [own.enqueue().max_attempts, nothing.enqueue().max_attempts] == [7, 3]

    def test_follow_the_settings_where_the_row_says_nothing(self, db, settings):
        assert nothing.enqueue().max_attempts == 25
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"MAX_ATTEMPTS": 9}

        assert nothing.enqueue().max_attempts == 9
