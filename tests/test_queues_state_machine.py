"""Whatever is said of queues in whatever order, three live clients come to the same, and every job is accounted for."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_river import QueueExists, UnknownQueue, queues
from django_river.client import Client
from django_river.conf import config
from django_river.insert import BuiltJob, insert_many
from django_river.known_queues import known_queues
from django_river.maintenance import queue_remover
from django_river.models import Job, Queue, QueueRow
from django_river.storage.base import JobInsert
from django_river.work import queue_duties
from tests.waiting import wait_until
from tests.work.building import registry_of

NAMES = ["a", "b", "c", "d"]
SIZES = st.integers(1, 4)


class Worked:
    """What the job of this test has done."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs = Counter()

    def work(self, number: int) -> None:
        with self.lock:
            self.runs[number] += 1


class Machine(RuleBasedStateMachine):
    """The model: which queues there are, with how many workers, which are paused, and which jobs were stored."""

    def __init__(self) -> None:
        super().__init__()
        self.worked = Worked()
        self.registry = registry_of(work=self.worked.work)
        self.clients = []
        self.sizes: dict[str, int] = {}
        self.paused: set[str] = set()
        self.stored: set[int] = set()
        #: Jobs that were stored in a queue that has been deleted since: they may be gone.
        self.doomed: set[int] = set()
        self.in_queue: dict[int, str] = {}

    @initialize()
    def start(self) -> None:
        for model in (Job, QueueRow, Queue):
            model.objects.all().delete()
        known_queues.__init__()
        for number in range(3):
            self.begin(can_lead=number == 0)

    def begin(self, *, can_lead: bool) -> None:
        given = dataclasses.replace(config(), notify=len(self.clients) != 2)
        client = Client(given, registry=self.registry, can_lead=can_lead)
        client.start()
        self.clients.append(client)

    @rule(name=st.sampled_from(NAMES), size=SIZES)
    def add(self, name: str, size: int) -> None:
        if name in self.sizes:
            with pytest.raises(QueueExists):
                queues.add(name, max_workers=size)
            return
        queues.add(name, max_workers=size)
        self.sizes[name] = size

    @rule(name=st.sampled_from(NAMES), size=SIZES)
    def update(self, name: str, size: int) -> None:
        if name not in self.sizes:
            with pytest.raises(UnknownQueue):
                queues.update(name, max_workers=size)
            return
        queues.update(name, max_workers=size)
        self.sizes[name] = size

    @precondition(lambda self: self.sizes)
    @rule(data=st.data(), size=SIZES)
    def change_without_a_message(self, data, size: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.sizes)))
        QueueRow.objects.filter(name=name).update(settings={"max_workers": size}, changed_at=timezone.now())
        self.sizes[name] = size

    @rule(name=st.sampled_from(NAMES))
    def pause(self, name: str) -> None:
        queues.pause(name)
        self.paused.add(name)

    @rule(name=st.sampled_from([*NAMES, "*"]))
    def resume(self, name: str) -> None:
        queues.resume(name)
        self.paused = set() if name == "*" else self.paused - {name}

    @precondition(lambda self: self.sizes)
    @rule(data=st.data(), how=st.sampled_from(["drain", "move", "delete"]))
    def remove(self, data, how: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.sizes)))
        inside = {number for number, queue in self.in_queue.items() if queue == name}
        others = sorted(set(self.sizes) - {name})
        to = None
        if how == "move":
            to = others[0] if others else "default"
        queues.remove(name, jobs=how, to=to)
        del self.sizes[name]
        for number in inside:
            if how == "delete":
                self.doomed.add(number)
            if how == "move":
                self.in_queue[number] = to

    @rule(name=st.sampled_from(["default", *NAMES]), count=st.integers(1, 8))
    def enqueue(self, name: str, count: int) -> None:
        if name != "default" and name not in self.sizes:
            return
        numbers = range(len(self.stored), len(self.stored) + count)
        insert_many(
            [
                BuiltJob(JobInsert(kind="work", args=b'{"number": %d}' % number, queue=name), "default")
                for number in numbers
            ]
        )
        self.stored |= set(numbers)
        self.in_queue.update(dict.fromkeys(numbers, name))

    @rule(which=st.integers(0, 2))
    def restart(self, which: int) -> None:
        client = self.clients.pop(which)
        client.stop(timeout=10)
        self.begin(can_lead=client.can_lead)

    def teardown(self) -> None:
        try:
            if self.clients:
                self.settle()
        finally:
            for client in self.clients:
                client.stop(timeout=0)

    def settle(self) -> None:
        queues.resume()
        wait_until(lambda: not Job.objects.open().exists(), 30, message="jobs are left open")
        wanted = {"default": 10, "other": 2} | self.sizes

        def found(client):
            return {name: one.max_workers for name, one in client.producers.items()}

        for client in self.clients:
            wait_until(lambda c=client: found(c) == wanted, 15, message=f"not {wanted}")
        done = {
            args["number"] for args in Job.objects.filter(state="completed").values_list("args", flat=True)
        }
        assert done <= self.stored
        assert self.stored - done <= self.doomed
        assert all(self.worked.runs[number] == 1 for number in done)
        assert all(self.worked.runs[number] <= 1 for number in self.stored)
        assert set(Job.objects.values_list("attempt", flat=True)) <= {1}


@pytest.mark.slow
def test_queues_are_what_was_said_last_and_no_job_is_lost_or_run_twice(using, monkeypatch):
    monkeypatch.setattr(queue_duties, "RECONCILE_POLLING", 0.05)
    monkeypatch.setattr(queue_duties, "RECONCILE_LISTENING", 0.2)
    monkeypatch.setattr(queue_duties, "ROWS_POLLING", 0.05)
    monkeypatch.setattr(queue_duties, "ROWS_LISTENING", 0.2)
    monkeypatch.setattr(queue_remover, "INTERVAL", 0.05)
    quick = settings(
        max_examples=12,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    try:
        run_state_machine_as_test(Machine, settings=quick)
    finally:
        known_queues.__init__()
