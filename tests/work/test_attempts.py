"""What a client answers for."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest

from django_river.jobs.context import CancelReason, JobContext
from django_river.work.attempts import Attempts
from tests.waiting import wait_until
from tests.work.building import attempt_at


@pytest.fixture
def attempts():
    return Attempts()


class TestAttempt:
    def test_is_settled_by_one_party_only(self):
        attempt = attempt_at()

        assert not attempt.is_settled
        assert [attempt.take() for _ in range(3)] == [True, False, False]
        assert attempt.is_settled

    def test_is_overdue_after_its_deadline_and_the_grace(self, monkeypatch):
        attempt = attempt_at()
        monkeypatch.setattr("time.monotonic", lambda: 100.0)
        assert not attempt.is_overdue(0)

        attempt.deadline = 95.0
        assert attempt.is_overdue(5)
        assert not attempt.is_overdue(5.1)

    def test_passes_a_cancel_on_to_the_running_job(self):
        attempt = attempt_at()
        attempt.context = JobContext(id=1)
        attempt.cancel(CancelReason.SHUTDOWN)

        assert attempt.context.cancel_reason is CancelReason.SHUTDOWN

    def test_remembers_a_cancel_that_comes_before_the_job_begins(self):
        attempt = attempt_at()
        attempt.cancel(CancelReason.CANCEL)

        assert attempt.cancel_reason is CancelReason.CANCEL

    def test_cancels_its_task_once_per_reason(self):
        async def count():
            cancelled = 0
            for _ in range(2):
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    cancelled += 1
            return cancelled

        async def main():
            attempt = attempt_at()
            attempt.task = asyncio.create_task(count())
            await asyncio.sleep(0)
            for _ in range(5):
                attempt.cancel(CancelReason.CANCEL)
            await asyncio.sleep(0)
            assert not attempt.task.done()
            return await attempt.task

        assert asyncio.run(main()) == 1

    def test_cancels_its_task_again_for_another_reason(self):
        async def stubborn():
            for _ in range(2):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
            return "done"

        async def main():
            attempt = attempt_at()
            attempt.task = asyncio.create_task(stubborn())
            for reason in (CancelReason.CANCEL, CancelReason.SHUTDOWN):
                await asyncio.sleep(0)
                attempt.cancel(reason)
                await asyncio.sleep(0)
            return await asyncio.wait_for(attempt.task, 5)

        assert asyncio.run(main()) == "done"

    def test_may_be_cancelled_when_its_loop_is_closed(self):
        attempt = attempt_at()
        loop = asyncio.new_event_loop()
        attempt.task = loop.create_task(asyncio.sleep(0))
        loop.run_until_complete(attempt.task)
        loop.close()

        attempt.cancel(CancelReason.CANCEL)


class TestAttempts:
    def test_are_known_by_their_job(self, attempts):
        first, second = attempt_at(), attempt_at()
        attempts.add([first, second])

        assert attempts.get(first.job.id) is first
        assert attempts.get(0) is None
        assert attempts.all() == [first, second]
        assert attempts.ids() == [first.job.id, second.job.id]
        assert len(attempts) == 2

    def test_are_forgotten_when_they_are_stored(self, attempts):
        attempt = attempt_at()
        attempts.add([attempt])
        attempts.discard([attempt])
        attempts.discard([attempt])

        assert len(attempts) == 0

    def test_keep_a_newer_attempt_at_the_same_job(self, attempts):
        old = attempt_at()
        new = attempt_at(id=old.job.id, attempt=2)
        attempts.add([old])
        attempts.add([new])
        attempts.discard([old])

        assert attempts.all() == [new]

    def test_tell_an_older_attempt_at_the_same_job_to_stop(self, attempts, caplog):
        """We were taken for lost, and have claimed the job anew before we knew."""
        old, other = attempt_at(), attempt_at()
        new = attempt_at(id=old.job.id, attempt=2)
        attempts.add([old, other])
        attempts.add([new])

        assert [each.cancel_reason for each in (old, other, new)] == [CancelReason.LOST, None, None]
        assert "attempt 1 is asked to stop" in caplog.text

    def test_say_nothing_of_an_older_attempt_that_is_settled(self, attempts, caplog):
        old = attempt_at()
        old.take()
        attempts.add([old])
        attempts.add([attempt_at(id=old.job.id, attempt=2)])

        assert old.cancel_reason is None
        assert caplog.text == ""

    def test_have_started_when_they_have_a_context_and_are_not_settled(self, attempts):
        waiting, running, over = attempt_at(), attempt_at(), attempt_at()
        running.context = over.context = JobContext(id=1)
        over.take()
        attempts.add([waiting, running, over])

        assert attempts.started() == [running]

    def test_can_be_waited_for(self, attempts):
        attempt = attempt_at()
        attempts.add([attempt])
        assert not attempts.wait_empty(0)

        ended = []
        thread = threading.Thread(target=lambda: ended.append(attempts.wait_empty(10)))
        thread.start()
        attempts.discard([attempt])
        thread.join(10)

        assert ended == [True]
        wait_until(lambda: attempts.wait_empty(0))
