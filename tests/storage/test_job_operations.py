"""Cancel, retry and delete respect the state of each job and say what they left alone."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from django.utils import timezone

from django_river import storage
from django_river.jobs.states import FINAL, OPEN, State
from django_river.models import Job
from tests.factories import JobFactory
from tests.storage.steps import HOUR, ME, WITHOUT_RETRYABLE, claim, insert, row, run, settle, unique
from tests.waiting import wait_until

NOT_RUNNING = sorted(set(State) - {State.RUNNING})
MISSING = 2**62
#: Whether a session waits for another one's transaction.
IS_WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"


@pytest.fixture
def store(any_store):
    return any_store


def outcome(changed):
    return [(job.id, job.state, job.changed) for job in changed]


class TestCancel:
    @pytest.mark.parametrize("state", sorted(OPEN - {State.RUNNING}))
    def test_ends_what_does_not_run(self, store, state):
        job = JobFactory(state=state, queue="other")

        assert store.job_cancel([job.id]) == [(job.id, "other", "cancelled", True)]
        after = row(job)
        assert after.state == "cancelled"
        assert after.finalized_at is not None
        assert "cancel_attempted_at" in after.metadata

    def test_marks_what_runs(self, store):
        job = run(store, metadata=b'{"a":1}')

        assert outcome(store.job_cancel([job.id])) == [(job.id, "running", True)]
        after = row(job)
        assert (after.state, after.finalized_at, after.attempt) == ("running", None, 1)
        assert after.metadata.keys() == {"a", "cancel_attempted_at"}

    def test_says_when_in_the_form_of_river(self, store):
        job = insert(store)

        store.job_cancel([job.id])

        after = row(job)
        assert after.metadata["cancel_attempted_at"].endswith("Z")
        assert datetime.fromisoformat(after.metadata["cancel_attempted_at"]) == after.finalized_at

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_leaves_what_is_over(self, store, state):
        job = JobFactory(state=state)

        assert outcome(store.job_cancel([job.id])) == [(job.id, state, False)]
        assert row(job).metadata == job.metadata

    def test_answers_for_all_by_id_and_leaves_out_what_is_missing(self, store):
        jobs = [JobFactory(state=state) for state in State]
        ids = [job.id for job in jobs]

        changed = store.job_cancel([*reversed(ids), MISSING, *ids])

        assert [job.id for job in changed] == ids
        assert [job.changed for job in changed] == [job.state not in FINAL for job in jobs]

    def test_of_none_is_none(self, store):
        assert store.job_cancel([]) == store.job_retry([]) == store.job_delete([]) == []

    def test_is_seen_by_who_asks(self, store):
        asked, other = run(store), run(store)
        store.job_cancel([asked.id])

        assert store.job_look(ME, [(asked.id, 1), (other.id, 1)]) == [(asked.id, 1, False)]

    @pytest.mark.parametrize("malformed", [[], [1], "cancel_attempted_at", 5], ids=str)
    def test_works_on_metadata_that_is_no_object(self, store, malformed):
        job = JobFactory(running=True, attempted_by=[ME], metadata=malformed)

        store.job_cancel([job.id])

        assert store.job_look(ME, [(job.id, 1)]) == [(job.id, 1, False)]

    def test_does_not_take_a_key_that_the_job_had_let_go(self, store):
        """A retryable job without its key, which would hold it as cancelled: somebody else has it now."""
        states = WITHOUT_RETRYABLE | State.CANCELLED.bit
        job = JobFactory(retryable=True, **unique("a", unique_states=states))
        JobFactory(**unique("a", unique_states=states))

        assert outcome(store.job_cancel([job.id])) == [(job.id, "cancelled", True)]
        assert row(job).unique_states == WITHOUT_RETRYABLE

    def test_keeps_a_key_that_the_job_holds(self, store):
        states = State.CANCELLED.bit | WITHOUT_RETRYABLE
        job = insert(store, **unique("a", unique_states=states))

        store.job_cancel([job.id])

        assert row(job).unique_states == states
        assert insert(store, **unique("a", unique_states=states)).skipped


class TestRetry:
    @pytest.mark.parametrize("state", NOT_RUNNING)
    def test_makes_a_job_available_now(self, store, state):
        job = JobFactory(state=state, queue="other", scheduled_at=timezone.now() + HOUR)

        assert store.job_retry([job.id]) == [(job.id, "other", "available", True)]
        after = row(job)
        assert (after.state, after.finalized_at, after.attempt) == ("available", None, job.attempt)
        assert [claimed.id for claimed in claim(store, queue="other")] == [job.id]

    def test_leaves_what_runs(self, store):
        job = run(store)

        assert outcome(store.job_retry([job.id])) == [(job.id, "running", False)]
        assert row(job).attempt == 1

    def test_a_waiting_job_keeps_its_place(self, store):
        job = JobFactory(scheduled_at=timezone.now() - HOUR)

        store.job_retry([job.id])

        assert row(job).scheduled_at == job.scheduled_at

    @pytest.mark.parametrize(
        ("attempt", "before", "after"), [(0, 3, 3), (2, 3, 3), (3, 3, 4), (9, 3, 10), (32767, 32767, 32767)]
    )
    def test_gives_one_attempt_more_if_none_is_left(self, store, attempt, before, after):
        job = JobFactory(completed=True, attempt=attempt, max_attempts=before, errors=None, attempted_by=None)

        store.job_retry([job.id])

        assert row(job).max_attempts == after

    def test_forgets_that_the_job_was_cancelled(self, store):
        job = run(store, metadata=b'{"a":1}')
        store.job_cancel([job.id])
        settle(store, job, State.CANCELLED)
        store.job_retry([job.id])
        (again,) = claim(store)

        assert settle(store, again, State.RETRYABLE, delay=HOUR) == "retryable"
        assert row(job).metadata == {"a": 1}

    def test_forgets_that_the_key_was_taken(self, store):
        job = JobFactory(discarded=True, metadata={"unique_key_conflict": "scheduler_discarded"})

        store.job_retry([job.id])

        assert row(job).metadata == {}

    @pytest.mark.parametrize("malformed", [[], [1], "text", 5], ids=str)
    def test_works_on_metadata_that_is_no_object(self, store, malformed):
        broken, sound = JobFactory(completed=True, metadata=malformed), JobFactory(completed=True)

        assert [job.changed for job in store.job_retry([broken.id, sound.id])] == [True, True]

    def test_leaves_a_job_whose_key_another_has_taken(self, store):
        job, holder = JobFactory(discarded=True, **unique("a")), JobFactory(**unique("a"))
        other = JobFactory(discarded=True, **unique("b"))

        changed = store.job_retry([job.id, holder.id, other.id])

        assert outcome(changed) == [
            (job.id, "discarded", False),
            (holder.id, "available", True),
            (other.id, "available", True),
        ]
        assert row(job).finalized_at == job.finalized_at

    def test_of_twins_retries_the_first(self, store):
        twins = [JobFactory(discarded=True, **unique("a")) for _ in range(3)]

        assert [job.changed for job in store.job_retry([job.id for job in twins])] == [True, False, False]

    @pytest.mark.parametrize("state", ["completed", "pending", "retryable", "scheduled"])
    def test_a_job_is_no_rival_of_itself(self, store, state):
        job = JobFactory(state=state, **unique("a"))

        assert outcome(store.job_retry([job.id])) == [(job.id, "available", True)]

    @pytest.mark.postgres
    def test_a_key_taken_while_we_look_is_noticed(self, using, store, other_store):
        """The holder is inserted, but not yet committed, when the retry looks for it."""
        job = JobFactory(discarded=True, **unique("a"))
        answers: list[object] = []

        def retry() -> None:
            own = storage.open_storage(using, timeout=20)
            answers.append(outcome(own.job_retry([job.id])))
            own.close()

        thread = threading.Thread(target=retry)
        with other_store.session.atomic():
            insert(other_store, **unique("a"))
            thread.start()
            wait_until(lambda: store.session.execute(IS_WAITING, {}))
        thread.join()

        assert answers == [[(job.id, "discarded", False)]]


class TestDelete:
    @pytest.mark.parametrize("state", NOT_RUNNING)
    def test_takes_the_row_away(self, store, state):
        job = JobFactory(state=state, queue="other")

        assert store.job_delete([job.id]) == [(job.id, "other", state, True)]
        assert not Job.objects.exists()

    def test_leaves_what_runs(self, store):
        job = run(store)

        assert outcome(store.job_delete([job.id])) == [(job.id, "running", False)]
        assert Job.objects.exists()

    def test_frees_the_key(self, store):
        job = insert(store, **unique("a"))

        store.job_delete([job.id])

        assert not insert(store, **unique("a")).skipped
