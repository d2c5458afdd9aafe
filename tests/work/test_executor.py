"""One attempt, run: context, arguments, timeouts, and whatever a job may raise."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError
from django.utils import translation

from django_river import FixedRetry, JobContext
from django_river.conf import Config
from django_river.jobs.context import CancelReason
from django_river.jobs.states import State
from django_river.queue_options import QueueConfig
from django_river.signals import job_started
from django_river.work.outcomes import INTERRUPTED, SUCCESS
from django_river.work.producer import Producer
from tests.work.building import Settled, attempt_at, executor_of

LATER = {"retry": FixedRetry(60)}
coloured = contextvars.ContextVar("coloured", default="no")


@pytest.fixture
def settled():
    return Settled()


def run(executor, attempt):
    """Run an attempt where its job belongs."""
    if executor.is_async(attempt):
        return async_to_sync(executor.aexecute)(attempt)
    return executor.execute(attempt)


@pytest.fixture(params=["sync", "async"])
def end(request, settled):
    """Runs a function as a sync job or as an async one; its outcome."""

    def run_function(function, options=LATER, *, of=None, **given):
        async def function_async(context):
            return function(context)

        job = function_async if request.param == "async" else lambda context: function(context)  # noqa: PLW0108  (its signature counts)
        executor = executor_of(settled, test=(job, options))
        assert run(executor, of or attempt_at(**given))
        return settled[-1][1]

    return run_function


class TestBoth:
    def test_a_job_that_returns_has_succeeded(self, end):
        assert end(lambda context: "ignored") is SUCCESS

    def test_the_context_says_which_job_this_is(self, end):
        seen = []
        end(seen.append, id=7, attempt=3, max_attempts=9, queue="q", metadata=b'{"a": 1}')
        (context,) = seen

        assert isinstance(context, JobContext)
        assert (context.id, context.attempt, context.max_attempts) == (7, 3, 9)
        assert (context.kind, context.queue, context.metadata) == ("test", "q", {"a": 1})

    @pytest.mark.parametrize(
        "error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, OSError]
    )
    def test_whatever_a_job_raises_is_a_failure(self, end, error):
        def fail(context):
            raise error("on purpose")

        ended = end(fail)
        assert ended.state is State.RETRYABLE
        assert ended.error == f"{error.__name__}: on purpose"

    def test_the_traceback_begins_in_the_code_of_the_job(self, end):
        def fail(context):
            raise ValueError("here")

        ended = end(fail)
        assert 'raise ValueError("here")' in ended.trace
        assert "django_river" not in ended.trace

    @pytest.mark.parametrize(
        "args", [b"{]", b'{"number": "x"}', b"{}", b"[]", b'{"number": 1, "more": 2}', b"\xff"]
    )
    def test_arguments_that_cannot_be_read_are_a_failure(self, settled, args):
        def job(number: int):
            raise AssertionError("was called")

        executor = executor_of(settled, test=(job, LATER))
        executor.execute(attempt_at(args=args))

        assert settled[0][1].state is State.RETRYABLE
        assert settled[0][1].error.startswith(("ArgumentValueError: test", "ArgumentTypeError: test"))

    def test_a_definition_that_cannot_be_is_a_failure(self, settled):
        def job(thing: NotThere):  # noqa: F821
            raise AssertionError("was called")

        executor_of(settled, test=(job, LATER)).execute(attempt_at())

        assert settled[0][1].error.startswith("DefinitionError: test: cannot resolve the annotations")

    def test_an_unknown_kind_is_never_discarded(self, settled):
        executor = executor_of(settled)
        attempt = attempt_at(kind="foreign", attempt=25, max_attempts=25)
        assert not executor.is_async(attempt)
        executor.execute(attempt)

        assert settled[0][1].state is State.RETRYABLE

    def test_an_attempt_that_was_given_up_before_it_began_does_not_begin(self, settled):
        called = []
        executor = executor_of(
            settled, sync=lambda: called.append(1), asynchronous=coroutine(called.append, 2)
        )
        for kind in ("sync", "asynchronous"):
            attempt = attempt_at(kind=kind)
            attempt.take()
            assert not run(executor, attempt)

        assert called == []

    @pytest.mark.parametrize("reason", [CancelReason.CANCEL, CancelReason.SHUTDOWN])
    def test_an_attempt_that_was_to_stop_before_it_began_does_not_begin(self, end, reason):
        called = []
        attempt = attempt_at()
        attempt.cancel(reason)

        assert end(called.append, of=attempt) is INTERRUPTED
        assert called == []

    def test_an_attempt_that_is_given_up_meanwhile_is_not_settled_again(self, settled):
        attempt = attempt_at()
        executor = executor_of(settled, test=attempt.take)

        assert not executor.execute(attempt)
        assert settled == []

    def test_a_signal_says_that_an_attempt_begins(self, end):
        told = []

        def receiver(sender, job, client_id, **_):
            told.append((sender.kind, job.id, client_id))
            raise ValueError("what a receiver raises harms nobody")

        job_started.connect(receiver)
        try:
            assert end(lambda context: told.append("begun"), id=5) is SUCCESS
        finally:
            job_started.disconnect(receiver)
        assert told == [("test", 5, "me"), "begun"]

    def test_the_context_knows_when_time_is_up(self, end):
        seen = []
        end(lambda context: seen.append(context.cancel_reason), {"timeout": 1e-9})

        assert seen == [CancelReason.TIMEOUT]


def coroutine(function, *args):
    async def job():
        function(*args)

    return job


class TestSync:
    def test_context_variables_do_not_reach_the_next_job(self, settled):
        def job():
            seen.append((coloured.get(), translation.get_language()))
            coloured.set("red")
            translation.activate("fr")

        seen = []
        executor = executor_of(settled, test=job)
        for _ in range(2):
            executor.execute(attempt_at())

        assert seen == [("no", "en-us")] * 2

    def test_the_thread_is_known(self, settled):
        attempt = attempt_at()
        executor_of(settled, test=lambda: None).execute(attempt)

        assert attempt.thread is threading.current_thread()

    def test_a_job_that_ends_after_its_timeout_has_succeeded_all_the_same(self, settled):
        executor_of(settled, test=(lambda: None, {"timeout": 1e-9})).execute(attempt_at())

        assert settled[0][1] is SUCCESS

    @pytest.mark.parametrize(
        ("own", "of_queue", "default", "timeout"),
        [
            (None, None, None, None),
            (None, None, 7.0, 7.0),
            (None, 5.0, 7.0, 5.0),
            (3, 5.0, 7.0, 3.0),
            (timedelta(minutes=1), None, None, 60.0),
        ],
    )
    def test_the_own_timeout_comes_before_the_queues_and_that_before_the_default(
        self, settled, own, of_queue, default, timeout
    ):
        executor = executor_of(
            settled, config=Config(job_timeout=default), test=(lambda: None, {"timeout": own})
        )
        attempt = attempt_at(Producer("default", config=QueueConfig(timeout=of_queue)))

        assert executor.timeout(executor.registry.get("test"), attempt) == timeout
        assert executor.timers(attempt) == ([] if timeout is None else [(timeout, CancelReason.TIMEOUT)])
        assert executor.deadlines(executor.registry.get("test"), attempt).timeout == timeout

    def test_the_timeout_is_that_of_when_it_began(self, end):
        """Its queue can be changed while it runs."""
        attempt = attempt_at(Producer("default", config=QueueConfig(timeout=1e-9)))

        def job(context):
            attempt.producer.apply(QueueConfig(timeout=None))
            context.raise_if_cancelled()

        assert end(job, of=attempt).error == "JobTimeout: took longer than its timeout of 1e-09 s"


class TestAsync:
    def test_is_known_by_its_function(self, settled):
        executor = executor_of(settled, test=coroutine(lambda: None))

        assert executor.is_async(attempt_at())

    @pytest.mark.parametrize("is_cancelled", [False, True])
    def test_leaves_no_broken_connection_to_the_next(self, settled, monkeypatch, is_cancelled):
        def tidy():
            tidied.append(1)
            if is_cancelled:
                attempt.cancel(CancelReason.SHUTDOWN)

        async def job():
            raise OperationalError("the connection is closed")

        tidied = []
        monkeypatch.setattr("django_river.work.connections.tidy", tidy)
        executor, attempt = executor_of(settled, test=(job, LATER)), attempt_at()

        assert run(executor, attempt)
        assert (tidied, settled[0][1].error) == ([1], "OperationalError: the connection is closed")

    def test_ends_in_time(self, settled):
        run(executor_of(settled, test=(coroutine(lambda: None), {"timeout": 60})), attempt_at())

        assert settled[0][1] is SUCCESS

    def test_a_timeout_of_its_own_is_its_own(self, settled):
        async def job():
            async with asyncio.timeout(0):
                await asyncio.sleep(60)

        run(executor_of(settled, test=(job, {"timeout": 60, **LATER})), attempt_at())

        assert settled[0][1].error == "TimeoutError: "
