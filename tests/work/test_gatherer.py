"""What is gathered with what, when it starts, and what is asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from django_river import Batch, FixedRetry, JobBatch
from django_river.jobs.definition import Definition, JobOptions
from django_river.jobs.registry import Registry
from django_river.jobs.states import State
from django_river.storage.batches import LeftOut, LivingClient, Wanted
from django_river.work import gatherer as module
from django_river.work.batches import Member
from django_river.work.gatherer import FOR_EVER, Gatherer
from django_river.work.homes import Homes
from django_river.work.producer import Producer
from tests.work.building import Settled, claimed, registry_of


@dataclass
class Item:
    number: int
    tenant: str = "a"
    tags: tuple[str, ...] = ()


def many(batch: JobBatch[Item]) -> None:
    """A batch function."""


@pytest.fixture
def settled():
    return Settled()


@pytest.fixture
def producer():
    return Producer("default", max_workers=3)


@pytest.fixture
def build(settled):
    def build(**batch):
        options = {"batch": Batch(**{"wait": 3600} | batch), "retry": FixedRetry(60)}
        return Gatherer(registry=registry_of(many=(many, options)), homes=Homes("me"), settle=settled)

    return build


def member(producer, number=0, **args):
    raw = json.dumps({"number": number, **args}).encode()
    return Member(claimed(kind="many", queue=producer.name, args=raw), producer)


def alias(producer):
    return Member(claimed(kind="old", queue=producer.name, args=b'{"number":1}'), producer)


def members(producer, count, **args):
    return [member(producer, number, **args) for number in range(count)]


def sizes(calls):
    return [len(call.members) for call in calls]


class TestStart:
    def test_is_when_a_batch_is_full(self, build, producer):
        gatherer = build(size=3)
        gatherer.add(members(producer, 2))
        assert gatherer.start(9) == []

        gatherer.add(members(producer, 5))
        assert sizes(gatherer.start(9)) == [3, 3]

    def test_is_when_a_batch_has_waited(self, build, producer):
        gatherer = build(size=3, wait=0)
        gatherer.add(members(producer, 2))

        assert sizes(gatherer.start(9)) == [2]
        assert gatherer.start(9) == []

    def test_waits_for_slots_and_reserves_them(self, build, producer):
        gatherer = build(size=1)
        gatherer.add(members(producer, 5))
        for call in gatherer.start(9):
            producer.admit([call])

        assert (producer.load, producer.reserved, gatherer.is_held_up) == (3, 2, True)
        assert producer.demand() == 0
        producer.release()
        assert sizes(gatherer.start(9)) == [1]
        assert producer.reserved == 1

    def test_waits_for_room_in_the_client(self, build, producer):
        gatherer = build(size=1)
        gatherer.add(members(producer, 3))

        assert gatherer.start(0) == []
        assert sizes(gatherer.start(2)) == [1, 1]

    def test_waits_for_a_call_of_its_kind_to_end(self, build, producer):
        gatherer = build(size=1, max_concurrent=1)
        gatherer.add(members(producer, 2))
        (call,) = gatherer.start(9)
        assert gatherer.left_out(["default"]) == [LeftOut(queue="default", kind="many", seconds=FOR_EVER)]
        assert (gatherer.start(9), gatherer.let_in()) == ([], [])

        call.take()
        assert sizes(gatherer.start(9)) == [1]

    def test_waits_for_a_call_of_its_kind_and_not_for_a_slot(self, build, producer):
        gatherer = build(size=1, max_concurrent=1, by="tenant")
        gatherer.add([member(producer, tenant=tenant) for tenant in "abc"])
        producer.admit(gatherer.start(9))

        assert (producer.free, producer.reserved, gatherer.is_held_up) == (2, 0, True)
        assert producer.demand() == 2

    def test_waits_for_calls_of_what_its_kind_was_called_before(self, settled, producer):
        registry = Registry()
        options = JobOptions(batch=Batch(size=1, max_concurrent=1))
        registry.add(Definition(many, kind="many", aliases=["old"], options=options))
        gatherer = Gatherer(registry=registry, homes=Homes("me"), settle=settled)
        gatherer.add([member(producer), alias(producer)])

        assert sizes(gatherer.start(9)) == [1]
        assert {out.kind for out in gatherer.left_out(["default"])} == {"many", "old"}

    def test_is_not_in_a_queue_that_is_paused(self, build, producer):
        gatherer = build(size=1)
        producer.is_paused = True
        gatherer.add(members(producer, 1))

        assert gatherer.start(9) == []

    def test_is_ahead_of_time_when_too_many_are_open(self, build, producer, monkeypatch):
        monkeypatch.setattr(module, "MOST_OPEN", 2)
        gatherer = build(by="tenant")
        for tenant in "abcd":
            gatherer.add([member(producer, tenant=tenant)])

        assert [call.key for call in gatherer.start(9)] == ["a", "b"]

    def test_is_not_ahead_of_time_when_all_have_waited(self, build, producer, settled, monkeypatch):
        monkeypatch.setattr(module, "MOST_OPEN", 2)
        gatherer = build(by="tenant", wait=0)
        gatherer.add([member(producer, tenant=tenant) for tenant in "abcd"])

        assert settled == []
        assert [call.key for call in gatherer.start(9)] == ["a", "b", "c"]


class TestKeys:
    @pytest.mark.parametrize("by", ["tenant", lambda args: args.tenant], ids=["name", "function"])
    def test_are_kept_apart(self, build, producer, by):
        gatherer = build(size=2, by=by)
        for tenant in "abab":
            gatherer.add([member(producer, tenant=tenant)])

        assert sorted((call.key, len(call.members)) for call in gatherer.start(9)) == [("a", 2), ("b", 2)]

    def test_that_cannot_be_told_harm_their_item_only(self, build, producer, settled):
        def by(args):
            if args.number == 1:
                raise LookupError("no such tenant")
            return args.tenant if args.number else [args.tenant]

        gatherer = build(size=2, by=by)
        gatherer.add(members(producer, 4))

        assert sizes(gatherer.start(9)) == [2]
        assert [outcome.error for _, outcome in settled] == [
            "TypeError: by must give something hashable, got ['a']",
            "LookupError: no such tenant",
        ]
        assert {outcome.state for _, outcome in settled} == {State.RETRYABLE}
        assert "raise LookupError" in settled[1][1].trace

    @pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()], ids=repr)
    def test_whose_function_would_end_the_process_harm_their_item_only(self, build, producer, settled, error):
        def by(args):
            if args.number == 0:
                raise error

        gatherer = build(size=2, by=by)
        gatherer.add(members(producer, 3))

        assert sizes(gatherer.start(9)) == [2]
        assert len(settled) == 1

    def test_that_cannot_be_asked_for_harm_their_item_only(self, settled, producer):
        @dataclass
        class Made(Item):
            def __post_init__(self):
                if self.number == 0:
                    self.tenant = object

        options = {"batch": Batch(size=2, by="tenant"), "item": Made}
        gatherer = Gatherer(registry=registry_of(many=(many, options)), homes=Homes("me"), settle=settled)
        gatherer.add(members(producer, 2))

        assert [len(batch.members) for batch in gatherer.to_fill(9)] == [1]
        (outcome,) = (outcome for _, outcome in settled)
        assert outcome.error.startswith("TypeError: by must give a JSON value")

    def test_that_do_not_compare_harm_their_item_only(self, build, producer, settled):
        class Strange:
            def __hash__(self):
                return 1

            def __eq__(self, other):
                raise RuntimeError("never")

        gatherer = build(size=9, by=lambda args: Strange())
        gatherer.add(members(producer, 2))

        assert [outcome.error for _, outcome in settled] == ["RuntimeError: never"]

    def test_of_what_cannot_be_decoded_harm_it_only(self, build, producer, settled):
        gatherer = build(size=2, by="tenant")
        bad = Member(claimed(kind="many", args=b'{"number":"x"}'), producer)
        gatherer.add([member(producer), bad, member(producer)])

        assert sizes(gatherer.start(9)) == [2]
        assert settled.ids == [bad.job.id]

    def test_are_not_looked_at_without_by(self, build, producer, settled):
        gatherer = build(size=1)
        gatherer.add([Member(claimed(kind="many", args=b"no JSON"), producer)])

        assert sizes(gatherer.start(9)) == [1]
        assert settled == []


class TestFilling:
    def wanted(self, gatherer, room=9):
        return [batch.wanted() for batch in gatherer.to_fill(room)]

    def test_asks_for_the_kind_and_the_key(self, build, producer):
        gatherer = build(size=10, by="tenant")
        gatherer.add([member(producer, tenant='a"b')])

        assert self.wanted(gatherer) == [
            Wanted(queue="default", kind="many", limit=9, argument="tenant", value='"a\\"b"')
        ]

    def test_asks_for_the_kind_if_a_function_knows_the_key(self, build, producer):
        gatherer = build(size=10, by=lambda args: args.tenant)
        gatherer.add(members(producer, 2))

        assert self.wanted(gatherer) == [Wanted(queue="default", kind="many", limit=8)]

    def test_is_for_batches_that_have_a_slot(self, build, producer):
        gatherer = build(size=10, by="tenant")
        for tenant in "abcde":
            gatherer.add([member(producer, tenant=tenant)])

        assert len(self.wanted(gatherer)) == 3
        assert len(self.wanted(gatherer, room=1)) == 1

    def test_is_not_tried_if_there_is_nothing_more(self, build, producer):
        gatherer = build(size=10)
        gatherer.add(members(producer, 2))
        producer.may_have_work = False

        assert self.wanted(gatherer) == []

    def test_is_not_tried_again_at_once(self, build, producer):
        gatherer = build(size=10)
        gatherer.add(members(producer, 2))
        for batch in gatherer.to_fill(9):
            batch.was_asked_for_in_vain()
        assert self.wanted(gatherer) == []

        gatherer.add(members(producer, 1))
        assert len(self.wanted(gatherer)) == 1

    def test_by_function_is_bounded(self, build, producer, monkeypatch):
        monkeypatch.setattr(module, "MOST_HELD", 4)
        gatherer = build(size=10, by=lambda args: args.number)
        gatherer.add(members(producer, 4))

        assert self.wanted(gatherer) == []


class TestTakingBack:
    def test_takes_all_of_a_queue(self, build, producer):
        other = Producer("other", max_workers=1)
        gatherer = build(size=2)
        gatherer.add(members(producer, 3) + members(other, 1))

        assert len(producer.take_waiting()) == 3
        assert (len(producer.take_waiting()), len(other.take_waiting())) == (0, 1)

    def test_takes_what_has_been_ready_for_long(self, build, producer):
        gatherer = build(size=2, by="tenant")
        producer.admit(members(producer, 3))
        gatherer.add(members(producer, 2, tenant="full") + members(producer, 1, tenant="open"))

        assert producer.take_waiting(longer_than=60) == []
        assert len(producer.take_waiting(longer_than=0)) == 2


class TestHomes:
    @pytest.fixture
    def homes(self):
        names = ("one", "two", "three")
        homes = [Homes(name) for name in names]
        for home in homes:
            home.refresh([LivingClient(name, ["default", "other"]) for name in names])
        return homes

    @pytest.mark.parametrize("kind", ["a", "b", "c", "d", "e"])
    def test_every_kind_has_one(self, homes, kind):
        assert [home.is_here("default", kind) for home in homes].count(True) == 1

    def test_are_spread(self, homes):
        counts = [sum(home.is_here("default", str(kind)) for kind in range(300)) for home in homes]

        assert min(counts) > 60

    def test_are_here_when_nobody_else_works_the_queue(self):
        home = Homes("one")
        assert home.is_here("default", "a")
        home.refresh([LivingClient("one", ["default"]), LivingClient("two", ["other"])])

        assert all(home.is_here("default", str(kind)) for kind in range(50))

    def test_are_here_for_the_queues_of_a_leader(self):
        home = Homes("one", is_leader_bound={"default"}.__contains__)
        home.refresh([LivingClient(name, ["default", "other"]) for name in ("one", "two", "three")])

        assert all(home.is_here("default", str(kind)) for kind in range(50))
        assert not all(home.is_here("other", str(kind)) for kind in range(50))

    def test_may_be_asked_for_while_a_kind_is_seen_in_another_queue(self, build):
        gatherer = build()
        elsewhere = [Producer(name, max_workers=1) for name in ("other", "third")]

        def is_here(queue, kind):
            if queue == "default" and elsewhere:
                gatherer.add([member(elsewhere.pop()), member(elsewhere.pop())])
            return False

        gatherer.homes.is_here = is_here
        assert gatherer.patience("default") == 3600

    def test_elsewhere_leave_young_jobs_to_them(self, build, producer):
        gatherer = build(wait=0.5)
        gatherer.homes.is_here = lambda queue, kind: False
        gatherer.add(members(producer, 1))

        assert gatherer.left_out(["default", "x"]) == [LeftOut(queue="default", kind="many", seconds=0.5)]
        assert (gatherer.patience("default"), gatherer.patience("x")) == (0.5, 0.0)
        assert sizes(gatherer.start(9)) == [1]
