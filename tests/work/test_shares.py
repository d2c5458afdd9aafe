"""Slots shared out: what is reserved stays so, the rest goes by weight, and nothing is left that anybody can use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_river.queue_options import Autoscale, QueueConfig
from django_river.work import shares
from django_river.work.producer import Producer
from django_river.work.shares import Share, share_out


def shared(slots, *given):
    share_out(given, slots)
    return [share.fair for share in given]


def test_goes_by_weight():
    assert shared(100, Share(100, 0, weight=3), Share(100, 0)) == [75, 25]


def test_gives_to_others_what_one_cannot_use():
    assert shared(100, Share(100, 0, weight=3), Share(10, 0), Share(100, 0)) == [67, 10, 23]


def test_keeps_what_is_reserved_though_it_is_not_used():
    assert shared(10, Share(100, 0), Share(0, 0, reserved=3)) == [7, 0]
    assert shared(10, Share(100, 0), Share(1, 0, reserved=3)) == [7, 1]
    assert shared(10, Share(100, 0), Share(9, 0, reserved=3)) == [5, 5]


def test_grants_what_is_reserved_though_all_others_are_in_use():
    flood, one = Share(100, 9), Share(1, 0, reserved=1)
    share_out([flood, one], 10)

    assert (flood.granted, one.granted) == (0, 1)


def test_grants_nothing_that_somebody_has_yet_to_give_back():
    flood, other = Share(100, 10), Share(100, 0)
    share_out([flood, other], 10)

    assert (flood.fair, flood.allowance, other.fair, other.granted) == (5, 5, 5, 0)


QUEUES = st.lists(
    st.builds(
        Share,
        st.integers(0, 60),
        st.just(0),
        reserved=st.integers(0, 5),
        weight=st.integers(1, 10),
    ),
    min_size=1,
    max_size=8,
)


@given(QUEUES, st.integers(1, 80))
def test_never_gives_more_than_there_is_and_wastes_nothing(queues, slots):
    fair = shared(slots, *queues)
    reserved = sum(share.reserved for share in queues)

    assert all(share.fair <= max(share.wanted, 0) for share in queues)
    if reserved <= slots:
        assert sum(max(share.fair, share.reserved) for share in queues) <= slots
        idle = sum(max(0, share.reserved - share.wanted) for share in queues)
        assert sum(fair) == min(sum(share.wanted for share in queues), slots - idle)
    for share in queues:
        assert share.fair >= min(share.wanted, share.reserved)


@given(QUEUES, st.integers(1, 80), st.data())
def test_never_lets_more_run_than_there_are_slots(queues, slots, data):
    if sum(share.reserved for share in queues) > slots:
        return
    left = slots
    for share in queues:
        share.running = data.draw(st.integers(0, max(0, min(left, share.wanted))))
        left -= max(share.running, share.reserved)
        if left < 0:
            share.running = min(share.running, share.reserved)
            left = 0
    if sum(max(share.running, share.reserved) for share in queues) > slots:
        return
    share_out(queues, slots)

    assert sum(share.running + share.granted for share in queues) <= slots


class TestNeed:
    def producers(self, *configs):
        return [Producer(str(number), config=config) for number, config in enumerate(configs)]

    @pytest.mark.parametrize(
        ("configs", "is_needed"),
        [
            ([QueueConfig(max_workers=100), QueueConfig(max_workers=100)], False),
            ([QueueConfig(max_workers=100, weight=2), QueueConfig(max_workers=100)], True),
            ([QueueConfig(max_workers=100, min_workers=1), QueueConfig(max_workers=100)], True),
            ([QueueConfig(max_workers=50, min_workers=1), QueueConfig(max_workers=50)], False),
            (
                [
                    QueueConfig(max_workers=1, min_workers=1),
                    QueueConfig(autoscale=Autoscale(minimum=1, maximum=100)),
                ],
                True,
            ),
        ],
    )
    def test_is_there_only_where_queues_differ_and_slots_are_few(self, configs, is_needed):
        assert shares.are_needed(self.producers(*configs), 100) is is_needed
