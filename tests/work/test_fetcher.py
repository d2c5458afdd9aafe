"""Claiming: what wakes the fetcher, what it asks for, and what it hands back."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from django.db import OperationalError, connection

from django_river import Batch, JobBatch, operations
from django_river.conf import Config
from django_river.jobs.definition import Definition, JobOptions
from django_river.models import Job
from django_river.queue_options import QueueConfig
from django_river.service import Backoff
from django_river.work import fetcher as module
from django_river.work import lookout as lookout_module
from django_river.work import producer as producer_module
from django_river.work.attempts import Attempts
from django_river.work.completer import Completer
from django_river.work.fetcher import Fetcher
from django_river.work.gatherer import Gatherer
from django_river.work.homes import Homes
from django_river.work.lookout import Lookout
from django_river.work.producer import Producer
from django_river.work.room import Room
from django_river.work.workers import Workers
from tests.factories import JobFactory
from tests.waiting import wait_until
from tests.work.building import Unreliable, believe_in_speed, registry_of, times


@dataclass
class Item:
    number: int


class Worked:
    """The job of these tests: waits while it is held, and notes what it did."""

    def __init__(self):
        self.ran = []
        self.inside = 0
        self.most = 0
        self.open = threading.Event()
        self.open.set()
        self._lock = threading.Lock()

    def job(self, number: int, held: bool = False) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        if held:
            self.open.wait(20)
        with self._lock:
            self.inside -= 1
            self.ran.append(number)

    async def job_async(self, number: int) -> None:
        self.ran.append(number)


def many(batch: JobBatch[Item]) -> None:
    """A batch function."""


@pytest.fixture
def worked():
    worked = Worked()
    yield worked
    worked.open.set()


@pytest.fixture
def build(open_store, worked):
    """Builds a fetcher with real workers and a real completer around it; polls every hour unless told."""
    built = []

    def build(*, queues=(("default", 10),), slots=10, poll_interval=3600.0):
        registry = registry_of(work=worked.job, work_async=worked.job_async)
        attempts = Attempts()
        completer = Completer(storage=open_store(), client_id="me", attempts=attempts, registry=registry)
        storage = Unreliable(open_store())
        producers = {
            name: Producer(
                name, config=config if isinstance(config, QueueConfig) else QueueConfig(max_workers=config)
            )
            for name, config in dict(queues).items()
        }
        room = Room(producers=producers, slots=slots)
        workers = Workers(
            client_id="me",
            config=Config(),
            registry=registry,
            attempts=attempts,
            completer=completer,
            slots=slots,
            on_room=room.freed,
        )
        fetcher = Fetcher(
            storage=storage,
            client_id="me",
            lookout=Lookout(
                storage=storage, producers=producers, attempts=attempts, poll_interval=poll_interval
            ),
            room=room,
            attempts=attempts,
            completer=completer,
            workers=workers,
        )
        fetcher._backoff = Backoff(first=0.01, longest=0.01)
        completer.start()
        built.append(fetcher)
        return fetcher

    yield build
    for fetcher in built:
        worked.open.set()
        assert fetcher.stop(10)
        assert fetcher.workers.stop(10)
        assert fetcher.completer.stop(10)


def jobs(count, *, kind="work", queue="default", held=False):
    args = {"held": True} if held else {}
    return [
        JobFactory(available=True, kind=kind, queue=queue, args={"number": number, **args}).pk
        for number in range(count)
    ]


def states():
    return sorted(Job.objects.values_list("state", flat=True))


def claims(fetcher):
    """The demands of each claim so far: {queue: limit}, and the limit of all together."""
    return [({d.queue: d.limit for d in demands}, limit) for _, demands, limit in fetcher.storage.calls]


def settle_down(fetcher):
    """Wait until the fetcher has looked, and found nothing more."""
    wait_until(
        lambda: (
            not any(p.may_have_work for p in fetcher.producers.values()) and not fetcher.lookout._look_again
        )
    )


class TestLooking:
    def test_begins_with_a_look(self, build, worked):
        jobs(3)
        build().start()

        wait_until(lambda: sorted(worked.ran) == [0, 1, 2])
        wait_until(lambda: states() == ["completed"] * 3)

    def test_follows_a_hint_at_once(self, build, worked):
        fetcher = build()
        fetcher.start()
        settle_down(fetcher)
        jobs(1)
        fetcher.lookout.hint(["default"])

        wait_until(lambda: worked.ran)

    def test_follows_a_hint_once_more(self, build, worked, monkeypatch):
        monkeypatch.setattr(lookout_module, "LOOK_AGAIN", 0.2)
        fetcher = build()
        fetcher.start()
        settle_down(fetcher)
        fetcher.lookout.hint(["default"])
        wait_until(lambda: not fetcher.producers["default"].may_have_work)
        jobs(1)

        wait_until(lambda: worked.ran)

    def test_a_poll_finds_what_nobody_hinted_at(self, build, worked):
        fetcher = build(poll_interval=0.05)
        fetcher.start()
        settle_down(fetcher)
        jobs(1)

        wait_until(lambda: worked.ran)

    def test_a_full_answer_is_followed_by_another_claim(self, build, worked):
        jobs(35)
        fetcher = build()
        fetcher.start()

        wait_until(lambda: len(worked.ran) == 35)

    def test_a_hint_during_a_claim_is_not_forgotten(self, build, worked):
        def enqueue_behind(*args):
            if len(fetcher.storage.calls) == 1:
                jobs(1)
                connection.close()
                fetcher.producers["default"].may_have_work = True

        fetcher = build()
        fetcher.storage.after = enqueue_behind
        fetcher.start()

        wait_until(lambda: worked.ran)

    def test_a_paused_queue_is_not_asked(self, build, worked):
        jobs(1)
        fetcher = build(queues=(("default", 1), ("other", 1)))
        fetcher.producers["default"].is_paused = True
        fetcher.start()
        wait_until(lambda: fetcher.storage.calls)

        assert claims(fetcher)[0] == ({"other": 1}, 1)
        assert worked.ran == []

    def test_looks_into_queues_in_which_a_batch_kind_has_calls_again_if_they_are_still_there(self, build):
        fetcher = build()
        registry = registry_of(many=(many, {"batch": Batch(size=10)}))
        gatherer = Gatherer(registry=registry, homes=Homes("me"), settle=fetcher.workers.settle)
        gatherer._kept_out = {(queue, "many") for queue in ("gone", "default", "gone too")}
        producer = fetcher.producers["default"]
        producer.may_have_work = producer.bookmark.has_news = False
        fetcher._work_batches(gatherer)

        assert producer.may_have_work
        # Their jobs stand where the claims have passed.
        assert producer.bookmark.has_news

    def test_without_queues_is_idle(self, build):
        fetcher = build(queues=())
        fetcher.start()

        assert fetcher.stop(5)
        assert not fetcher.storage.calls


class TestSlots:
    def test_no_queue_runs_more_than_its_own(self, build, worked):
        worked.open.clear()
        jobs(20, held=True)
        fetcher = build(queues=(("default", 3),))
        fetcher.start()
        wait_until(lambda: worked.inside == 3)
        worked.open.set()

        wait_until(lambda: len(worked.ran) == 20)
        assert worked.most == 3

    def test_all_queues_together_run_no_more_than_the_client_has(self, build, worked):
        worked.open.clear()
        for queue in ("a", "b", "c"):
            jobs(10, queue=queue, held=True)
        fetcher = build(queues=(("a", 10), ("b", 10), ("c", 10)), slots=4)
        fetcher.start()
        wait_until(lambda: worked.inside == 4)
        assert len(fetcher.attempts) == 4
        worked.open.set()

        wait_until(lambda: len(worked.ran) == 30)
        assert worked.most == 4

    def test_a_job_that_ends_makes_room_for_another_queue(self, build, worked):
        worked.open.clear()
        jobs(1, queue="a", held=True)
        fetcher = build(queues=(("a", 1), ("b", 1)), slots=1)
        fetcher.start()
        wait_until(lambda: worked.inside == 1)
        settle_down_but(fetcher, "b")
        jobs(1, queue="b")
        fetcher.lookout.hint(["b"])
        worked.open.set()

        wait_until(lambda: len(worked.ran) == 2)

    def test_an_overbooked_client_does_not_spin(self, build, worked, monkeypatch):
        worked.open.clear()
        jobs(1, held=True)
        fetcher = build(queues=(("default", 1), ("b", 5)), slots=1)
        fetcher.start()
        wait_until(lambda: worked.inside == 1)
        # As when jobs were fast and have become slow: more is claimed than slots can take.
        producer = fetcher.producers["default"]
        producer._waiting.extend([None] * 5)
        producer._waiting_since = float("inf")
        fetcher.lookout.hint(["b"])
        wait_until(lambda: fetcher.room._awaited)

        pauses = [fetcher.step() for _ in range(3)]
        producer._waiting.clear()
        assert min(pauses) > 0

    def test_async_jobs_are_claimed_alike(self, build, worked):
        jobs(20, kind="work_async")
        fetcher = build()
        fetcher.start()

        wait_until(lambda: states() == ["completed"] * 20)


def settle_down_but(fetcher, queue):
    wait_until(lambda: fetcher.room._awaited or not fetcher.producers[queue].may_have_work)


class TestHandingBack:
    def test_of_what_waits_too_long_for_a_slot(self, build, worked, monkeypatch):
        monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
        worked.open.clear()
        fetcher = build(queues=(("default", 1),), poll_interval=0.1)
        believe_in_speed(fetcher)
        jobs(10, held=True)
        fetcher.start()
        wait_until(
            lambda: worked.inside == 1 and len(fetcher.attempts) == 1 and states().count("available") == 9
        )

        assert set(Job.objects.filter(state="available").values_list("attempt", flat=True)) == {0}

    def test_of_what_waits_too_long_for_a_thread(self, build, worked, monkeypatch):
        monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
        worked.open.clear()
        fetcher = build(queues=(("a", 2), ("b", 2)), slots=2, poll_interval=0.1)
        jobs(2, queue="a", held=True)
        fetcher.start()
        wait_until(lambda: worked.inside == 2)
        fetcher.room.slots = 4
        jobs(4, queue="b")
        fetcher.lookout.hint(["b"])
        wait_until(lambda: len(fetcher.attempts) == 4)
        fetcher.room.slots = 2
        wait_until(lambda: states().count("available") == 4)

        assert fetcher.producers["b"].load == 0
        worked.open.set()
        wait_until(lambda: states() == ["completed"] * 6)

    def test_of_what_waits_too_long_for_the_loop(self, build, worked, monkeypatch):
        async def block(number: int):
            worked.inside += 1
            worked.open.wait(20)

        monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
        worked.open.clear()
        fetcher = build(poll_interval=0.1)
        fetcher.workers.registry.add(Definition(block, kind="block", options=JobOptions()))
        jobs(1, kind="block")
        fetcher.start()
        wait_until(lambda: worked.inside)
        waiting = jobs(3, kind="work_async")
        fetcher.lookout.hint(())

        wait_until(
            lambda: Job.objects.filter(pk__in=waiting, attempted_by__isnull=False, state="available").exists()
        )
        worked.open.set()
        wait_until(lambda: Job.objects.filter(pk__in=waiting, state="completed").count() == 3)

    def test_of_what_a_pause_has_overtaken(self, build, worked):
        def pause(*args):
            fetcher.producers["default"].is_paused = True

        jobs(5)
        fetcher = build()
        fetcher.storage.after = pause
        fetcher.start()
        wait_until(lambda: Job.objects.filter(attempted_by__isnull=False, state="available").count() == 5)

        assert (worked.ran, fetcher.producers["default"].load) == ([], 0)

    def test_of_what_gets_no_thread(self, build, worked, monkeypatch):
        def refuse(*attempts):
            raise RuntimeError("can't start new thread")

        jobs(2, kind="work_async")
        fetcher = build(poll_interval=0.05)
        with monkeypatch.context() as patch:
            patch.setattr(fetcher.workers.event_loop, "submit", refuse)
            fetcher.start()
            wait_until(lambda: fetcher._backoff.failures)
        wait_until(lambda: states() == ["completed"] * 2)

        assert set(Job.objects.values_list("attempt", flat=True)) == {1}


class TestLostAnswer:
    def test_of_a_claim_is_handed_back_and_claimed_again(self, build, worked, caplog):
        jobs(5)
        fetcher = build()
        fetcher.storage.after = times(1, OperationalError("the connection was cut"))
        fetcher.start()
        wait_until(lambda: states() == ["completed"] * 5)

        assert sorted(worked.ran) == [0, 1, 2, 3, 4]
        assert set(Job.objects.values_list("attempt", flat=True)) == {1}
        assert "handed back 5 jobs that were claimed by a statement without answer" in caplog.text

    def test_keeps_what_runs_meanwhile(self, build, worked):
        worked.open.clear()
        (running,) = jobs(1, held=True)
        fetcher = build()
        fetcher.start()
        wait_until(lambda: worked.inside == 1)
        fetcher.storage.after = times(1, OperationalError("the connection was cut"))
        jobs(3)
        fetcher.lookout.hint(())
        wait_until(lambda: len(worked.ran) == 3)

        assert Job.objects.get(pk=running).state == "running"

    def test_at_the_end_is_handed_back_too(self, build, worked):
        jobs(2)
        fetcher = build()
        fetcher._backoff = Backoff(first=3600, longest=3600)
        fetcher.storage.after = times(1, OperationalError("the connection was cut"))
        fetcher.start()
        wait_until(lambda: fetcher._backoff.failures)
        assert fetcher.is_claiming
        fetcher.stop(10)

        assert states() == ["available"] * 2
        assert not fetcher.is_claiming

    def test_of_a_claim_that_is_committed_later_is_handed_back_later(self, build, worked, store, monkeypatch):
        monkeypatch.setattr(module, "LATE_SECONDS", 0.5)
        fetcher = build(poll_interval=0.05)
        fetcher.storage.before = times(1, OperationalError("the connection was cut"))
        (late,) = jobs(1)
        Job.objects.filter(pk=late).update(state="pending")
        fetcher.start()
        wait_until(lambda: len(fetcher.storage.calls) > 1)
        # The server was slow: only now what it was asked for takes effect.
        Job.objects.filter(pk=late).update(state="running", attempt=1, attempted_by=["me"])

        wait_until(lambda: Job.objects.get(pk=late).state == "completed")
        assert fetcher._late_until is None

    def test_closes_its_connection_though_the_database_is_away_at_the_end(self, build, monkeypatch, caplog):
        closed = []
        fetcher = build()
        fetcher._backoff = Backoff(first=3600, longest=3600)
        fetcher.storage.before = times(1, OperationalError("away"))
        fetcher.start()
        wait_until(lambda: fetcher._backoff.failures)
        monkeypatch.setattr(
            fetcher.storage.storage, "job_release_unknown", times(1, OperationalError("away"))
        )
        monkeypatch.setattr(fetcher.storage.storage, "close", lambda: closed.append(1))
        fetcher.stop(10)
        monkeypatch.undo()

        assert closed
        assert "fetcher could not clean up" in caplog.text


class TestBackpressure:
    def test_nothing_is_claimed_while_the_completer_is_choked(self, build, worked, monkeypatch):
        fetcher = build()
        monkeypatch.setattr(module, "CHOKED_SECONDS", 0.01)
        with monkeypatch.context() as patch:
            patch.setattr(Completer, "is_choked", True)
            jobs(1)
            fetcher.start()
            wait_until(lambda: fetcher.is_running)
            fetcher.wake()
            assert fetcher.step() == 0.01
            assert not fetcher.storage.calls

        wait_until(lambda: worked.ran)


class TestPriority:
    def test_of_one_queue_is_kept(self, build, worked):
        for number, priority in enumerate((4, 2, 1, 3)):
            JobFactory(available=True, kind="work", args={"number": number}, priority=priority)
        fetcher = build(queues=(("default", 1),), slots=1)
        fetcher.start()
        wait_until(lambda: len(worked.ran) == 4)

        assert worked.ran == [2, 1, 3, 0]

    def test_a_cancelled_job_is_not_claimed(self, build, worked):
        first, _ = jobs(2)
        operations.cancel(first)
        build().start()
        wait_until(lambda: worked.ran)

        assert worked.ran == [1]


def test_a_burst_of_fast_jobs_goes_through_in_batches(build, worked, monkeypatch):
    monkeypatch.setattr(producer_module, "RATE_WINDOW", 0.001)
    jobs(500)
    fetcher = build()
    fetcher.start()
    wait_until(lambda: len(worked.ran) == 500, 30)

    assert len(fetcher.storage.calls) < 60


def afters(fetcher):
    """Where each claim so far began."""
    return [demand.after for _, (demand,), _ in fetcher.storage.calls]


class TestBookmark:
    def test_claims_go_on_where_the_last_one_ended_and_look_at_the_start_before_they_end(self, build):
        fetcher = build(queues=(("default", 2),), slots=2)
        # However long the claims take here.
        fetcher.producers["default"].bookmark._is_cheap = False
        jobs(20)
        fetcher.start()
        wait_until(lambda: states() == ["completed"] * 20 and afters(fetcher)[-1] is None)

        assert afters(fetcher)[0] is None
        assert any(after is not None for after in afters(fetcher))

    def test_what_comes_before_it_is_claimed_first_when_somebody_says_so(self, build, worked):
        fetcher = build(queues=(("default", 1),), slots=1)
        producer, ids = fetcher.producers["default"], jobs(3)
        Job.objects.filter(pk__in=ids).update(priority=3)
        fetcher.step()
        producer.bookmark._start_at, producer.bookmark._is_cheap = float("inf"), True
        urgent = JobFactory(available=True, kind="work", priority=1, args={"number": 7}).pk
        fetcher.lookout.hint(["default"])
        wait_until(lambda: producer.load == 0)
        fetcher.step()

        assert Job.objects.get(pk=urgent).attempt == 1


class TestSharedSlots:
    """Slots that have to be shared out, with real jobs."""

    def test_that_are_reserved_are_free_in_a_flood(self, build, worked):
        fetcher = build(
            queues={"flood": QueueConfig(max_workers=10), "one": QueueConfig(max_workers=10, min_workers=1)}
        )
        worked.open.clear()
        jobs(50, queue="flood", held=True)
        fetcher.start()
        wait_until(lambda: worked.inside == 9)
        pk = jobs(1, queue="one")[0]
        fetcher.lookout.hint(["one"])
        wait_until(lambda: Job.objects.get(pk=pk).state == "completed")

        assert (worked.inside, worked.most) == (9, 10)
        worked.open.set()
        wait_until(lambda: states() == ["completed"] * 51)

    def test_go_by_weight_when_both_have_work(self, build, worked):
        fetcher = build(
            queues={"heavy": QueueConfig(max_workers=10, weight=4), "light": QueueConfig(max_workers=10)}
        )
        worked.open.clear()
        jobs(30, queue="light", held=True)
        jobs(30, queue="heavy", held=True)
        fetcher.start()
        wait_until(lambda: worked.inside == 10)

        assert [fetcher.producers[name].running for name in ("heavy", "light")] == [8, 2]

    def test_go_to_whoever_has_work(self, build, worked):
        fetcher = build(
            queues={"heavy": QueueConfig(max_workers=10, weight=4), "light": QueueConfig(max_workers=10)}
        )
        worked.open.clear()
        jobs(30, queue="light", held=True)
        fetcher.start()
        wait_until(lambda: worked.inside == 10)

        assert fetcher.producers["light"].running == 10
        worked.open.set()
        wait_until(lambda: states() == ["completed"] * 30)

    def test_are_given_back_to_who_comes_later(self, build, worked):
        fetcher = build(
            queues={"a": QueueConfig(max_workers=10, weight=2), "b": QueueConfig(max_workers=10, weight=2)}
        )
        believe_in_speed(fetcher)
        made = jobs(400, queue="a")
        fetcher.start()
        wait_until(lambda: worked.ran)
        made += jobs(100, queue="b")
        fetcher.lookout.hint(["b"])

        wait_until(lambda: states() == ["completed"] * len(made), 30)
        assert worked.most <= 10
