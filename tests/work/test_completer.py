"""Results on their way into the database: in batches, through the fence, none lost."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError, connection, connections, transaction

from django_river import operations
from django_river.jobs.states import State
from django_river.models import Job
from django_river.service import Backoff
from django_river.signals import job_finished, job_result_refused
from django_river.storage.base import Demand, JobSetState
from django_river.work import completer as module
from django_river.work.attempts import Attempts
from django_river.work.completer import Completer
from django_river.work.outcomes import INTERRUPTED, SUCCESS, Outcome
from tests.waiting import wait_until
from tests.work.building import Unreliable, claim, registry_of, times

FAILED = Outcome(State.RETRYABLE, delay=timedelta(hours=1), error="ValueError: x")
#: No database can hold the moment when it is due.
POISON = Outcome(State.RETRYABLE, delay=timedelta.max)


@pytest.fixture
def unreliable(open_store):
    return Unreliable(open_store())


@pytest.fixture
def attempts():
    return Attempts()


@pytest.fixture
def completer(unreliable, attempts):
    """A completer whose thread has not been started, and does not wait long when it fails."""
    completer = Completer(storage=unreliable, client_id="me", attempts=attempts, registry=registry_of())
    completer._backoff = Backoff(first=0.01, longest=0.01)
    yield completer
    assert completer.stop(10)


@pytest.fixture
def told():
    """What the signals say: (job's id, state) for results that were stored, (job's id, None) for refused ones."""
    heard = []

    def finished(job, state, client_id, **_):
        heard.append((job.id, state))

    def refused(job, client_id, **_):
        heard.append((job.id, None))

    job_finished.connect(finished)
    job_result_refused.connect(refused)
    yield heard
    job_finished.disconnect(finished)
    job_result_refused.disconnect(refused)


@pytest.fixture
def put(completer, attempts):
    """Hands results to the completer, as jobs that end do."""

    def put_all(given, outcome=SUCCESS):
        attempts.add(given)
        for attempt in given:
            attempt.take()
            completer.put(attempt, outcome)

    return put_all


def states():
    return sorted(Job.objects.values_list("state", flat=True))


def row(attempt):
    return Job.objects.get(pk=attempt.job.id)


class Unsayable(Outcome):
    """Says nothing that could stand in a row."""

    def change(self, job, remains=None):
        raise ValueError("no such thing")


class TestStoring:
    def test_stores_what_is_put(self, completer, put, store, attempts):
        completer.start()
        put(claim(store, 3))

        assert completer.flush(10)
        assert states() == ["completed"] * 3
        assert (len(attempts), completer.backlog) == (0, 0)

    def test_gathers_while_it_writes(self, completer, put, store, unreliable):
        begun, go_on = threading.Event(), threading.Event()

        def hold_first(*args):
            if len(unreliable.calls) == 1:
                begun.set()
                go_on.wait(10)

        unreliable.before = hold_first
        completer.start()
        first, *others = claim(store, 30)
        put([first])
        wait_until(begun.is_set)
        put(others)
        go_on.set()

        assert completer.flush(10)
        assert [len(changes) for _, changes in unreliable.calls] == [1, 29]

    def test_writes_no_more_at_once_than_its_limit(self, completer, put, store, unreliable, monkeypatch):
        monkeypatch.setattr(module, "MAX_BATCH", 10)
        completer._batch_limit = 10
        put(claim(store, 25))
        completer.start()

        assert completer.flush(10)
        assert [len(changes) for _, changes in unreliable.calls] == [10, 10, 5]

    def test_stores_errors_snoozes_and_interruptions_together(self, completer, put, store):
        snoozed = Outcome(State.SCHEDULED, delay=timedelta(hours=1), snoozed=True, give_attempt_back=True)
        given = claim(store, 4)
        for attempt, outcome in zip(given, [SUCCESS, FAILED, snoozed, INTERRUPTED], strict=True):
            put([attempt], outcome)
        completer.start()

        assert completer.flush(10)
        assert [(row(attempt).state, row(attempt).attempt) for attempt in given] == [
            ("completed", 1), ("retryable", 1), ("scheduled", 0), ("available", 0),
        ]  # fmt: skip
        assert row(given[1]).errors[0]["error"] == "ValueError: x"
        assert row(given[2]).metadata == {"snoozes": 1}

    def test_writes_what_is_left_when_it_is_stopped(self, completer, put, store):
        completer.start()
        put(claim(store, 5))
        completer.stop()

        assert states() == ["completed"] * 5


class TestSignals:
    def test_say_what_was_stored(self, completer, put, store, told):
        good, bad = claim(store, 2)
        put([good])
        put([bad], FAILED)
        completer.start()
        completer.stop()

        assert sorted(told) == [(good.job.id, State.COMPLETED), (bad.job.id, State.RETRYABLE)]

    def test_say_cancelled_where_a_cancel_has_won(self, completer, put, store, told):
        (attempt,) = claim(store)
        operations.cancel(attempt.job.id)
        put([attempt], FAILED)
        completer.start()
        completer.stop()

        assert told == [(attempt.job.id, State.CANCELLED)]
        assert row(attempt).state == "cancelled"

    def test_receivers_may_fail(self, completer, put, store, attempts):
        def fail(**_):
            raise ValueError

        job_finished.connect(fail)
        put(claim(store, 2))
        completer.start()
        completer.stop()
        job_finished.disconnect(fail)

        assert len(attempts) == 0

    def test_connections_of_receivers_are_closed_at_the_end(self, completer, put, store):
        used = []

        def count(**_):
            Job.objects.count()
            used.append(connections["default"])

        job_finished.connect(count)
        put(claim(store))
        completer.start()
        wait_until(lambda: used)
        completer.stop()
        job_finished.disconnect(count)

        assert used[0].connection is None

    @pytest.mark.postgres
    def test_a_broken_connection_of_receivers_is_replaced(self, completer, put, store):
        counted = []

        def count_and_break_off(**_):
            counted.append(Job.objects.count())
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        job_finished.connect(count_and_break_off)
        completer.start()
        for number in range(1, 4):
            put(claim(store))
            wait_until(lambda number=number: len(counted) == number)
        completer.stop()
        job_finished.disconnect(count_and_break_off)

        assert counted == [1, 2, 3]


class TestFence:
    @pytest.mark.parametrize(
        "change", [{"attempt": 2}, {"attempted_by": ["me", "another"]}, {"state": "available"}, None]
    )
    def test_leaves_a_row_alone_that_has_changed_meanwhile(self, completer, put, store, told, caplog, change):
        (attempt,) = claim(store)
        rows = Job.objects.filter(pk=attempt.job.id)
        _ = rows.update(**change) if change else rows.delete()
        before = list(rows.values())
        put([attempt])
        completer.start()

        assert completer.flush(10)
        wait_until(lambda: told == [(attempt.job.id, None)])
        assert list(rows.values()) == before
        assert f"job {attempt.job.id} (tests.work): the result of attempt 1 was refused" in caplog.text

    def test_keeps_nothing_of_the_attempt(self, completer, put, store, attempts):
        given = claim(store)
        Job.objects.all().delete()
        put(given)
        completer.start()

        assert completer.flush(10)
        assert len(attempts) == 0


class TestDatabaseAway:
    @pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("closed")])
    def test_loses_nothing(self, completer, put, store, unreliable, told, error):
        unreliable.before = times(4, error)
        put(claim(store, 10))
        completer.start()

        assert completer.flush(10)
        assert states() == ["completed"] * 10
        wait_until(lambda: len(told) == 10)

    def test_tries_smaller_parts_and_grows_again(self, completer, put, store, unreliable):
        unreliable.before = times(2, OperationalError("slow"))
        put(claim(store, 64))
        completer.start()

        assert completer.flush(10)
        assert [len(changes) for _, changes in unreliable.calls] == [64, 16, 4, 8, 16, 32, 4]

    def test_is_told_when_time_runs_out(self, completer, put, store, unreliable, caplog):
        unreliable.before = times(10**6, OperationalError("away"))
        put(claim(store, 2))
        completer.start()

        assert not completer.flush(0.05)
        assert completer.stop(10)
        assert not completer.flush(10)
        assert "2 results could not be stored; their jobs will be rescued" in caplog.text

    def test_a_lost_answer_is_not_taken_for_a_refusal(
        self, completer, put, store, unreliable, told, attempts, caplog
    ):
        caplog.set_level("INFO")
        unreliable.after = times(1, OperationalError("the connection was cut"))
        (attempt,) = claim(store)
        put([attempt])
        completer.start()

        assert completer.flush(10)
        wait_until(lambda: "its result was stored by a write whose answer was lost" in caplog.text)
        assert (row(attempt).state, told, len(attempts)) == ("completed", [], 0)

    def test_a_lost_answer_never_speaks_for_a_newer_claim(self, completer, put, store, unreliable, attempts):
        newer = []

        def claim_again(*args):
            # The write is committed, and its answer lost; before it is tried again, we claim the job anew.
            if not newer:
                jobs = store.job_fetch("me", [Demand(queue="default", limit=1)], 1)
                newer.extend(type(attempt)(job, attempt.producer) for job in jobs)
                attempts.add(newer)
                raise OperationalError("the connection was cut")

        unreliable.after = claim_again
        (attempt,) = claim(store)
        put([attempt], INTERRUPTED)
        completer.start()

        assert completer.flush(10)
        assert (row(attempt).state, row(attempt).attempt) == ("running", 1)
        assert attempts.all() == newer

    @pytest.mark.postgres
    def test_a_locked_row_keeps_only_its_own_result_waiting(
        self, put, open_store, completer, unreliable, store
    ):
        unreliable.storage = open_store(timeout=0.2)
        locked, *others = claim(store, 20)
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=locked.job.id)
            put([locked, *others])
            completer.start()
            wait_until(lambda: Job.objects.filter(state="completed").count() == 19, 20)
            assert completer.backlog == 1

        assert completer.flush(10)
        assert row(locked).state == "completed"


class TestPoison:
    def test_that_cannot_be_said_in_a_row_fails_its_attempt_only(self, completer, put, store, caplog):
        poisoned, *others = claim(store, 3)
        put([poisoned], Unsayable(State.COMPLETED))
        put(others)
        completer.start()

        assert completer.flush(10)
        assert states() == ["completed", "completed", "retryable"]
        assert row(poisoned).errors[0]["error"] == "the result could not be stored: no such thing"
        assert f"the result of job {poisoned.job.id} cannot be stored" in caplog.text

    def test_harms_itself_only(self, completer, put, store, told, caplog):
        poisoned, *others = claim(store, 5)
        put([poisoned], POISON)
        put(others)
        completer.start()

        assert completer.flush(10)
        assert states() == ["completed"] * 4 + ["retryable"]
        assert row(poisoned).errors[0]["error"].startswith("the result could not be stored: ")
        assert "a batch of 5 results was refused, writing them one by one" in caplog.text
        wait_until(lambda: len(told) == 5)

    def test_at_the_last_attempt_is_discarded(self, completer, put, store):
        (attempt,) = claim(store, max_attempts=1)
        put([attempt], POISON)
        completer.start()

        assert completer.flush(10)
        assert row(attempt).state == "discarded"

    def test_that_cannot_be_stored_at_all_is_left_to_the_rescuer(
        self, completer, put, store, unreliable, caplog
    ):
        bad, good = claim(store, 2)

        def refuse(client_id, changes):
            if any(change.id == bad.job.id for change in changes):
                raise ValueError("never")

        unreliable.before = refuse
        put([bad, good])
        completer.start()

        assert completer.flush(10)
        assert (row(good).state, row(bad).state) == ("completed", "running")
        assert f"nor can its failure; job {bad.job.id} will be rescued" in caplog.text

    @pytest.mark.parametrize("calls_before", [2, 3])
    def test_while_the_database_goes_away_is_tried_again(
        self, completer, put, store, unreliable, calls_before
    ):
        def go_away(*args):
            if len(unreliable.calls) == calls_before:
                raise OperationalError("away")

        unreliable.before = go_away
        bad, good = claim(store, 2)
        put([bad], POISON)
        put([good])
        completer.start()

        assert completer.flush(10)
        assert (row(good).state, row(bad).state) == ("completed", "retryable")


class TestBackpressure:
    def test_chokes_above_its_limit_until_half_is_written(self, completer, monkeypatch):
        monkeypatch.setattr(module, "BACKLOG_LIMIT", 4)

        def choked_with(size):
            completer._results.clear()
            completer._results.extend([None] * size)
            return completer.is_choked

        assert [choked_with(size) for size in (4, 5, 4, 3, 2, 4)] == [False, True, True, True, False, False]
        completer._results.clear()

    def test_counts_what_is_being_written(self, completer, put, store, unreliable):
        seen = []
        unreliable.before = lambda *args: seen.append(completer.backlog)
        put(claim(store, 7))
        completer.start()
        completer.flush(10)

        assert seen == [7]

    def test_flush_of_nothing_is_done(self, completer):
        assert completer.flush(0)


def test_a_change_for_a_job_that_is_gone_is_no_error(store):
    assert store.job_set_state_many("me", [JobSetState(id=1, attempt=1, state=State.COMPLETED)]) == []
