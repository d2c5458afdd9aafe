"""A rolled-back transaction never runs a job, a committed one always does: hypothesis against a working client."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from django_river import State, enqueue_many
from django_river.client import Client
from django_river.conf import config
from django_river.models import Job
from tests.shop import jobs
from tests.shop.models import Order, Run
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

ACTORS = 3


class Abort(Exception):
    """Makes ``atomic`` roll back."""


class Actor(threading.Thread):
    """A caller with a connection of its own, that does what it is told, step by step."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        self.start()

    def do(self, call):
        future: Future = Future()
        self._calls.put((call, future))
        return future.result(30)

    def run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
        connections.close_all()

    def end(self) -> None:
        self._calls.put(None)
        self.join(10)


@dataclass
class Caller:
    """An actor, its open blocks, and what was enqueued in each."""

    actor: Actor
    blocks: list[tuple[transaction.Atomic, list[int]]] = field(default_factory=list)


class Load(threading.Thread):
    """Other people's jobs, all the time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.wait(0.01):
            # No more than is soon worked: the jobs that we watch wait in the same line.
            if Job.objects.in_state(State.AVAILABLE)[:200].count() < 200:
                enqueue_many(jobs.nothing.build(number) for number in range(10))
        connections.close_all()


class Transactions(RuleBasedStateMachine):
    """Callers that open, nest, commit and roll back blocks in any order, and enqueue in them."""

    numbers = iter(range(1, 10**9))

    def __init__(self) -> None:
        super().__init__()
        self.callers = [Caller(Actor()) for _ in range(ACTORS)]
        self.committed: set[int] = set()
        self.dropped: set[int] = set()

    def is_room(self) -> bool:
        """SQLite has one writer: there a second transaction would wait for the first."""
        return connection.vendor == "postgresql" or not any(caller.blocks for caller in self.callers)

    @rule(index=st.integers(0, ACTORS - 1))
    def begin(self, index):
        caller = self.callers[index]
        if caller.blocks or self.is_room():
            block = transaction.atomic()
            caller.actor.do(block.__enter__)
            caller.blocks.append((block, []))

    @rule(index=st.integers(0, ACTORS - 1), many=st.booleans())
    def enqueue(self, index, many):
        caller = self.callers[index]
        if not caller.blocks and not self.is_room():
            return
        numbers = [next(self.numbers) for _ in range(3 if many else 1)]
        caller.actor.do(lambda: self.write(numbers))
        if caller.blocks:
            caller.blocks[-1][1].extend(numbers)
        else:
            self.committed.update(numbers)

    @precondition(lambda self: any(caller.blocks for caller in self.callers))
    @rule(index=st.integers(0, ACTORS - 1), is_committed=st.booleans())
    def leave(self, index, is_committed):
        inside = [caller for caller in self.callers if caller.blocks]
        self.end(inside[index % len(inside)], is_committed=is_committed)

    def end(self, caller: Caller, *, is_committed: bool) -> None:
        block, numbers = caller.blocks.pop()
        error = (None, None, None) if is_committed else (Abort, Abort(), None)
        caller.actor.do(lambda: block.__exit__(*error))
        if not is_committed:
            self.dropped.update(numbers)
        elif caller.blocks:
            caller.blocks[-1][1].extend(numbers)
        else:
            self.committed.update(numbers)

    @rule(index=st.integers(0, ACTORS - 1), inner=st.booleans(), outer=st.booleans())
    def nest(self, index, inner, outer):
        """A block in a block, each with an end of its own."""
        caller = self.callers[index]
        if caller.blocks or not self.is_room():
            return
        self.begin(index)
        self.enqueue(index, many=False)
        self.begin(index)
        self.enqueue(index, many=True)
        self.end(caller, is_committed=inner)
        self.enqueue(index, many=False)
        self.end(caller, is_committed=outer)

    def write(self, numbers: list[int]) -> None:
        """A row of the user's and a job, as a view would."""
        with transaction.atomic():
            Order.objects.bulk_create(Order(number=number) for number in numbers)
            if len(numbers) == 1:
                jobs.mark.enqueue(numbers[0])
            else:
                enqueue_many(jobs.mark.build(number) for number in numbers)

    def teardown(self) -> None:
        for caller in self.callers:
            while caller.blocks:
                self.end(caller, is_committed=False)
            caller.actor.end()
        wait_until(lambda: self.committed <= self.ran().keys(), 30)
        assert all(count == 1 for count in self.ran().values())
        assert not self.dropped & self.ran().keys()
        assert set(Order.objects.values_list("number", flat=True)) >= self.committed
        assert not Order.objects.filter(number__in=self.dropped).exists()

    def ran(self) -> Counter[int]:
        mine = self.committed | self.dropped
        return Counter(Run.objects.filter(job_id__in=mine).values_list("job_id", flat=True))


def test_what_is_committed_runs_once_and_what_is_rolled_back_never(using):
    client, load = Client(config()), Load()
    client.start()
    load.start()
    try:
        run_state_machine_as_test(
            Transactions,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        load.enough.set()
        load.join(10)
        client.stop(timeout=5)
