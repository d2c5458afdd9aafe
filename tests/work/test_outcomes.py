"""What an ended attempt makes of its row."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from django_river import FixedRetry, JobCancel, JobDiscard, JobSnooze, NoRetry, RetryOn
from django_river.exceptions import JobInterrupted, JobTimeout
from django_river.jobs.context import CancelReason, JobContext
from django_river.jobs.retry import Failure
from django_river.jobs.states import State
from django_river.work import outcomes
from django_river.work.outcomes import INTERRUPTED, MAX_ERROR, MAX_TRACE, SUCCESS, Outcome, storable
from tests.work.building import claimed, registry_of


def definition(**options):
    return registry_of(test=(lambda: None, options)).get("test")


def cancelled(reason):
    context = JobContext(id=1)
    context.cancel(reason)
    return context


def entry(change):
    return msgspec.json.decode(change.error)


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("cannot be printed")


class Shouting(Exception):
    def __str__(self):
        return None  # noqa: PLE0307  (on purpose)


class TestRaised:
    def ends(self, error, *, context=None, job=None, **options):
        return outcomes.raised(error, job or claimed(), definition(**options), context)

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), StopIteration(),
            MemoryError(), RecursionError(), TimeoutError(), JobTimeout("late"), JobInterrupted("x"), Unprintable(),
            Shouting(), BaseExceptionGroup("many", [KeyboardInterrupt()]), Exception("\udcff", "\x00"),
        ],
        ids=repr,
    )  # fmt: skip
    def test_every_exception_is_a_failure_that_is_retried(self, error):
        ended = self.ends(error, retry=FixedRetry(60))

        assert (ended.state, ended.delay) == (State.RETRYABLE, timedelta(seconds=60))
        assert ended.error.startswith(type(error).__name__)
        assert ended.change(claimed()).error

    def test_a_short_retry_is_available_at_once(self):
        assert self.ends(ValueError(), retry=FixedRetry(5)).state is State.AVAILABLE
        assert self.ends(ValueError(), retry=FixedRetry(5.1)).state is State.RETRYABLE

    def test_the_last_attempt_is_discarded(self):
        ended = self.ends(ValueError("x"), job=claimed(attempt=3, max_attempts=3))

        assert (ended.state, ended.delay, ended.error) == (State.DISCARDED, None, "ValueError: x")

    def test_a_policy_may_say_never_again(self):
        assert self.ends(ValueError(), retry=NoRetry()).state is State.DISCARDED

    def test_a_policy_is_told_what_failed(self):
        told = []
        error = ValueError()
        self.ends(error, retry=lambda failure: told.append(failure) or 7, job=claimed(attempt=4, errors=2))

        assert told == [Failure("test", 4, 25, 3, error)]

    @pytest.mark.parametrize("policy", [lambda failure: 1 / 0, lambda failure: "soon", lambda: 1])
    def test_a_policy_that_fails_is_replaced_by_the_default(self, policy, caplog):
        ended = self.ends(ValueError(), retry=policy, job=claimed(errors=2))

        assert ended.delay.total_seconds() == pytest.approx(81, rel=0.11)
        assert "the retry policy of test failed, using the default" in caplog.text

    @pytest.mark.parametrize(
        "answer", [-5, float("inf"), float("nan"), timedelta(days=-1), timedelta.max, 10**400]
    )
    def test_no_answer_of_a_policy_is_out_of_bounds(self, answer):
        ended = self.ends(ValueError(), retry=lambda failure: answer)

        assert timedelta(0) <= ended.delay <= timedelta(days=365)

    def test_rules_per_exception(self):
        retry = RetryOn({LookupError: NoRetry()}, otherwise=FixedRetry(60))

        assert self.ends(KeyError(), retry=retry).state is State.DISCARDED
        assert self.ends(ValueError(), retry=retry).state is State.RETRYABLE

    def test_a_job_may_end_itself(self):
        assert self.ends(JobCancel("enough")) == Outcome(State.CANCELLED, error="enough")
        assert self.ends(JobDiscard("hopeless")) == Outcome(State.DISCARDED, error="hopeless")

    def test_a_reason_that_cannot_be_printed_ends_it_too(self):
        class Odd:
            def __str__(self):
                raise ValueError

        assert self.ends(JobCancel(Odd())).state is State.CANCELLED
        assert self.ends(JobDiscard(Odd())).state is State.DISCARDED

    def test_a_snooze(self):
        assert self.ends(JobSnooze(5)) == Outcome(
            State.AVAILABLE, timedelta(seconds=5), snoozed=True, give_attempt_back=True
        )
        assert self.ends(JobSnooze(timedelta(minutes=1))).state is State.SCHEDULED

    def test_a_snooze_for_ever_is_one_that_the_databases_can_hold(self):
        assert self.ends(JobSnooze(timedelta.max)).delay <= timedelta(days=100 * 366)

    def test_an_interruption_by_the_shutdown_does_not_count(self):
        for error in (JobInterrupted("shutdown"), asyncio.CancelledError(), ValueError()):
            assert self.ends(error, context=cancelled(CancelReason.SHUTDOWN)) is INTERRUPTED

    def test_a_snooze_during_the_shutdown_is_a_snooze(self):
        assert self.ends(JobSnooze(60), context=cancelled(CancelReason.SHUTDOWN)).state is State.SCHEDULED

    def test_a_cancel_from_outside(self):
        ended = self.ends(JobInterrupted("cancel"), context=cancelled(CancelReason.CANCEL))

        assert ended == Outcome(State.CANCELLED, error="cancelled while running")

    def test_a_timeout_is_a_failure(self):
        ended = self.ends(JobTimeout("took too long"), context=cancelled(CancelReason.TIMEOUT))

        assert (ended.state, ended.error) == (State.AVAILABLE, "JobTimeout: took too long")

    def test_works_for_a_kind_that_is_gone(self):
        assert outcomes.raised(ValueError(), claimed(), None, None).state is State.AVAILABLE


class TestTrace:
    def test_is_whole_when_only_our_code_was_involved(self):
        arguments = registry_of(test=lambda: None).get("test").arguments
        try:
            arguments.decode(b"{]")
        except Exception as error:
            trace = outcomes.trace_of(error)

        assert "arguments.py" in trace

    def test_of_code_without_a_module(self):
        with pytest.raises(ValueError) as raised:
            exec("raise ValueError", {"__name__": None})

        assert "ValueError" in outcomes.trace_of(raised.value)

    def test_that_cannot_be_formatted_is_left_out(self, monkeypatch, caplog):
        monkeypatch.setattr("traceback.format_exception", lambda *args: 1 / 0)

        assert outcomes.trace_of(ValueError()) == ""
        assert "the traceback of ValueError cannot be formatted" in caplog.text


class TestUnknownKind:
    def test_is_retried_as_a_failure(self):
        ended = outcomes.unknown_kind(claimed(kind="foreign", errors=3))

        assert ended.state is State.RETRYABLE
        assert ended.error == "LookupError: no job of kind 'foreign' is registered in this process"

    @pytest.mark.parametrize("errors", [0, 3, 40])
    def test_is_never_discarded(self, errors, caplog):
        ended = outcomes.unknown_kind(claimed(attempt=25, max_attempts=25, errors=errors))

        assert (ended.state, ended.give_attempt_back, ended.error) == (State.RETRYABLE, True, None)
        assert "it is kept for a client that knows it" in caplog.text


class TestChange:
    def test_of_a_plain_success_is_plain(self):
        assert SUCCESS.change(claimed()).is_plain_success

    def test_carries_the_recorded_output(self):
        change = SUCCESS.change(claimed(), {"output": b'{"pages": 7}'})

        assert not change.is_plain_success
        assert msgspec.json.decode(change.metadata) == {"output": {"pages": 7}}

    @pytest.mark.parametrize(
        ("metadata", "count"),
        [
            (b"{}", 1), (b'{"snoozes": 2}', 3), (b'{"snoozes": "2"}', 1), (b'{"snoozes": 1e400}', 1), (b"[]", 1),
            (b"oops", 1), (b'{"snoozes": true}', 1), (b'{"snoozes": 99999999999999999999}', 1), (b'{"snoozes": -4}', 1),
        ],
    )  # fmt: skip
    def test_counts_snoozes(self, metadata, count):
        change = outcomes.snoozed(timedelta(0)).change(claimed(metadata=metadata))

        assert msgspec.json.decode(change.metadata) == {"snoozes": count}

    def test_names_the_attempt_and_the_job(self):
        change = INTERRUPTED.change(claimed(id=12, attempt=4))

        assert (change.id, change.attempt, change.give_attempt_back) == (12, 4, True)
        assert (change.delay, change.error, change.metadata) == (None, None, None)

    def test_keeps_an_error_with_its_traceback(self):
        change = Outcome(State.DISCARDED, error="no", trace="there").change(claimed(attempt=3))

        assert entry(change) == {"attempt": 3, "error": "no", "trace": "there"}

    @pytest.mark.parametrize("text", ["nul \x00", "half \udc80 pair", "\ud83d\ude00"])
    def test_keeps_text_that_the_databases_refuse(self, text):
        kept = entry(Outcome(State.DISCARDED, error=text, trace=text).change(claimed()))

        assert "\x00" not in kept["error"]
        assert kept["error"] == kept["trace"]

    def test_cuts_what_is_too_long(self):
        kept = entry(Outcome(State.DISCARDED, error="e" * 10**6, trace="t" * 10**6).change(claimed()))

        assert len(kept["error"]) < MAX_ERROR + 100
        assert len(kept["trace"]) < MAX_TRACE + 100


class TestStorable:
    def test_leaves_good_text_alone(self):
        assert storable("Éé 😀", 10) == "Éé 😀"

    def test_cuts_in_the_middle(self):
        assert storable("a" * 50 + "b" * 50, 10) == "aaaaa\n… 90 characters left out …\nbbbbb"
