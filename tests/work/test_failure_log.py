"""What an operator reads about failures."""

from datetime import timedelta

from django_river.jobs.states import State
from django_river.storage.base import ClaimedJob
from django_river.work import outcomes
from django_river.work.attempts import Attempt
from django_river.work.outcomes import Outcome
from django_river.work.producer import Producer
from django_river.work.workers import _log

ATTEMPT = Attempt(
    ClaimedJob(7, "shop.send", "default", 1, 2, 5, 1, "{}", "{}"), Producer("default", max_workers=1)
)


def test_one_that_is_tried_again_is_a_warning(caplog):
    _log(ATTEMPT, Outcome(State.RETRYABLE, delay=timedelta(seconds=16), error="ValueError: no", trace="…"))

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "job 7 (shop.send) failed in attempt 2 of 5, again in 0:00:16: ValueError: no"
    )


def test_one_that_ends_the_job_is_an_error_with_its_traceback(caplog):
    _log(ATTEMPT, Outcome(State.DISCARDED, error="ValueError: no", trace="Traceback: …"))

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage() == (
        "job 7 (shop.send) is discarded after attempt 2: ValueError: no\nTraceback: …"
    )


def test_other_ends_are_no_failures(caplog):
    for outcome in (
        outcomes.SUCCESS,
        outcomes.INTERRUPTED,
        outcomes.snoozed(timedelta(0)),
        Outcome(State.CANCELLED, error="not needed"),
    ):
        _log(ATTEMPT, outcome)

    assert not caplog.records
