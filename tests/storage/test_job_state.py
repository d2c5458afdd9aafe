"""Results are written through the fence: to the attempt they speak for, and to no other."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError

from django_river.jobs.states import FINAL, State
from django_river.models import Job
from django_river.storage.base import JobSetState
from tests.factories import JobFactory
from tests.storage.steps import HOUR, ME, OTHER, claim, insert, make_due, new, row, run, settle

ERROR = json.dumps({"attempt": 1, "error": "ValueError: no", "trace": "Traceback …"}).encode()
AGAIN = [State.AVAILABLE, State.RETRYABLE, State.SCHEDULED]
RESULTS = sorted(FINAL) + AGAIN


def change(job, state=State.COMPLETED, **given) -> JobSetState:
    return JobSetState(id=job.id, attempt=job.attempt, state=state, **given)


class TestTarget:
    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_a_final_state_ends_the_job(self, store, state):
        job = run(store)

        assert settle(store, job, state) == state
        after = row(job)
        assert after.state == state
        assert after.attempted_at <= after.finalized_at
        assert after.attempt == 1

    @pytest.mark.parametrize("state", AGAIN)
    def test_another_state_lets_it_run_again(self, store, state):
        job = run(store)

        assert settle(store, job, state, delay=HOUR) == state
        after = row(job)
        assert (after.state, after.finalized_at) == (state, None)
        assert after.scheduled_at - after.attempted_at == pytest.approx(HOUR, abs=timedelta(minutes=1))

    def test_without_a_delay_the_job_keeps_its_place(self, store):
        inserted = insert(store)
        (job,) = claim(store)

        settle(store, job, State.AVAILABLE)

        assert row(job).scheduled_at == inserted.scheduled_at

    @pytest.mark.parametrize("state", AGAIN)
    def test_an_attempt_can_be_given_back(self, store, state):
        job = run(store)

        settle(store, job, state, give_attempt_back=True)

        assert row(job).attempt == 0

    def test_many_are_written_together(self, store):
        jobs = [run(store) for _ in range(len(RESULTS))]
        changes = [
            change(job, state, error=ERROR if state is State.RETRYABLE else None)
            for job, state in zip(jobs, RESULTS, strict=True)
        ]

        stored = store.job_set_state_many(ME, changes)

        assert {kept.id: kept.state for kept in stored} == {c.id: c.state for c in changes}
        assert [row(job).state for job in jobs] == RESULTS

    def test_successes_of_different_attempts_are_written_together(self, store):
        JobFactory.create_batch(2, attempt=0)
        JobFactory.create_batch(2, attempt=4)
        jobs = claim(store)

        stored = store.job_set_state_many(ME, [change(job) for job in jobs])

        assert {kept.id for kept in stored} == {job.id for job in jobs}
        assert set(Job.objects.values_list("state", "attempt")) == {("completed", 1), ("completed", 5)}

    def test_nothing_is_nothing(self, store):
        assert store.job_set_state_many(ME, []) == []


class TestFence:
    @pytest.fixture(params=[{}, {"metadata": b'{"output":1}'}], ids=["plain", "with output"])
    def result(self, request):
        """A success is written by one statement or another."""
        return request.param

    def refused(self, store, job, **given) -> bool:
        before = Job.objects.filter(pk=job.id).values().first()
        stored = settle(store, job, **given)
        return stored is None and before == Job.objects.filter(pk=job.id).values().first()

    @pytest.mark.parametrize("attempt", [-1, 0, 2])
    def test_refuses_another_attempt(self, store, result, attempt):
        job = run(store)

        assert self.refused(store, job, attempt=attempt, **result)

    def test_refuses_another_client(self, store, result):
        job = run(store)

        assert self.refused(store, job, client_id=OTHER, **result)

    @pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
    def test_refuses_what_is_not_running(self, store, result, state):
        job = JobFactory(state=state, attempt=1, attempted_by=[ME])

        assert self.refused(store, job, **result)

    def test_refuses_a_job_that_is_gone(self, store, result):
        job = run(store)
        Job.objects.all().delete()

        assert settle(store, job, **result) is None

    def test_refuses_the_same_result_twice(self, store, result):
        job = run(store)
        settle(store, job, **result)

        assert self.refused(store, job, **result)

    def test_tells_an_attempt_from_the_next_one(self, store, result):
        first = run(store)
        settle(store, first, State.AVAILABLE, error=ERROR)
        (second,) = claim(store)

        assert self.refused(store, first, **result)
        assert settle(store, second, **result) == "completed"

    def test_tells_a_client_from_the_next_one(self, store, result):
        first = run(store)
        settle(store, first, State.AVAILABLE, give_attempt_back=True)
        (second,) = claim(store, client_id=OTHER)
        assert second.attempt == first.attempt

        assert self.refused(store, first, **result)
        assert settle(store, second, client_id=OTHER, **result) == "completed"

    def test_refuses_a_row_without_a_client(self, store, result):
        job = JobFactory(running=True, attempted_by=None)

        assert self.refused(store, job, **result)

    def test_lets_the_others_of_a_batch_through(self, store, result):
        jobs = [run(store) for _ in range(3)]
        store.job_delete([jobs[0].id])
        Job.objects.filter(pk=jobs[1].id).update(attempt=7)

        stored = store.job_set_state_many(ME, [change(job, **result) for job in jobs])

        assert {stored_id for stored_id, _ in stored} == {jobs[0].id, jobs[2].id}


class TestCancelled:
    """Somebody asked to cancel the job while it ran."""

    @pytest.fixture
    def job(self, store):
        job = run(store)
        store.job_cancel([job.id])
        return job

    @pytest.mark.parametrize("back", [False, True])
    @pytest.mark.parametrize("state", AGAIN)
    def test_wins_over_every_state_that_would_run_the_job_again(self, store, job, state, back):
        scheduled_at = row(job).scheduled_at

        assert settle(store, job, state, delay=HOUR, error=ERROR, give_attempt_back=back) == "cancelled"
        after = row(job)
        assert (after.state, after.attempt, after.scheduled_at) == ("cancelled", 1, scheduled_at)
        assert after.finalized_at is not None
        assert len(after.errors) == 1

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_leaves_a_job_that_is_over_what_it_is(self, store, job, state):
        assert settle(store, job, state) == state

    def test_is_kept_on_record(self, store, job):
        settle(store, job, State.RETRYABLE, metadata=b'{"output":1}')

        assert row(job).metadata.keys() == {"cancel_attempted_at", "output"}


class TestErrors:
    def test_have_the_time_of_their_attempt(self, store):
        job = run(store)

        settle(store, job, State.RETRYABLE, error=ERROR)

        (entry,) = row(job).errors
        at = entry.pop("at")
        assert entry == {"attempt": 1, "error": "ValueError: no", "trace": "Traceback …"}
        assert at.endswith("Z")
        assert datetime.fromisoformat(at) == row(job).attempted_at.astimezone(UTC)

    def test_are_appended(self, store):
        job = run(store)
        for number in range(1, 4):
            settle(store, job, State.AVAILABLE, error=json.dumps({"attempt": number, "error": "x"}).encode())
            (job,) = claim(store)

        assert job.errors == 3
        assert [entry["attempt"] for entry in row(job).errors] == [1, 2, 3]

    def test_are_not_written_for_a_snooze(self, store):
        job = run(store)

        settle(store, job, State.SCHEDULED, delay=HOUR, give_attempt_back=True)

        assert row(job).errors is None


class TestMetadata:
    def test_is_merged_at_the_top(self, store):
        job = run(store, metadata=b'{"a":{"x":1},"b":2,"c":3}')

        settle(store, job, metadata=b'{"a":{"y":1},"b":null,"output":[1]}')

        assert row(job).metadata == {"a": {"y": 1}, "b": None, "c": 3, "output": [1]}

    @pytest.mark.parametrize("key", ['quo"ted', "back\\slash", "dot.ted", "$", "", "[0]", "a'b", "é😀"])
    def test_takes_any_key(self, store, key):
        job = run(store, metadata=json.dumps({key: 1, "other": 2}).encode())

        settle(store, job, metadata=json.dumps({key: {"x": 1}, key + "2": 3}).encode())

        assert row(job).metadata == {key: {"x": 1}, key + "2": 3, "other": 2}

    def test_keeps_values_to_the_letter(self, store):
        job = run(store, metadata=b'{"big":123456789012345678901234567890,"tiny":0.1}')

        settle(store, job, metadata=b'{"half":0.50,"text":"\\"\\\\"}')

        assert row(job).metadata == {
            "big": 123456789012345678901234567890, "tiny": 0.1, "half": 0.5, "text": '"\\',
        }  # fmt: skip

    @pytest.mark.parametrize("malformed", [[], [1], "text", 5], ids=str)
    def test_that_is_no_object_harms_no_other_job(self, store, malformed):
        broken, sound = JobFactory(metadata=malformed), JobFactory(metadata={"a": 1})
        jobs = claim(store)

        stored = store.job_set_state_many(ME, [change(job, metadata=b'{"output":1}') for job in jobs])

        assert len(stored) == 2
        assert (row(broken).metadata, row(sound).metadata) == ({"output": 1}, {"a": 1, "output": 1})


def test_a_batch_is_written_as_a_whole_or_not_at_all(store):
    jobs = [run(store), run(store)]
    changes = [change(jobs[0]), change(jobs[1], State.RETRYABLE, delay=timedelta.max)]

    with pytest.raises((DataError, OverflowError)):
        store.job_set_state_many(ME, changes)

    assert [row(job).state for job in jobs] == ["running", "running"]


def test_a_snoozed_job_is_found_when_its_time_has_come(store, upkeep):
    job = run(store)
    settle(store, job, State.SCHEDULED, delay=HOUR, give_attempt_back=True)
    make_due(job)

    upkeep.job_schedule(10)

    (again,) = claim(store)
    assert (again.id, again.attempt) == (job.id, 1)


def test_thousands_are_written_in_one_go(store):
    store.job_insert_many([new() for _ in range(2500)])
    jobs = claim(store, 2500)

    changes = [change(job, metadata=b'{"output":1}' if job.id % 3 else None) for job in jobs]

    assert len(store.job_set_state_many(ME, changes)) == 2500
    assert set(Job.objects.values_list("state", flat=True)) == {"completed"}
