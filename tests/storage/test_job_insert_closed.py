"""A queue that is being removed takes no jobs; what its row says of them holds from the insert on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_river import QueueClosed
from django_river.models import Job
from django_river.storage.postgres.driver import COPY_FROM
from django_river.storage.queues import Removal
from tests.storage.steps import new


@pytest.fixture
def store(any_store):
    return any_store


def key(letter):
    return {"unique_key": letter.encode() * 32, "unique_states": 245}


WAYS = {
    "one": [new(queue="a")],
    "one for later": [new(queue="a", delay=timedelta(hours=1))],
    "one that is unique": [new(queue="a", **key("k"))],
    "several": [new(queue="b"), new(queue="a")],
    "several, some unique": [new(queue="b", **key("l")), new(queue="a")],
    "very many": [new(queue="a" if number == 7 else "b") for number in range(COPY_FROM)],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_over", [False, True])
def test_nothing_is_stored_if_a_queue_is_being_removed(store, way, is_over):
    store.queue_row_close("a", Removal.DRAIN)
    store.queue_row_set_removed("a", is_removed=is_over)

    with pytest.raises(QueueClosed) as caught:
        store.job_insert_many(WAYS[way])

    assert str(caught.value) == "tests.work: queue must be open, but 'a' is being removed (drain)"
    assert not Job.objects.exists()


@pytest.mark.parametrize("way", WAYS)
def test_all_is_stored_if_it_has_been_opened_again(store, way):
    store.queue_row_close("a", Removal.DRAIN)
    store.queue_row_add("a", "{}")

    assert len(store.job_insert_many(WAYS[way])) == len(WAYS[way]) == Job.objects.count()


def test_insert_me_that_is_there_already_does_not_excuse_the_next(store):
    store.job_insert_many([new(queue="a", **key("k"))])
    store.queue_row_close("a", Removal.DRAIN)

    with pytest.raises(QueueClosed):
        store.job_insert_many([new(queue="a", **key("k"))])


@pytest.mark.parametrize("way", WAYS)
def test_the_row_says_how_often_to_try_those_that_do_not_say_it(store, way):
    jobs = [
        new(**{name: getattr(job, name) for name in job.__struct_fields__} | {"inherits_max_attempts": True})
        for job in WAYS[way]
    ]
    store.queue_row_add("a", '{"max_attempts": 3, "weight": 2}')
    store.queue_row_add("b", '{"max_attempts": null}')

    stored = store.job_insert_many(jobs)

    wanted = [3 if job.queue == "a" else 25 for job in jobs]
    assert [row.max_attempts for row in stored] == wanted
    assert list(Job.objects.order_by("id").values_list("max_attempts", flat=True)) == wanted


@pytest.mark.parametrize("way", WAYS)
def test_the_row_does_not_overrule_those_that_say_it(store, way):
    store.queue_row_add("a", '{"max_attempts": 3}')

    assert {row.max_attempts for row in store.job_insert_many(WAYS[way])} == {25}
