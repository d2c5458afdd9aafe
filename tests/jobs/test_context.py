"""What a running job may know and do about itself."""

from __future__ import annotations

import time

import pytest

from django_river import JobContext, JobInterrupted
from django_river.exceptions import ArgumentTypeError, ArgumentValueError
from django_river.jobs.context import CancelReason


def context(**given) -> JobContext:
    return JobContext(**{"id": 7} | given)


def test_knows_the_job():
    job = context(kind="a", queue="q", attempt=2, max_attempts=3, metadata='{"a": [1]}')

    assert (job.id, job.kind, job.queue, job.attempt, job.max_attempts) == (7, "a", "q", 2, 3)
    assert job.metadata == {"a": [1]}
    assert job.metadata is job.metadata


@pytest.mark.parametrize(("metadata", "count"), [(b"{}", 0), (b'{"snoozes":3}', 3), (b'{"snoozes":"x"}', 0)])
def test_knows_how_often_it_snoozed(metadata, count):
    assert context(metadata=metadata).snoozes == count


class TestCancel:
    def test_is_not_asked_for_at_first(self):
        job = context()

        assert not job.cancelled
        assert job.cancel_reason is None
        job.raise_if_cancelled()

    @pytest.mark.parametrize("reason", CancelReason)
    def test_says_why(self, reason):
        job = context()
        job.cancel(reason)

        assert job.cancelled
        assert job.cancel_reason is reason
        with pytest.raises(JobInterrupted, match=f"^{reason.value}$"):
            job.raise_if_cancelled()

    def test_keeps_the_first_reason(self):
        job = context()
        job.cancel(CancelReason.SHUTDOWN)
        job.cancel(CancelReason.CANCEL)

        assert job.cancel_reason is CancelReason.SHUTDOWN

    def test_comes_when_the_time_is_up(self):
        assert context(deadline=time.monotonic()).cancel_reason is CancelReason.TIMEOUT
        assert context(deadline=time.monotonic() + 3600).cancel_reason is None

    def test_by_somebody_wins_over_time_that_ran_out_later(self):
        job = context(deadline=time.monotonic())
        job.cancel(CancelReason.CANCEL)

        assert job.cancel_reason is CancelReason.CANCEL


class TestOutput:
    def test_is_kept_as_json(self):
        job = context()
        assert job.output is None

        job.record_output([1])
        job.record_output({"pages": 3})

        assert job.output == b'{"pages":3}'

    def test_that_json_cannot_hold_is_refused_and_changes_nothing(self):
        job = context(max_output_bytes=10)
        job.record_output(1)

        with pytest.raises(ArgumentTypeError, match=r"^output: expected a JSON value, got set"):
            job.record_output({1})
        with pytest.raises(
            ArgumentValueError, match=r"^output: 11 bytes of JSON, more than the limit of 10$"
        ):
            job.record_output("x" * 9)
        assert job.output == b"1"


def test_a_heartbeat_is_noted():
    job = context()
    before = job.heartbeat_at

    job.heartbeat()

    assert before <= job.heartbeat_at <= time.monotonic()
