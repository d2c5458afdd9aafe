"""The rows that tests start from are rows that could have come about."""

from __future__ import annotations

import pytest

from django_river.jobs.states import FINAL, State
from tests.factories import ATTEMPTED, ClientFactory, JobFactory, LeaderFactory, QueueFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("state", State)
def test_a_job_is_what_its_state_says(state):
    job = JobFactory(state=state)
    job.refresh_from_db()

    assert job.state == state
    assert (job.finalized_at is not None) is (state in FINAL)
    assert (job.attempt > 0) is (state in ATTEMPTED) is bool(job.attempted_by)
    assert len(job.errors or []) == job.attempt - (state in {State.COMPLETED, State.RUNNING})
    assert ("cancel_attempted_at" in job.metadata) is (state is State.CANCELLED)


@pytest.mark.parametrize("state", State)
def test_each_state_is_a_trait(state):
    assert JobFactory(**{state.value: True}).state == state


def test_an_attempt_that_is_given_brings_its_errors():
    job = JobFactory(retryable=True, attempt=3)

    assert [entry["attempt"] for entry in job.errors] == [1, 2, 3]
    assert len(job.attempted_by) == 3


def test_the_others_have_their_opposites():
    assert QueueFactory(paused=True).is_paused
    assert not QueueFactory().is_paused
    assert ClientFactory(stale=True).heartbeat_at < ClientFactory().heartbeat_at
    assert LeaderFactory.build(expired=True).expires_at < LeaderFactory.build().expires_at
