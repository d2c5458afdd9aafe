"""Claiming: what wakes the fetcher, what it asks for, and what it hands back."""

from __future__ import annotations

import itertools
import threading

import pytest
from django.db import OperationalError, connection

from django_river import operations
from django_river.conf import Config
from django_river.jobs.batch import Batch
from django_river.jobs.definition import Definition, JobOptions
from django_river.models import Job
from django_river.queue_options import QueueConfig
from django_river.service import Backoff
from django_river.storage.base import Demand
from django_river.work import fetcher as module
from django_river.work import producer as producer_module
from django_river.work.attempts import Attempts
from django_river.work.completer import Completer
from django_river.work.fetcher import Fetcher
from django_river.work.gatherer import Gatherer
from django_river.work.homes import Homes
from django_river.work.producer import Producer
from django_river.work.workers import Workers
from tests.factories import JobFactory
from tests.waiting import wait_until
from tests.work.building import Unreliable, attempt_at, believe_in_speed, registry_of, times


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
        fetcher = Fetcher(
            storage=Unreliable(open_store()),
            client_id="me",
            producers={
                name: Producer(
                    name,
                    config=config if isinstance(config, QueueConfig) else QueueConfig(max_workers=config),
                )
                for name, config in dict(queues).items()
            },
            attempts=attempts,
            completer=completer,
            poll_interval=poll_interval,
            slots=slots,
        )
        fetcher._backoff = Backoff(first=0.01, longest=0.01)
        fetcher.workers = Workers(
            client_id="me",
            config=Config(),
            registry=registry,
            attempts=attempts,
            completer=completer,
            slots=slots,
            on_room=fetcher.freed,
        )
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
        lambda: not any(p.may_have_work for p in fetcher.producers.values()) and not fetcher._look_again
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
        fetcher.hint(["default"])

        wait_until(lambda: worked.ran)

    def test_follows_a_hint_once_more(self, build, worked, monkeypatch):
        monkeypatch.setattr(module, "LOOK_AGAIN", 0.2)
        fetcher = build()
        fetcher.start()
        settle_down(fetcher)
        fetcher.hint(["default"])
        wait_until(lambda: not fetcher.producers["default"].may_have_work)
        jobs(1)

        wait_until(lambda: worked.ran)

    def test_a_stream_of_hints_puts_off_no_other_second_look(self, build, worked, monkeypatch):
        monkeypatch.setattr(module, "LOOK_AGAIN", 0.5)
        fetcher = build(queues=(("a", 1), ("b", 1)))
        fetcher.start()
        settle_down(fetcher)
        fetcher.hint(["b"])
        wait_until(lambda: not fetcher.producers["b"].may_have_work)
        jobs(1, queue="b")

        wait_until(lambda: fetcher.hint(["a"]) or worked.ran)

    def test_a_hint_for_no_queue_of_ours_does_nothing(self, build, monkeypatch):
        woken = []
        fetcher = build()
        monkeypatch.setattr(fetcher, "wake", lambda: woken.append(1))
        fetcher.hint(["elsewhere"])
        assert not woken

        fetcher.hint(["elsewhere", "default"])
        fetcher.hint(())
        assert len(woken) == 2

    def test_a_poll_finds_what_nobody_hinted_at(self, build, worked):
        fetcher = build(poll_interval=0.05)
        fetcher.start()
        settle_down(fetcher)
        jobs(1)

        wait_until(lambda: worked.ran)

    def test_others_may_poll_for_it(self, build, worked):
        fetcher = build()
        fetcher.start()
        settle_down(fetcher)
        jobs(1)
        fetcher.poll.answer(["default", "elsewhere"])

        wait_until(lambda: worked.ran)

    def test_does_not_poll_while_others_do(self, build):
        fetcher = build()
        while (pause := fetcher.step()) == 0.0:
            pass
        assert pause < 1.1 * fetcher.poll_interval
        asked = len(fetcher.storage.calls)
        fetcher.poll.answer([])

        assert 1.1 * fetcher.poll_interval < fetcher.step() <= module.LEFT_TO_OTHERS * fetcher.poll_interval
        assert len(fetcher.storage.calls) == asked

    def test_polls_again_when_others_do_not(self, build, worked):
        fetcher = build(poll_interval=0.05)
        fetcher.start()
        settle_down(fetcher)
        fetcher.poll.answer([])
        jobs(1)

        wait_until(lambda: worked.ran)

    def test_leaves_polls_to_others_only_while_there_is_nothing_to_work(self, build, worked):
        fetcher = build()
        assert fetcher.poll.is_wanted()
        fetcher.poll.answer([])
        worked.open.clear()
        jobs(1, held=True)
        fetcher.start()
        wait_until(lambda: worked.inside)
        assert not fetcher.poll.is_wanted()

        worked.open.set()
        wait_until(fetcher.poll.is_wanted)

    @pytest.mark.parametrize(("part", "is_dear"), [(1.0, False), (1e-12, True)])
    def test_leaves_no_poll_to_others_that_would_take_much_of_their_time(
        self, build, monkeypatch, part, is_dear
    ):
        """Others may have thousands of queues, and a long transaction keeps the dead rows of all."""
        monkeypatch.setattr(module, "RIDING_PART", part)
        fetcher = build()
        assert fetcher.poll.is_wanted()
        fetcher.poll.answer([])

        if is_dear:
            assert not fetcher.poll.is_wanted()
        else:
            wait_until(fetcher.poll.is_wanted)

    def test_leaves_no_poll_to_others_after_one_that_has_failed(self, build):
        fetcher = build()

        assert fetcher.poll.is_wanted()
        assert not fetcher.poll.is_wanted()

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
        fetcher.hint(["b"])
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
        fetcher.hint(["b"])
        wait_until(lambda: fetcher._awaited)

        pauses = [fetcher.step() for _ in range(3)]
        producer._waiting.clear()
        assert min(pauses) > 0

    def test_queues_take_turns(self, build):
        fetcher = build(queues=(("a", 1), ("empty", 1), ("b", 1), ("c", 1)), slots=1)
        fetcher.producers["empty"].may_have_work = False
        looks = [fetcher._demands()[0] for _ in range(6)]

        assert [demands[0].queue for demands in looks] == ["a", "b", "c", "a", "b", "c"]
        assert all({demand.queue for demand in demands} == {"a", "b", "c"} for demands in looks)

    def test_many_queues_are_asked_in_parts_and_all_get_their_turn(self, build):
        names = [f"q{number}" for number in range(3 * module.MANY_QUEUES)]
        fetcher = build(queues=[(name, 1) for name in names], slots=1)
        looks = [[demand.queue for demand in fetcher._demands()[0]] for _ in range(3)]

        assert list(itertools.chain(*looks)) == names

    def test_many_queues_are_polled_by_one_statement(self, build, worked):
        names = [f"q{number}" for number in range(2 * module.MANY_QUEUES)]
        fetcher = build(queues=[(name, 1) for name in names])
        for producer in fetcher.producers.values():
            producer.may_have_work = False
        jobs(2, queue=names[7])
        jobs(1, queue="foreign")
        fetcher.start()
        wait_until(lambda: states().count("completed") == 2)

        assert {demand.queue for _, demands, _ in fetcher.storage.calls for demand in demands} == {names[7]}

    def test_queues_that_are_known_to_have_work_are_not_looked_for(self, build, monkeypatch):
        names = [f"q{number}" for number in range(2 * module.MANY_QUEUES)]
        fetcher = build(queues=[(name, 1) for name in names])
        looked = []
        monkeypatch.setattr(fetcher.storage.storage, "job_queues", lambda: looked.append(1) or [names[-1]])
        for name in names[: module.MANY_QUEUES + 1]:
            fetcher.producers[name].may_have_work = False

        assert fetcher._poll() == [names[-1]]
        fetcher.producers[names[0]].may_have_work = True
        assert fetcher._poll() == names[1 : module.MANY_QUEUES + 1]
        assert looked == [1]

    def test_turns_are_taken_by_claims_not_by_looks(self, build):
        fetcher = build(queues=(("a", 1), ("b", 1)), slots=1)
        fetcher.producers["a"].admit([attempt_at()])
        fetcher._loaded = [fetcher.producers["a"]]
        for _ in range(3):
            assert fetcher._demands() == ([], 0)
        fetcher.producers["a"].release()

        assert fetcher._demands()[0][0].queue == "a"

    def test_room_that_is_made_while_it_is_counted_is_not_missed(self, build, monkeypatch):
        rooms = iter([(0, 1), (1, 0)])
        fetcher = build(slots=1)
        monkeypatch.setattr(fetcher, "_room", lambda: next(rooms))

        assert fetcher._demands() == ([Demand(queue="default", limit=10)], 1)
        assert not fetcher._awaited

    def test_async_jobs_are_claimed_alike(self, build, worked):
        jobs(20, kind="work_async")
        fetcher = build()
        fetcher.start()

        wait_until(lambda: states() == ["completed"] * 20)


def settle_down_but(fetcher, queue):
    wait_until(lambda: fetcher._awaited or not fetcher.producers[queue].may_have_work)


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
        fetcher.slots = 4
        jobs(4, queue="b")
        fetcher.hint(["b"])
        wait_until(lambda: len(fetcher.attempts) == 4)
        fetcher.slots = 2
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
        fetcher.hint(())

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
        fetcher.hint(())
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


class TestDue:
    def test_jobs_are_found_when_they_are_due(self, build, worked):
        fetcher = build()
        fetcher.start()
        wait_until(lambda: not fetcher.producers["default"].may_have_work)
        job = JobFactory(available=True, kind="work", args={"number": 0})
        for seconds in (3600.0, 0.05, 0.1):
            fetcher.due_in("default", seconds)
        wait_until(lambda: worked.ran == [0])

        assert job.pk
        wait_until(lambda: len(fetcher._due) == 1)

    def test_others_queues_are_none_of_ours(self, build):
        fetcher = build()
        fetcher.due_in("elsewhere", 0.0)

        assert not fetcher._due

    def test_no_more_are_kept_in_mind_than_is_good(self, build, monkeypatch):
        monkeypatch.setattr(module, "MOST_DUE", 3)
        fetcher = build()
        for _ in range(5):
            fetcher.due_in("default", 60.0)

        assert len(fetcher._due) == 3


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


class TestBookmark:
    def test_claims_go_on_where_the_last_one_ended_and_look_at_the_start_before_they_end(self, build):
        fetcher = build(queues=(("default", 2),), slots=2)
        # However long the claims take here.
        fetcher.producers["default"].bookmark._is_cheap = False
        jobs(20)
        fetcher.start()
        wait_until(lambda: states() == ["completed"] * 20 and not fetcher.producers["default"].may_have_work)
        afters = [demand.after for _, (demand,), _ in fetcher.storage.calls]

        assert afters[0] is afters[-1] is None
        assert any(after is not None for after in afters)

    def test_what_comes_before_it_is_claimed_first_when_somebody_says_so(self, build, worked):
        fetcher = build(queues=(("default", 1),), slots=1)
        producer, ids = fetcher.producers["default"], jobs(3)
        Job.objects.filter(pk__in=ids).update(priority=3)
        fetcher.step()
        producer.bookmark._start_at, producer.bookmark._is_cheap = float("inf"), True
        urgent = JobFactory(available=True, kind="work", priority=1, args={"number": 7}).pk
        fetcher.hint(["default"])
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
        fetcher.hint(["one"])
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
        fetcher.hint(["b"])

        wait_until(lambda: states() == ["completed"] * len(made), 30)
        assert worked.most <= 10


class TestLetIn:
    """Jobs of a kind that had all its calls stand where the claims have passed."""

    @pytest.fixture
    def fetcher(self, build):
        fetcher = build()
        registry = registry_of(summed=(lambda batch: None, {"batch": Batch(size=1, max_concurrent=1)}))
        fetcher.gatherer = Gatherer(
            registry=registry,
            homes=Homes("me", is_leader_bound=lambda queue: False),
            settle=fetcher.workers.settle,
        )
        return fetcher

    def test_the_next_claim_begins_at_the_start(self, fetcher):
        producer = fetcher.producers["default"]
        producer.may_have_work = producer.bookmark.has_news = False
        fetcher.gatherer._kept_out = {("default", "summed")}
        fetcher._work_batches(fetcher.gatherer)

        assert producer.may_have_work
        assert producer.bookmark.has_news

    def test_their_queue_may_be_gone(self, fetcher):
        fetcher.gatherer._kept_out = {("gone", "summed")}
        fetcher._work_batches(fetcher.gatherer)

        assert fetcher.gatherer.let_in() == []
