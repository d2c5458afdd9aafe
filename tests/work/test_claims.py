"""Which statement claims from which queue, and that none of them always comes last."""

from __future__ import annotations

import pytest

from django_river.queue_options import QueueConfig
from django_river.storage.base import Demand
from django_river.work.claims import claim
from django_river.work.producer import Producer
from tests.factories import JobFactory

QUEUES = {
    "plain": QueueConfig(),
    "counted": QueueConfig(global_max_workers=5),
    "leaders": QueueConfig(leader_only=True),
}


@pytest.fixture
def claimed(open_store):
    """Claims for queues in this order; the queues of the jobs."""
    store = open_store()
    producers = {name: Producer(name, config=config) for name, config in QUEUES.items()}

    def claimed(*order, limit, term=object()):  # noqa: B008  (any will do)
        found = claim(
            store,
            "me",
            [Demand(queue=name, limit=5) for name in order],
            limit,
            producers=producers,
            plain=lambda demands, limit: store.job_fetch("me", demands, limit),
            as_leader=lambda term, demands, limit: store.job_fetch("me", demands, limit),
            term_of=lambda queue: term,
        )
        return [job.queue for job in found.jobs]

    return claimed


@pytest.fixture(autouse=True)
def flood(using):
    for name in QUEUES:
        JobFactory.create_batch(3, available=True, queue=name)


@pytest.mark.parametrize(
    "order", [("counted", "plain"), ("plain", "counted"), ("leaders", "plain", "counted")]
)
def test_who_comes_first_is_served_first(claimed, order):
    assert claimed(*order, limit=2) == [order[0]] * 2


def test_what_the_first_leaves_the_others_get(claimed):
    assert claimed("counted", "plain", "leaders", limit=7) == ["counted"] * 3 + ["plain"] * 3 + ["leaders"]


def test_nothing_is_claimed_for_a_leader_without_a_term(claimed):
    assert claimed("leaders", "plain", limit=7, term=None) == ["plain"] * 3
