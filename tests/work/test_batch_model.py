"""Any mix of what items of a batch may do, over several attempts, ends as a model says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from django_river import Batch, FixedRetry, JobBatch
from django_river.conf import Config
from django_river.models import Job
from django_river.storage.base import Demand
from django_river.work.attempts import Attempts
from django_river.work.batches import BatchCall, Member
from django_river.work.completer import Completer
from django_river.work.producer import Producer
from django_river.work.workers import Workers
from tests.factories import JobFactory
from tests.work.building import registry_of

MAX_ATTEMPTS = 3
#: So many calls, at most, until all is over: what snoozes is not counted.
CALLS = 5


@dataclass
class Item:
    number: int


#: What an item does in its n-th call: the last thing again when there is no more. Nothing said is "none".
DEEDS = st.lists(
    st.sampled_from(["succeed", "fail", "snooze", "cancel", "none", "poison"]), min_size=1, max_size=CALLS
)


@dataclass(frozen=True)
class Script:
    """What every item does, whether each call raises at its end, and the batch's options."""

    deeds: Sequence[Sequence[str]]
    raises: Sequence[bool]
    isolate: bool
    in_transaction: bool


SCRIPTS = st.builds(
    Script,
    deeds=st.lists(DEEDS, min_size=1, max_size=6),
    raises=st.lists(st.booleans(), min_size=CALLS, max_size=CALLS),
    isolate=st.booleans(),
    in_transaction=st.booleans(),
)


class Model:
    """What should become of each item: its state, its attempt, its errors and its snoozes."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.rows = [{"state": "available", "attempt": 0, "errors": 0, "snoozes": 0} for _ in script.deeds]

    def call(self, number: int) -> None:
        """All that are available are worked in one call."""
        working = {item: self.deed(item, number) for item, row in enumerate(self.rows) if self.is_open(row)}
        for item, end in self.ends(working, raises=self.script.raises[number]).items():
            self.settle(self.rows[item], end)

    def ends(self, working: dict[int, str], *, raises: bool) -> dict[int, str]:
        """How each ends: said, or by the end of the function."""
        said = {"succeed", "fail", "snooze", "cancel"}
        kept = said - {"succeed"} if self.script.in_transaction else said
        ends, left = {}, dict(working)
        waiting = [list(working)]
        while waiting:
            group = [item for item in waiting.pop() if item in left]
            if not raises and not any(working[item] == "poison" for item in group):
                for item in group:
                    ends[item] = "succeed" if working[item] == "none" else working[item]
                    del left[item]
                continue
            for item in group:
                if working[item] in kept:
                    ends[item] = left.pop(item)
            group = [item for item in group if item in left]
            if self.script.isolate and len(group) > 1:
                waiting += [group[len(group) // 2 :], group[: len(group) // 2]]
                continue
            for item in group:
                ends[item] = "fail"
                del left[item]
        return ends

    def settle(self, row: dict, end: str) -> None:
        if end == "succeed":
            row["state"] = "completed"
            row["attempt"] += 1
        elif end == "cancel":
            row["state"] = "cancelled"
            row["attempt"] += 1
            row["errors"] += 1
        elif end == "snooze":
            row["snoozes"] += 1
        else:
            row["attempt"] += 1
            row["errors"] += 1
            row["state"] = "discarded" if row["attempt"] >= MAX_ATTEMPTS else "available"

    def deed(self, item: int, number: int) -> str:
        deeds = self.script.deeds[item]
        return deeds[min(number, len(deeds) - 1)]

    @staticmethod
    def is_open(row: dict) -> bool:
        return row["state"] == "available"


class Real:
    """The same with a database, an executor and a completer, call by call."""

    def __init__(self, script: Script, store) -> None:
        self.script, self.store, self.number = script, store, 0
        options = Batch(isolate_on_error=script.isolate, complete_in_transaction=script.in_transaction)
        job = {"batch": options, "retry": FixedRetry(0)}
        registry = registry_of(many=(self.make_function(), job))
        self.attempts = Attempts()
        self.completer = Completer(storage=store, client_id="me", attempts=self.attempts, registry=registry)
        self.workers = Workers(
            client_id="me", config=Config(), registry=registry, attempts=self.attempts, completer=self.completer,
            slots=1, on_room=lambda producer: None,
        )  # fmt: skip
        Job.objects.all().delete()
        self.ids = [
            JobFactory(kind="many", args={"number": number}, max_attempts=MAX_ATTEMPTS).pk
            for number in range(len(script.deeds))
        ]

    def make_function(self):
        def many(batch: JobBatch[Item]) -> None:
            for item in batch:
                self.do(item)
            if self.script.raises[self.number]:
                raise ValueError("at the end")
            if any(self.deed(item) == "poison" for item in batch):
                raise ValueError("poison")

        return many

    def do(self, item) -> None:
        match self.deed(item):
            case "succeed":
                item.succeed()
            case "fail":
                item.fail(LookupError("said"))
            case "snooze":
                item.snooze(0)
            case "cancel":
                item.cancel()

    def deed(self, item) -> str:
        deeds = self.script.deeds[item.args.number]
        return deeds[min(self.number, len(deeds) - 1)]

    def call(self, number: int) -> None:
        self.number = number
        jobs = self.store.job_fetch("me", [Demand(queue="default", limit=100)], 100)
        if not jobs:
            return
        members = [Member(job, Producer("default", max_workers=1)) for job in jobs]
        self.attempts.add(members)
        self.workers.executor.execute(BatchCall(sorted(members, key=lambda member: member.job.id)))
        self.completer.step()
        assert not len(self.attempts)

    def rows(self) -> list[dict]:
        jobs = Job.objects.in_bulk(self.ids)
        return [
            {
                "state": job.state,
                "attempt": job.attempt,
                "errors": len(job.errors or ()),
                "snoozes": job.metadata.get("snoozes", 0),
            }
            for job in (jobs[id] for id in self.ids)
        ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=SCRIPTS)
def test_items_end_as_the_model_says(script, store):
    model, real = Model(script), Real(script, store)
    for number in range(CALLS):
        model.call(number)
        real.call(number)

        assert real.rows() == model.rows, (number, Counter(row["state"] for row in model.rows))
