"""Whatever is done to jobs in whatever order, the table is what the model says, and only known moves happen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_river.jobs.states import FINAL, TRANSITIONS, State, bit_mask
from django_river.jobs.unique import DEFAULT_STATES, REQUIRED_STATES
from django_river.models import Client, Job
from django_river.storage.base import ClaimedJob, ClientInfo, JobSetState, Storage
from django_river.storage.upkeep import Retention, Upkeep
from tests.storage.model import Model, Row
from tests.storage.steps import HOUR, ME, OTHER, WITHOUT_RETRYABLE, claim, insert

CLIENTS = (ME, OTHER)
NOW = timedelta(0)
MISSING = 2**62
ENDS = State.CANCELLED.bit | State.DISCARDED.bit
MASKS = [
    bit_mask(DEFAULT_STATES),
    WITHOUT_RETRYABLE,
    WITHOUT_RETRYABLE | ENDS,
    bit_mask(REQUIRED_STATES),
    255,
]
RESULTS: list[dict[str, Any]] = [
    {"state": State.COMPLETED},
    {"state": State.COMPLETED, "metadata": b'{"output":1}'},
    {"state": State.AVAILABLE, "error": b"{}", "delay": NOW},
    {"state": State.AVAILABLE, "error": b"{}", "delay": HOUR},
    {"state": State.RETRYABLE, "error": b"{}", "delay": HOUR},
    {"state": State.RETRYABLE, "error": b"{}", "delay": NOW},
    {"state": State.DISCARDED, "error": b"{}"},
    {"state": State.CANCELLED, "error": b"{}"},
    {"state": State.SCHEDULED, "delay": HOUR, "metadata": b'{"snoozes":1}', "give_attempt_back": True},
    {"state": State.AVAILABLE, "delay": NOW, "metadata": b'{"snoozes":1}', "give_attempt_back": True},
    {"state": State.AVAILABLE, "give_attempt_back": True},
]

some = st.lists(st.integers(0, 9), min_size=1, max_size=4)


class JobTable(RuleBasedStateMachine):
    """Each rule is one call of storage, checked for its answer; the invariants compare the tables."""

    store: Storage
    upkeep: Upkeep

    def __init__(self) -> None:
        super().__init__()
        Job.objects.all().delete()
        Client.objects.all().delete()
        self.model = Model()
        self.claims: list[tuple[str, ClaimedJob]] = []
        self.alive: set[str] = set()
        self.states: dict[int, State | None] = {}

    def ids(self, numbers: list[int]) -> list[int]:
        """Some of the jobs there are or were, and one that never was."""
        known = [*sorted(self.states), MISSING]
        return [known[-1 - number % len(known)] for number in numbers]

    @rule(
        key=st.sampled_from([None, "a", "b"]),
        mask=st.sampled_from(MASKS),
        when=st.sampled_from([{}, {"delay": HOUR}, {"pending": True}, {"delay": -HOUR}]),
        max_attempts=st.integers(1, 3),
        priority=st.integers(1, 4),
    )
    def insert(self, key: str | None, mask: int, when: dict[str, Any], **options: int) -> None:
        unique = {"unique_key": key.encode() * 32, "unique_states": mask} if key else {}

        inserted = insert(self.store, **when, **unique, **options)

        holder = self.model.holder(key)
        assert inserted.skipped is (holder is not None)
        if holder is not None:
            assert (inserted.id, inserted.state) == (holder.id, holder.state)
            return
        is_due, state = when.get("delay") != HOUR, State.AVAILABLE
        if not is_due or when.get("pending"):
            state = State.PENDING if when.get("pending") else State.SCHEDULED
        self.model.insert(Row(inserted.id, state, options["max_attempts"], key, mask, is_due))

    @rule(client_id=st.sampled_from(CLIENTS), limit=st.integers(1, 3))
    def fetch(self, client_id: str, limit: int) -> None:
        waiting = self.model.claimable()
        order = Job.objects.filter(pk__in=waiting).order_by("priority", "scheduled_at", "id")
        expected = list(order.values_list("id", flat=True)[:limit])

        claimed = claim(self.store, limit, client_id=client_id)

        assert [job.id for job in claimed] == expected
        for job in claimed:
            self.model.claim(job.id, client_id)
            row = self.model.rows[job.id]
            assert (job.attempt, job.max_attempts, job.errors) == (row.attempt, row.max_attempts, row.errors)
        self.claims += [(client_id, job) for job in claimed]

    @precondition(lambda self: self.claims)
    @rule(picks=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(RESULTS)), min_size=1, max_size=3))
    def settle(self, picks: list[tuple[int, dict[str, Any]]]) -> None:
        """Results of the last claims, some of which may be stale or settled already."""
        client_id, _ = self.claims[-1 - picks[0][0] % len(self.claims)]
        changes = {}
        for back, result in picks:
            claimer, job = self.claims[-1 - back % len(self.claims)]
            if claimer == client_id:
                changes[job.id] = JobSetState(id=job.id, attempt=job.attempt, **result)

        stored = self.store.job_set_state_many(client_id, list(changes.values()))

        expected = {id: self.model.settle(change, client_id) for id, change in changes.items()}
        assert dict(stored) == {id: state for id, state in expected.items() if state is not None}

    @rule(numbers=some)
    def cancel(self, numbers: list[int]) -> None:
        ids = self.ids(numbers)
        self.check_operation(ids, self.store.job_cancel(ids), self.model.cancel(ids))

    @rule(numbers=some)
    def retry(self, numbers: list[int]) -> None:
        ids = self.ids(numbers)
        self.check_operation(ids, self.store.job_retry(ids), self.model.retry(ids))

    @rule(numbers=some)
    def delete(self, numbers: list[int]) -> None:
        ids = self.ids(numbers)
        self.check_operation(ids, self.store.job_delete(ids), self.model.delete(ids))

    def check_operation(self, ids: list[int], changed: list[Any], expected: set[int]) -> None:
        assert {job.id for job in changed if job.changed} == expected
        assert {job.id for job in changed} == {id for id in ids if self.states.get(id)}
        for job in changed:
            row = self.model.rows.get(job.id)
            assert job.state == (row.state if row else self.states[job.id])

    @rule(limit=st.integers(1, 4))
    def schedule(self, limit: int) -> None:
        waiting = [State.SCHEDULED, State.RETRYABLE]
        due = [row.id for row in self.model.rows.values() if row.is_due and row.state in waiting]
        page = list(
            Job.objects.filter(pk__in=due).order_by("scheduled_at", "id").values_list("id", flat=True)[:limit]
        )

        moved = self.upkeep.job_schedule(limit)

        assert sum(count for _, count in moved) == self.model.schedule(page)

    @rule(state=st.sampled_from(sorted(FINAL)))
    def clean(self, state: State) -> None:
        """As if all had been kept for long enough."""
        retention = Retention(state=state, kept_for=NOW)

        page = self.upkeep.job_clean(retention, after=0, span=10**12, slack=NOW, limit=100)

        assert page.deleted == self.model.clean(state)

    @rule(known=st.booleans())
    def rescue(self, known: bool) -> None:
        kinds = ["tests.work"] if known else []

        rescued = self.upkeep.job_rescue(
            rescue_after=NOW, client_timeout=HOUR, poison_after=99, known_kinds=kinds, limit=100
        )

        assert {job.id for job in rescued} == self.model.rescue(alive=self.alive, known=known)

    @rule(client_id=st.sampled_from(CLIENTS), numbers=some)
    def release_unknown(self, client_id: str, numbers: list[int]) -> None:
        known = self.ids(numbers)

        assert set(self.store.job_release_unknown(client_id, known)) == self.model.release(client_id, known)

    @rule(client_id=st.sampled_from(CLIENTS))
    def client_comes_or_goes(self, client_id: str) -> None:
        if client_id in self.alive:
            self.store.client_delete(client_id)
        else:
            self.store.client_beat(ClientInfo(id=client_id, host="h", pid=1, version="1", slots=1))
        self.alive ^= {client_id}

    @rule(numbers=some)
    def time_passes(self, numbers: list[int]) -> None:
        """Some jobs become due that were not."""
        waiting = [id for id in self.ids(numbers) if id in self.model.rows and not self.model.rows[id].is_due]
        Job.objects.filter(pk__in=waiting).update(scheduled_at=timezone.now() - HOUR)
        for id in waiting:
            self.model.rows[id].is_due = True

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        rows = list(Job.objects.order_by("id"))

        assert [_seen(job) for job in rows] == [_expected(row) for row in self.model.rows.values()]
        assert all((job.finalized_at is not None) is (job.state in FINAL) for job in rows)
        self.check_moves({job.id: State(job.state) for job in rows})

    def check_moves(self, now: dict[int, State]) -> None:
        for id in self.states | now:
            before, after = self.states.get(id), now.get(id)
            assert before == after or (before, after) in TRANSITIONS, (before, after)
        self.states = dict.fromkeys(self.states) | now

    @invariant()
    def no_key_is_held_twice(self) -> None:
        held = [row.key for row in self.model.rows.values() if row.holds_key]

        assert len(held) == len(set(held))


def _seen(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "errors": len(job.errors or []),
        "clients": job.attempted_by or [],
        "cancel": "cancel_attempted_at" in job.metadata,
        "rescues": job.metadata.get("river:rescue_count", 0),
        "mask": job.unique_states,
        "due": job.scheduled_at <= timezone.now(),
    }


def _expected(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "errors": row.errors,
        "clients": row.clients,
        "cancel": row.cancel_asked,
        "rescues": row.rescues,
        "mask": row.mask if row.key else None,
        "due": row.is_due,
    }


def test_storage_behaves_as_the_model(store, upkeep):
    machine = type("JobTable", (JobTable,), {"store": store, "upkeep": upkeep})

    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
