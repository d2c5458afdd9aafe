"""Batches in a running client: gathered, worked, cancelled, handed back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river import Batch, FixedRetry, JobBatch, Unique, operations, queues
from django_river.client import Client
from django_river.conf import QueueConfig, config
from django_river.enqueue import BatchFunction
from django_river.jobs.states import OPEN
from django_river.models import Job
from django_river.work import queue_duties
from django_river.work.fetcher import Fetcher
from tests.factories import JobFactory
from tests.waiting import wait_until
from tests.work.building import registry_of

LONG = 3600.0


@dataclass
class Item:
    number: int
    tenant: str = "a"


class Calls:
    """The batch functions of these tests: note what they were called with, and do as they are told."""

    def __init__(self):
        self.calls = []
        self.singles = []
        self.inside = 0
        self.most = 0
        self.open = threading.Event()
        self.open.set()
        self.act = lambda batch: None
        self._lock = threading.Lock()

    def many(self, batch: JobBatch[Item]) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            self.open.wait(20)
            self.act(batch)
        finally:
            with self._lock:
                self.inside -= 1
                self.calls.append([item.args for item in batch])

    async def many_async(self, batch: JobBatch[Item]) -> None:
        self.many(batch)

    def single(self, number: int) -> None:
        self.singles.append(number)

    @property
    def sizes(self):
        return sorted(map(len, self.calls), reverse=True)


@pytest.fixture
def calls():
    calls = Calls()
    yield calls
    calls.open.set()


@pytest.fixture
def run(using, calls, monkeypatch):
    """Starts a client that knows a batch kind, ``many``, and a single one."""
    monkeypatch.setattr(queue_duties, "RECONCILE_POLLING", 0.05)
    started = []

    def run(
        batch, *, slots=10, is_async=False, timeout=None, unique=None, name=None, queue="default", **changes
    ):
        function = calls.many_async if is_async else calls.many
        options = {"batch": batch, "retry": FixedRetry(LONG), "timeout": timeout, "unique": unique}
        registry = registry_of(many=(function, options), single=calls.single)
        settings = dataclasses.replace(
            config(), **{"stop_timeout": 10.0, "queues": {queue: QueueConfig(max_workers=slots)}, **changes}
        )
        client = Client(settings, can_lead=changes.pop("can_lead", False), registry=registry, client_id=name)
        client.start()
        started.append(client)
        return client

    yield run
    calls.open.set()
    for client in started:
        client.stop(timeout=0)


def jobs(count, *, kind="many", **given):
    return [JobFactory(kind=kind, args={"number": number}, **given).pk for number in range(count)]


def mixed(count, tenants):
    return [
        JobFactory(kind="many", args={"number": number, "tenant": f"t{number % tenants}"}).pk
        for number in range(count)
    ]


def states():
    return Counter(Job.objects.values_list("state", flat=True))


def all_done(count):
    return lambda: states() == {"completed": count}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
class TestGathering:
    def test_a_backlog_makes_full_batches(self, run, calls, is_async):
        jobs(230)
        run(Batch(size=50, wait=0.1), is_async=is_async)
        wait_until(all_done(230))

        assert calls.sizes == [50, 50, 50, 50, 30]
        assert set(Job.objects.values_list("attempt", flat=True)) == {1}

    @pytest.mark.parametrize("by", ["tenant", lambda args: args.tenant], ids=["name", "function"])
    def test_a_batch_has_one_key(self, run, calls, is_async, by):
        mixed(300, tenants=3)
        run(Batch(size=50, wait=0.3, by=by), is_async=is_async)
        wait_until(all_done(300))

        assert all(len({args.tenant for args in call}) == 1 for call in calls.calls)
        assert calls.sizes == [50] * 6

    def test_what_comes_singly_waits_for_others(self, run, calls, is_async):
        client = run(Batch(size=3, wait=LONG), is_async=is_async)
        for number in range(3):
            assert not calls.calls
            JobFactory(kind="many", args={"number": number})
            client.engine.lookout.hint(["default"])
            wait_until(lambda number=number: len(client.engine.attempts) == (number + 1) % 3)
        wait_until(all_done(3))

        assert calls.sizes == [3]

    def test_a_batch_that_has_waited_starts(self, run, calls, is_async):
        jobs(2)
        run(Batch(size=100, wait=0.05), is_async=is_async)
        wait_until(all_done(2))

        assert calls.sizes == [2]


class TestWhatASingleJobHas:
    """Unique keys, priority and schedule mean what they mean without a batch."""

    def test_a_unique_key_is_held_from_the_queue_to_the_end(self, run, calls):
        calls.open.clear()
        client = run(Batch(size=2, wait=LONG), unique=Unique(by_args=True, by_state=[*OPEN]))
        known = client.registry.get("many")
        kind = BatchFunction(known.function, kind="many", options=known.options)

        def again():
            return kind.enqueue(number=1).skipped_as_duplicate

        assert not again()
        wait_until(lambda: len(client.engine.attempts) == 1)
        assert again()  # while it is gathered
        kind.enqueue(number=2)
        wait_until(lambda: calls.inside == 1)
        assert again()  # while it runs
        calls.open.set()
        wait_until(all_done(2))
        assert not again()  # when it is over

    def test_the_urgent_come_first(self, run, calls):
        jobs(10, priority=4)
        jobs(10, priority=1)
        jobs(10, priority=3)
        run(Batch(size=10, wait=0.05), slots=1)
        wait_until(all_done(30))

        assert calls.sizes == [10, 10, 10]
        done = Job.objects.order_by("finalized_at", "priority").values_list("priority", flat=True)
        assert list(done) == [1] * 10 + [3] * 10 + [4] * 10

    def test_nothing_joins_before_its_time(self, run, calls):
        jobs(2)
        later = jobs(3, scheduled_at=timezone.now() + timedelta(hours=1), state="scheduled")
        dated = jobs(3, scheduled_at=timezone.now() + timedelta(hours=1))
        run(Batch(size=8, wait=0.05))
        wait_until(lambda: states()["completed"] == 2)

        assert calls.sizes == [2]
        assert not Job.objects.filter(pk__in=[*later, *dated]).exclude(attempt=0).exists()


class TestSlots:
    def test_a_batch_takes_one(self, run, calls):
        calls.open.clear()
        jobs(60)
        client = run(Batch(size=10, wait=0.01), slots=3)
        wait_until(lambda: calls.inside == 3)
        wait_until(lambda: len(client.engine.attempts) == 30)
        calls.open.set()
        wait_until(all_done(60))

        assert calls.most == 3

    def test_what_is_gathered_takes_none(self, run, calls):
        jobs(1)
        client = run(Batch(size=2, wait=LONG), slots=1)
        wait_until(lambda: len(client.engine.attempts) == 1)
        jobs(3, kind="single")
        client.engine.lookout.hint(["default"])

        wait_until(lambda: sorted(calls.singles) == [0, 1, 2])
        assert not calls.calls

    def test_max_concurrent_bounds_the_calls_of_a_kind_and_no_other(self, run, calls):
        calls.open.clear()
        jobs(60)
        jobs(5, kind="single", priority=2)
        client = run(Batch(size=10, wait=0.01, max_concurrent=2))
        wait_until(lambda: calls.inside == 2)
        wait_until(lambda: sorted(calls.singles) == [0, 1, 2, 3, 4])
        calls.open.set()
        wait_until(all_done(65))

        assert calls.most == 2
        wait_until(lambda: client.is_idle)

    def test_ready_batches_are_not_kept_from_their_slot_by_single_jobs(self, run, calls):
        jobs(5)
        jobs(300, kind="single")
        run(Batch(size=100, wait=0.01), slots=1)

        wait_until(all_done(305), 20)

    def test_what_waits_too_long_for_a_slot_is_handed_back(self, run, calls, monkeypatch):
        monkeypatch.setattr("django_river.work.fetcher.LONGEST_WAIT", 0.05)
        calls.open.clear()
        jobs(1)
        client = run(Batch(size=10, wait=0.2), slots=1, poll_interval=0.05)
        wait_until(lambda: len(client.engine.attempts) == 1)
        first = JobFactory(kind="single", args={"number": 1}).pk
        calls.act = lambda batch: None
        wait_until(lambda: calls.inside == 1)
        assert first
        late = JobFactory(kind="many", args={"number": 2}).pk
        calls.open.set()
        wait_until(all_done(3))

        assert Job.objects.get(pk=late).attempt == 1


class TestHandingBack:
    def test_at_the_end_of_what_is_gathered(self, run, calls):
        jobs(3)
        client = run(Batch(size=10, wait=LONG))
        wait_until(lambda: len(client.engine.attempts) == 3)
        report = client.stop(timeout=0)

        assert (report.interrupted, report.unstored) == (0, 0)
        assert states() == {"available": 3}
        assert set(Job.objects.values_list("attempt", flat=True)) == {0}
        assert not calls.calls

    def test_by_a_pause(self, run, calls):
        jobs(3)
        client = run(Batch(size=10, wait=LONG))
        wait_until(lambda: len(client.engine.attempts) == 3)
        queues.pause("default")
        wait_until(lambda: states() == {"available": 3})

        wait_until(lambda: len(client.engine.attempts) == 0)
        queues.resume("default")
        wait_until(lambda: len(client.engine.attempts) == 3)

    def test_by_a_pause_of_what_is_being_claimed(self, run, calls, monkeypatch):
        claim = Fetcher._claim_matching
        is_claiming, may_return = threading.Event(), threading.Event()

        def claim_slowly(fetcher, wanted):
            claimed = claim(fetcher, wanted)
            is_claiming.set()
            may_return.wait(20)
            return claimed

        monkeypatch.setattr(Fetcher, "_claim_matching", claim_slowly)
        jobs(3)
        client = run(Batch(size=10, wait=LONG), slots=1)
        assert is_claiming.wait(20)
        queues.pause("default")
        wait_until(lambda: client.producers["default"].is_paused)
        may_return.set()
        wait_until(lambda: states() == {"available": 3})

        assert set(Job.objects.values_list("attempt", flat=True)) == {0}

    def test_by_a_shutdown_of_what_runs(self, run, calls):
        def until_told(batch):
            batch[0].succeed()
            while not batch.cancelled:
                batch.heartbeat()
                threading.Event().wait(0.01)
            batch.raise_if_cancelled()

        calls.act = until_told
        jobs(3)
        client = run(Batch(size=3, wait=0.01))
        wait_until(lambda: calls.inside)
        client.stop(timeout=0)

        assert states() == {"completed": 1, "available": 2}
        assert sorted(Job.objects.values_list("attempt", flat=True)) == [0, 0, 1]


class TestCancelling:
    def test_one_member_marks_it_and_the_rest_goes_on(self, run, calls):
        seen = []

        def leave_out(batch):
            wait_until(lambda: any(item.cancelled for item in batch))
            seen.extend(item.args.number for item in batch if not item.cancelled)

        calls.act = leave_out
        ids = jobs(3)
        run(Batch(size=3, wait=0.01))
        wait_until(lambda: calls.inside)
        operations.cancel(ids[1])
        wait_until(lambda: states() == {"completed": 2, "cancelled": 1})

        assert seen == [0, 2]
        assert Job.objects.get(state="cancelled").pk == ids[1]

    def test_one_that_is_gathered_keeps_it_out(self, run, calls):
        ids = jobs(2)
        client = run(Batch(size=3, wait=LONG))
        wait_until(lambda: len(client.engine.attempts) == 2)
        operations.cancel(ids[0])
        wait_until(lambda: client.engine.attempts.get(ids[0]).cancel_reason is not None)
        jobs(1)
        client.engine.lookout.hint(["default"])
        wait_until(lambda: states() == {"completed": 2, "cancelled": 1})

        assert calls.sizes == [2]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_timeout_fails_what_is_not_settled(run, calls, is_async):
    async def wait_async(batch):
        batch[0].succeed()
        await asyncio.sleep(20)

    def wait(batch):
        batch[0].succeed()
        wait_until(lambda: batch.cancelled)
        batch.raise_if_cancelled()

    calls.act = wait
    jobs(3)
    if is_async:
        calls.many_async = _with_item(wait_async)
    run(Batch(size=3, wait=0.01), timeout=0.2, is_async=is_async)
    wait_until(lambda: states() == {"completed": 1, "retryable": 2})

    error = "JobTimeout: took longer than its timeout of 0.2 s"
    assert {job.last_error["error"] for job in Job.objects.filter(state="retryable")} == {error}


def _with_item(function):
    async def many(batch: JobBatch[Item]) -> None:
        await function(batch)

    return many


def test_a_stuck_call_fails_its_members_and_frees_its_slot_once(run, calls):
    calls.open.clear()
    jobs(3)
    client = run(Batch(size=3, wait=0.01), timeout=0.1, stuck_after=0.1, slots=1)
    wait_until(lambda: states() == {"retryable": 3})
    calls.open.set()
    jobs(2, kind="single")
    client.engine.lookout.hint(["default"])
    wait_until(lambda: sorted(calls.singles) == [0, 1])
    wait_until(lambda: client.producers["default"].load == 0)

    assert {job.attempt for job in Job.objects.filter(kind="many")} == {1}


class TestSeveralClients:
    def test_a_kind_is_gathered_where_its_home_is(self, run, calls):
        first = run(Batch(size=50, wait=0.5), name="one")
        second = run(Batch(size=50, wait=0.5), name="two")
        first._look_for_others()
        home, other = (first, second) if first.engine.homes.is_here("default", "many") else (second, first)
        assert not other.engine.homes.is_here("default", "many")
        _now(4)
        other.engine.lookout.hint(["default"])
        home.engine.lookout.hint(["default"])
        wait_until(lambda: len(home.engine.attempts) == 4)
        wait_until(all_done(4))

        assert calls.sizes == [4]
        assert {job.attempted_by[-1] for job in Job.objects.all()} == {home.id}

    def test_others_help_when_the_home_does_not_come(self, run, calls):
        first = run(Batch(size=50, wait=0.2), name="one")
        second = run(Batch(size=50, wait=0.2), name="two")
        first._look_for_others()
        home, other = (first, second) if first.engine.homes.is_here("default", "many") else (second, first)
        home.engine.fetcher.stop()
        _now(4)
        other.engine.lookout.hint(["default"])
        wait_until(all_done(4))

        assert {job.attempted_by[-1] for job in Job.objects.all()} == {other.id}


def _now(count):
    for number in range(count):
        JobFactory(kind="many", args={"number": number}, scheduled_at=timezone.now())


def test_a_kind_may_become_a_batch_and_single_again_while_its_jobs_wait(run, calls, using):
    def alone(number: int, tenant: str = "a") -> None:
        calls.singles.append(number)

    def work(registry):
        client = Client(dataclasses.replace(config(), stop_timeout=10.0), can_lead=False, registry=registry)
        client.start()
        wait_until(lambda: client.is_idle and not client.has_due_jobs())
        client.stop()

    single, batched = (
        registry_of(many=(function, options))
        for function, options in ((alone, {}), (calls.many, {"batch": Batch(size=9, wait=0)}))
    )
    for from_, to in ((single, batched), (batched, single)):
        arguments = from_.get("many").arguments
        for number in range(3):
            raw = arguments.encode((number,), {}, limit=100)
            JobFactory(kind="many", args=json.loads(raw))
        work(to)

    assert states() == {"completed": 6}
    assert (calls.sizes, sorted(calls.singles)) == ([3], [0, 1, 2])
