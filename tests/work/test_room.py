"""How many jobs to claim, and of which queues."""

from __future__ import annotations

import itertools

import pytest

from django_river.queue_options import QueueConfig
from django_river.storage.base import Demand
from django_river.work import producer as producer_module
from django_river.work import room as module
from django_river.work.producer import Producer
from django_river.work.room import Room
from tests.work.building import attempt_at


class Held:
    """A gatherer, as far as the room knows it."""

    is_held_up = True


def build(*, slots=10, **queues):
    """Room for queues with so many workers, or such settings; it notes what it wakes and starts."""
    room = Room(
        producers={
            name: Producer(
                name, config=given if isinstance(given, QueueConfig) else QueueConfig(max_workers=given)
            )
            for name, given in queues.items()
        },
        slots=slots,
    )
    room.woken, room.started = [], []
    room.wake = lambda: room.woken.append(1)
    room.start = room.started.extend
    return room


def claim(room, queue, count=1):
    """As a claim that has brought so many jobs."""
    producer = room.producers[queue]
    producer.admit([attempt_at(producer) for _ in range(count)])
    room.taken_by([producer])
    return producer


def end(room, queue):
    """As a job that has ended."""
    producer = room.producers[queue]
    producer.release()
    room.freed(producer)


def asked(room):
    demands, limit = room.demands()
    return {demand.queue: demand.limit for demand in demands}, limit


class TestDemands:
    def test_are_those_of_all_queues_and_no_more_together_than_there_are_slots(self):
        assert asked(build(slots=4, a=3, b=3)) == ({"a": 3, "b": 3}, 4)

    def test_leave_what_is_taken(self):
        room = build(slots=4, a=3, b=3)
        claim(room, "a", 2)

        assert room.free == 2
        assert asked(room) == ({"a": 1, "b": 3}, 2)

    def test_come_in_turn(self):
        room = build(slots=1, a=1, empty=1, b=1, c=1)
        room.producers["empty"].may_have_work = False
        looks = [room.demands()[0] for _ in range(6)]

        assert [demands[0].queue for demands in looks] == ["a", "b", "c", "a", "b", "c"]
        assert all({demand.queue for demand in demands} == {"a", "b", "c"} for demands in looks)

    def test_of_many_queues_come_in_parts_and_all_get_their_turn(self):
        names = [f"q{number}" for number in range(3 * module.ENOUGH_QUEUES)]
        room = build(slots=1, **dict.fromkeys(names, 1))
        looks = [[demand.queue for demand in room.demands()[0]] for _ in range(3)]

        assert list(itertools.chain(*looks)) == names

    def test_take_turns_by_claims_not_by_looks(self):
        room = build(slots=1, a=1, b=1)
        claim(room, "a")
        for _ in range(3):
            assert room.demands() == ([], 0)
        room.producers["a"].release()

        assert room.demands()[0][0].queue == "a"

    def test_exceed_the_slots_by_what_ends_within_a_moment(self, monkeypatch):
        monkeypatch.setattr(producer_module, "RATE_WINDOW", 0.0)
        room = build(slots=4, a=1000)
        for _ in range(100):
            room.freed(room.producers["a"])

        assert room.demands()[1] > 4

    def test_are_those_of_the_queues_it_has_been_given(self):
        room = build(slots=4, a=3)
        room.adopt({"b": Producer("b", max_workers=2)})

        assert asked(room) == ({"b": 2}, 4)


class TestFreed:
    def test_wakes_if_its_queue_wants_more(self):
        room = build(a=1)
        claim(room, "a")
        end(room, "a")

        assert room.woken

    def test_does_not_wake_if_its_queue_has_no_more(self):
        room = build(a=1)
        claim(room, "a").may_have_work = False
        end(room, "a")

        assert not room.woken

    def test_wakes_if_another_queue_waits_for_room(self):
        room = build(slots=1, a=1, b=1)
        claim(room, "a").may_have_work = False
        assert room.demands() == ([], 0)
        end(room, "a")
        assert room.woken == [1]

        assert asked(room) == ({"b": 1}, 1)

    def test_wakes_if_a_batch_waits_for_a_call_to_end(self):
        room = build(a=1)
        room.gatherer = Held()
        claim(room, "a").may_have_work = False
        end(room, "a")

        assert room.woken

    def test_is_not_missed_while_the_room_is_measured(self, monkeypatch):
        measured = iter([(0, 1), (1, 0)])
        room = build(slots=1, a=10)
        monkeypatch.setattr(room, "_measure", lambda: next(measured))

        assert room.demands() == ([Demand(queue="a", limit=10)], 1)
        assert not room._awaited


class TestSharedOut:
    """Where queues have reserves or weights, and could use more slots than there are."""

    @pytest.fixture
    def room(self):
        return build(slots=10, flood=10, kept=QueueConfig(max_workers=10, min_workers=2))

    def test_asks_first_for_those_that_slots_are_kept_for(self, room):
        assert asked(room) == ({"kept": 5}, 5)

    def test_leaves_what_is_kept(self, room):
        room.producers["kept"].may_have_work = False

        assert asked(room) == ({"flood": 8}, 8)
        assert room.producers["flood"].allowance == 8

    def test_starts_what_waited_for_its_share(self, room):
        room.producers["kept"].may_have_work = False
        room.demands()
        flood = claim(room, "flood", 9)
        assert (flood.running, room.started) == (8, [])
        room.slots = 11
        room.demands()

        assert (flood.running, len(room.started)) == (9, 1)

    def test_ends_when_no_queue_needs_it_any_more(self, room):
        room.producers["kept"].may_have_work = False
        room.demands()
        room.adopt({"flood": room.producers["flood"]})

        assert room.producers["flood"].allowance is None
        assert asked(room) == ({"flood": 10}, 10)
