"""What has nothing to do does not ask the database; what is told of something does it at once."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest

from django_river import storage
from django_river.maintenance.queue_remover import QueueRemover
from django_river.maintenance.queue_resumer import INTERVAL, INTERVAL_IF_TOLD, QueueResumer
from tests.waiting import wait_until


class TestResumer:
    @pytest.fixture
    def told(self):
        return []

    @pytest.fixture
    def other_store(self, using):
        return storage.for_caller(using)

    @pytest.fixture
    def resumer(self, upkeep, using, told):
        resumer = QueueResumer(
            upkeep=upkeep,
            lock=Lock(),
            storage=storage.storage_on(upkeep.session, using),
            on_resume=lambda: told.append("resumed"),
            is_told=lambda: True,
        )
        yield resumer
        assert resumer.stop(10)

    def test_looks_seldom_where_it_is_told_of_pauses(self, resumer):
        assert resumer.step() == INTERVAL_IF_TOLD

    def test_looks_often_where_it_is_not(self, resumer):
        resumer.is_told = lambda: False

        assert resumer.step() == INTERVAL

    def test_waits_for_the_next_pause_to_be_over(self, resumer, other_store):
        other_store.queue_pause("a")
        other_store.queue_resume_at(["a"], delay=timedelta(seconds=5))

        assert 0 < resumer.step() <= 5

    def test_resumes_at_once_when_it_is_woken_for_a_pause_that_is_over(self, resumer, other_store, told):
        resumer.start()
        other_store.queue_pause("a")
        other_store.queue_resume_at(["a"], delay=timedelta(seconds=0.1))
        resumer.wake()

        wait_until(lambda: told == ["resumed"], 5)
        assert [queue.is_paused for queue in other_store.queue_list(["a"])] == [False]


def test_a_remover_asks_nothing_while_no_queue_is_being_removed():
    remover = QueueRemover(upkeep=None, storage=None, lock=Lock(), named=(), is_needed=lambda: False)

    assert remover.step() == 1.0
