"""One call, run: what becomes of its members, whatever the function does."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, OperationalError, transaction

from django_river import Batch, FixedRetry, JobBatch, JobCancel, JobDiscard, JobSnooze
from django_river.conf import Config
from django_river.jobs.context import CancelReason
from django_river.jobs.states import State
from django_river.models import Job
from django_river.signals import job_finished, job_started
from django_river.storage.base import Demand
from django_river.work.attempts import Attempts
from django_river.work.batches import BatchCall, Member
from django_river.work.completer import Completer
from django_river.work.outcomes import INTERRUPTED, SUCCESS
from django_river.work.producer import Producer
from django_river.work.workers import Workers
from tests.factories import JobFactory
from tests.shop.models import Order
from tests.work.building import Settled, claimed, executor_of, registry_of


@dataclass
class Item:
    number: int


def members_of(count, **given):
    producer = Producer("default", max_workers=10)
    return [
        Member(claimed(args=f'{{"number":{number}}}'.encode(), **given), producer) for number in range(count)
    ]


@pytest.fixture(params=["sync", "async"])
def end(request):
    """Runs a function with so many jobs; what each came to, by number."""

    def run(act, count=3, *, members=None, timeout=None, **batch):
        async def many_async(batch: JobBatch[Item]) -> None:
            act(batch)

        def many(batch: JobBatch[Item]) -> None:
            act(batch)

        settled = Settled()
        function = many_async if request.param == "async" else many
        options = {"batch": Batch(**batch), "retry": FixedRetry(60), "timeout": timeout}
        executor = executor_of(settled, test=(function, options))
        call = BatchCall(members or members_of(count))
        execute = async_to_sync(executor.aexecute) if request.param == "async" else executor.execute
        # Not in our own thread, whose connection is the tests': between two halves connections are tidied.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(execute, call).result()
        places = {member.job.id: number for number, member in enumerate(call.members)}
        assert len(settled) == len(call.members)
        return {places[attempt.job.id]: outcome for attempt, outcome in settled}

    return run


def states(ended):
    return [ended[number].state for number in sorted(ended)]


class TestMembers:
    def test_have_succeeded_when_the_function_returns(self, end):
        assert end(lambda batch: None) == {0: SUCCESS, 1: SUCCESS, 2: SUCCESS}

    def test_end_as_the_function_says(self, end):
        def act(batch):
            batch[0].fail(LookupError("gone"))
            batch[1].snooze(60)
            batch[2].cancel("not wanted")
            batch[3].fail(JobDiscard("hopeless"))

        ended = end(act, 5)

        assert states(ended) == [
            State.RETRYABLE, State.SCHEDULED, State.CANCELLED, State.DISCARDED, State.COMPLETED,
        ]  # fmt: skip
        assert [ended[number].error for number in range(5)] == [
            "LookupError: gone", None, "not wanted", "hopeless", None,
        ]  # fmt: skip

    def test_fail_when_it_raises_unless_they_are_settled(self, end):
        def act(batch):
            batch[0].succeed()
            batch[1].snooze(timedelta(minutes=1))
            raise ValueError("here")

        ended = end(act, 4)

        assert states(ended) == [State.COMPLETED, State.SCHEDULED, State.RETRYABLE, State.RETRYABLE]
        assert 'raise ValueError("here")' in ended[3].trace
        assert ended[3].delay == timedelta(seconds=60)

    def test_have_tracebacks_of_their_own(self, end):
        def act(batch):
            for item in batch:
                try:
                    1 / item.args.number
                except ZeroDivisionError as error:
                    item.fail(error)

        ended = end(act)

        assert states(ended) == [State.RETRYABLE, State.COMPLETED, State.COMPLETED]
        assert "1 / item.args.number" in ended[0].trace

    def test_have_retries_of_their_own(self, end):
        def act(batch):
            raise ValueError

        members = members_of(1, attempt=25) + members_of(1, attempt=2)
        ended = end(act, members=members)

        assert states(ended) == [State.DISCARDED, State.RETRYABLE]

    @pytest.mark.parametrize(
        ("error", "state"),
        [
            (JobSnooze(60), State.SCHEDULED),
            (JobCancel("no"), State.CANCELLED),
            (JobDiscard("no"), State.DISCARDED),
            (SystemExit(1), State.RETRYABLE),
        ],
        ids=repr,
    )
    def test_end_together_as_what_is_raised_says(self, end, error, state):
        def act(batch):
            raise error

        assert states(end(act, isolate_on_error=True)) == [state] * 3

    def test_that_cannot_be_decoded_fail_alone(self, end):
        seen = []
        members = members_of(2)
        members.insert(1, Member(claimed(args=b'{"number":"x"}'), members[0].producer))
        ended = end(lambda batch: seen.extend(batch.args), members=members)

        assert states(ended) == [State.COMPLETED, State.RETRYABLE, State.COMPLETED]
        assert ended[1].error == "ArgumentTypeError: test: argument 'number': expected int, got str"
        assert seen == [Item(0), Item(1)]

    def test_whose_class_would_end_the_process_fail_alone(self, end, monkeypatch):
        def make(item, number):
            if number == 1:
                raise SystemExit(1)
            item.number = number

        monkeypatch.setattr(Item, "__init__", make)

        assert states(end(lambda batch: None)) == [State.COMPLETED, State.RETRYABLE, State.COMPLETED]

    def test_of_whom_none_can_be_decoded_need_no_call(self, end):
        def act(batch):
            raise AssertionError("was called")

        producer = Producer("default", max_workers=1)
        assert states(end(act, members=[Member(claimed(args=b"{}"), producer)])) == [State.RETRYABLE]

    def test_that_are_cancelled_before_it_begins_are_left_out(self, end):
        seen = []
        members = members_of(3)
        members[1].cancel(CancelReason.CANCEL)
        ended = end(lambda batch: seen.extend(batch.args), members=members)

        assert ended[1] is INTERRUPTED
        assert seen == [Item(0), Item(2)]

    def test_that_are_cancelled_and_seen_do_not_succeed(self, end):
        members = members_of(3)

        def act(batch):
            members[0].cancel(CancelReason.CANCEL)
            members[1].cancel(CancelReason.CANCEL)
            assert batch[0].cancelled
            assert not batch.cancelled

        assert states(end(act, members=members)) == [State.CANCELLED, State.COMPLETED, State.COMPLETED]

    def test_are_given_back_at_a_shutdown(self, end):
        members = members_of(2)

        def act(batch):
            batch[0].succeed()
            members[1].cancel(CancelReason.SHUTDOWN)
            batch.raise_if_cancelled()

        ended = end(act, members=members, isolate_on_error=True)
        assert (ended[0], ended[1]) == (SUCCESS, INTERRUPTED)

    def test_are_announced_one_by_one(self, end):
        heard = []

        def listen(job, **_):
            heard.append(job.id)

        job_started.connect(listen)
        members = members_of(3)
        end(lambda batch: None, members=members)
        job_started.disconnect(listen)

        assert heard == [member.job.id for member in members]


class TestIsolation:
    def poison(self, *numbers):
        self.sizes = []

        def act(batch):
            self.sizes.append(len(batch))
            if any(item.args.number in numbers for item in batch):
                raise ValueError("poison")

        return act

    def test_one_poison_item_ends_alone(self, end):
        ended = end(self.poison(5), 16, isolate_on_error=True)

        assert [number for number in ended if ended[number] is not SUCCESS] == [5]
        assert self.sizes == [16, 8, 4, 4, 2, 1, 1, 2, 8]

    def test_of_several(self, end):
        ended = end(self.poison(0, 6), 7, isolate_on_error=True)

        assert sorted(number for number in ended if ended[number] is not SUCCESS) == [0, 6]

    def test_is_not_done_unasked(self, end):
        ended = end(self.poison(1), 3)

        assert states(ended) == [State.RETRYABLE] * 3
        assert self.sizes == [3]

    def test_is_of_no_use_when_the_database_is_away(self, end):
        calls = []

        def act(batch):
            calls.append(1)
            raise OperationalError("away")

        assert states(end(act, 8, isolate_on_error=True)) == [State.RETRYABLE] * 8
        assert len(calls) == 1

    def test_of_halves_has_no_connection_that_an_error_of_the_database_has_spoiled(self, end, monkeypatch):
        tidied = []
        monkeypatch.setattr("django_river.work.connections.tidy", lambda: tidied.append(len(self.sizes)))
        self.sizes = []

        def act(batch):
            self.sizes.append(len(batch))
            if len(self.sizes) == 1:
                raise IntegrityError("twice")

        assert states(end(act, 2, isolate_on_error=True)) == [State.COMPLETED] * 2
        assert tidied == [1]

    def test_ends_with_the_timeout(self, end):
        calls = []

        def act(batch):
            calls.append(1)
            while not batch.cancelled:
                pass
            raise ValueError("late")

        assert states(end(act, 8, isolate_on_error=True, timeout=0.05)) == [State.RETRYABLE] * 8
        assert len(calls) == 1


class TestTransaction:
    @pytest.fixture
    def work(self, store):
        """Claims all jobs, and works them in one call with real storage."""

        def work(act, **batch):
            def many(batch: JobBatch[Item]) -> None:
                act(batch)

            options = {"batch": Batch(complete_in_transaction=True, **batch), "retry": FixedRetry(60)}
            registry = registry_of(test=(many, options))
            attempts = Attempts()
            self.completer = Completer(storage=store, client_id="me", attempts=attempts, registry=registry)
            workers = Workers(
                client_id="me", config=Config(), registry=registry, attempts=attempts, completer=self.completer,
                slots=1, on_room=lambda producer: None,
            )  # fmt: skip
            jobs = store.job_fetch("me", [Demand(queue="default", limit=100)], 100)
            members = [Member(job, Producer("default", max_workers=1)) for job in jobs]
            attempts.add(members)
            assert workers.executor.execute(BatchCall(members))
            self.stored_by_completer = self.completer.backlog
            self.completer.step()
            assert not len(attempts)

        return work

    def jobs(self, count):
        return [JobFactory(kind="test", args={"number": number}).pk for number in range(count)]

    def rows(self):
        return Counter(Job.objects.values_list("state", flat=True))

    def test_stores_results_with_what_the_function_writes(self, work):
        ids = self.jobs(4)

        def act(batch):
            Order.objects.bulk_create(Order(number=item.args.number) for item in batch)
            batch[0].succeed(output={"order": 0})
            batch[1].fail(ValueError("no"))
            batch[2].snooze(3600)

        work(act)

        assert self.rows() == {"completed": 2, "retryable": 1, "scheduled": 1}
        assert self.stored_by_completer == 0
        assert Order.objects.count() == 4
        assert Job.objects.get(pk=ids[0]).metadata["output"] == {"order": 0}

    def test_rolls_back_success_when_the_function_raises(self, work):
        ids = self.jobs(3)

        def act(batch):
            Order.objects.create(number=1)
            batch[0].succeed()
            batch[1].cancel("not wanted")
            raise ValueError("here")

        work(act)

        assert Order.objects.count() == 0
        assert [Job.objects.get(pk=id).state for id in ids] == ["retryable", "cancelled", "retryable"]

    def test_isolates_each_half_in_a_transaction_of_its_own(self, work):
        self.jobs(8)

        def act(batch):
            Order.objects.bulk_create(Order(number=item.args.number) for item in batch)
            if any(item.args.number == 3 for item in batch):
                raise ValueError("poison")

        work(act, isolate_on_error=True)

        assert self.rows() == {"completed": 7, "retryable": 1}
        assert sorted(Order.objects.values_list("number", flat=True)) == [0, 1, 2, 4, 5, 6, 7]

    def test_is_undone_if_a_job_has_become_somebody_elses(self, work, caplog):
        ids = self.jobs(2)

        def act(batch):
            Order.objects.create(number=1)
            if batch[0].job.attempt == 1:
                steal(ids[0])

        def steal(id):
            Job.objects.filter(pk=id).update(attempt=7)

        work(act)

        # The theft is undone with the transaction, so that both come back; a real one would be refused for good.
        assert Order.objects.count() == 0
        assert "its batch was rolled back: 1 of 2 jobs are others' by now" in caplog.text
        assert self.rows() == {"available": 2}

    def test_an_integrity_error_at_the_end_fails_all(self, work):
        Order.objects.create(number=1)
        self.jobs(2)

        def act(batch):
            Order.objects.create(number=1)

        work(act)

        assert self.rows() == {"retryable": 2}
        assert "IntegrityError" in Job.objects.first().last_error["error"]

    def test_is_over_when_it_is_committed_whatever_is_called_then(self, work, caplog):
        self.jobs(4)
        calls, heard = [], []

        def act(batch):
            calls.append(len(batch))
            Order.objects.bulk_create(Order(number=item.args.number) for item in batch)
            transaction.on_commit(lambda: 1 / 0)

        def listen(job, state, **_):
            heard.append(state)

        job_finished.connect(listen)
        work(act, isolate_on_error=True)
        job_finished.disconnect(listen)

        assert calls == [4]
        assert (self.rows(), heard) == ({"completed": 4}, ["completed"] * 4)
        assert "ZeroDivisionError" in caplog.text
