"""Signs of life: stored for all jobs at once, missed where they were promised, and what becomes of the silent."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from django_river import JobContext
from django_river.conf import Config
from django_river.faults import Fault
from django_river.jobs.context import CancelReason
from django_river.jobs.states import State
from django_river.signals import job_stuck
from django_river.work.attempts import Attempts
from django_river.work.batches import BatchCall, Member
from django_river.work.fault_log import FaultLog
from django_river.work.outcomes import SUCCESS
from django_river.work.producer import Producer
from django_river.work.promises import DEFAULT_SECONDS, Promises
from django_river.work.pulse import Pulse
from tests.storage.steps import row
from tests.waiting import wait_until
from tests.work.building import attempt_at, claim, claimed, registry_of
from tests.work.test_workers import build, held, results, run  # noqa: F401  (fixtures)


class Store:
    """Stands where storage does, and keeps what it is given."""

    def __init__(self):
        self.beats = []
        self.refused = set()
        self.calls = 0

    def job_beat_many(self, client_id, beats):
        self.calls += 1
        self.beats += beats
        return [beat.id for beat in beats if beat.id not in self.refused]

    def fault_add(self, counts):
        self.counts = dict(counts)


@pytest.fixture
def fake():
    return Store()


@pytest.fixture
def heard():
    heard = []

    def receiver(job, seconds, **_):
        heard.append((job.id, seconds))

    job_stuck.connect(receiver)
    yield heard
    job_stuck.disconnect(receiver)


@pytest.fixture
def feel(fake):
    """Builds a pulse for one kind of job, with one attempt that has been silent for so many seconds."""

    def build_pulse(silent=0.0, *, grace=60.0, heartbeats=None, store=fake, attempt=None, **options):
        registry = registry_of(test=(lambda: None, options))
        pulse = Pulse(
            storage=store,
            client_id="me",
            attempts=Attempts(),
            registry=registry,
            promises=Promises(heartbeats or {}),
            faults=FaultLog(storage=store, client_id="me", registry=registry),
            interval=1.0,
            grace=grace,
            give_up=lambda attempt: given_up.append(attempt) or True,
        )
        given_up = pulse.given_up = []
        attempt = pulse.attempt = attempt or attempt_at()
        attempt.context = JobContext(id=attempt.job.id, attempt=attempt.job.attempt)
        attempt.context.heartbeat_at = attempt.context.began_at = time.monotonic() - silent
        pulse.attempts.add([attempt])
        return pulse

    return build_pulse


class TestPromise:
    @pytest.mark.parametrize(
        ("options", "heartbeats", "promised"),
        [
            ({}, {}, None),
            ({}, {1: 5}, None),
            ({"heartbeat": 30}, {1: 5}, 30),
            ({"heartbeat": True}, {}, DEFAULT_SECONDS),
            ({"heartbeat": True}, {1: 5, 2: 7}, 5),
            ({"auto_heartbeat": True}, {1: 5}, 5),
            ({"auto_heartbeat": True}, {}, DEFAULT_SECONDS),
            ({"heartbeat": 30}, {"test": 9}, 9),
            ({}, {"test": 9, "other": 8}, 9),
        ],
    )
    def test_is_the_kinds_then_the_definitions_then_the_prioritys(self, options, heartbeats, promised):
        definition = registry_of(test=(lambda: None, options)).get("test")

        assert Promises(heartbeats).of(definition, 1) == promised


class TestFeel:
    def test_a_job_that_has_promised_nothing_may_be_silent(self, feel, heard):
        pulse = feel(silent=9999)
        pulse.feel()

        assert pulse.attempt.cancel_reason is None
        assert heard == []

    def test_a_job_that_keeps_its_promise_is_left_alone(self, feel, heard):
        pulse = feel(silent=29, heartbeat=30)
        pulse.feel()

        assert pulse.attempt.cancel_reason is None

    def test_a_silent_one_is_told_to_stop_and_talked_of_once(self, feel, heard, fake, caplog):
        pulse = feel(silent=31, heartbeat=30)
        pulse.feel()
        pulse.feel()

        assert pulse.attempt.cancel_reason is CancelReason.STUCK
        assert heard == [(pulse.attempt.job.id, pytest.approx(31, abs=5))]
        (record,) = caplog.records
        assert (record.event, record.kind, record.name) == ("stuck", "test", "django_river.faults")
        pulse.faults.store()
        assert fake.counts == {("test", Fault.STUCK): 1}
        assert pulse.given_up == []

    def test_what_it_could_not_say_is_no_silence(self, feel, heard):
        """Another job may have held Python's lock, or somebody the whole process."""
        pulse = feel(silent=31, heartbeat=30)
        pulse._look_at = time.monotonic() - 20
        pulse.feel()

        assert (pulse.attempt.cancel_reason, heard) == (None, [])

    def test_the_grace_begins_anew_when_we_were_held_up(self, feel):
        pulse = feel(silent=31, heartbeat=30, grace=5.0)
        pulse.feel()
        pulse._stuck[pulse.attempt] -= 20
        pulse._look_at -= 20
        pulse.feel()
        assert pulse.given_up == []

        pulse._awake_since -= 20
        pulse.feel()
        assert pulse.given_up == [pulse.attempt]

    def test_one_that_waits_for_a_process_is_not_silent(self, feel, heard):
        pulse = feel(silent=31, heartbeat=30)
        pulse.attempt.is_waiting = True
        pulse.feel()

        assert heard == []

    def test_it_is_given_up_after_a_grace(self, feel):
        pulse = feel(silent=31, heartbeat=30, grace=0.0)
        pulse.feel()
        pulse.feel()

        assert pulse.given_up == [pulse.attempt]

    def test_it_is_only_flagged_if_its_kind_wants_that(self, feel, heard, fake):
        pulse = feel(silent=31, heartbeat=30, grace=0.0, on_stuck="flag")
        for _ in range(3):
            pulse.feel()
        pulse.store()

        assert (pulse.attempt.cancel_reason, pulse.given_up, len(heard)) == (None, [], 1)
        assert b'"stuck":true' in fake.beats[-1].said

    def test_one_that_speaks_again_is_not_stuck_any_more(self, feel, heard, fake):
        pulse = feel(silent=31, heartbeat=30, on_stuck="flag")
        pulse.feel()
        pulse.attempt.context.heartbeat()
        pulse.feel()
        pulse.store()

        assert b"stuck" not in fake.beats[-1].said

    def test_a_thread_that_lives_beats_by_itself(self, feel):
        pulse = feel(silent=31, heartbeat=30, auto_heartbeat=True)
        pulse.attempt.thread = threading.current_thread()
        pulse.feel()

        assert pulse.attempt.cancel_reason is None

    def test_a_loop_that_is_closed_keeps_nobody_from_being_felt(self, feel, heard):
        pulse = feel(silent=31, heartbeat=30, auto_heartbeat=True)

        async def job():
            pulse.attempt.task = asyncio.current_task()

        asyncio.run(job())
        pulse.feel()
        assert len(heard) == 1

    def test_a_blocked_loop_does_not_beat(self, feel):
        pulse = feel(silent=31, heartbeat=30, auto_heartbeat=True)

        async def job():
            pulse.attempt.task = asyncio.current_task()
            pulse.feel()

        asyncio.run(job())
        assert pulse.attempt.cancel_reason is CancelReason.STUCK


class TestBatch:
    """All members of a call are heard of with each of them, and silent together."""

    @pytest.fixture
    def pulse(self, feel):
        members = [Member(claimed(), Producer("default", max_workers=10)) for _ in range(2)]
        call = BatchCall(members)
        pulse = feel(silent=31, heartbeat=30, attempt=members[0])
        members[1].context = JobContext(id=members[1].job.id)
        call.context = JobContext(id=members[0].job.id)
        members[1].context.heartbeat_at = call.context.heartbeat_at = time.monotonic() - 31
        pulse.attempts.add(members)
        pulse.call = call
        return pulse

    @pytest.mark.parametrize("who", [lambda call: call, lambda call: call.members[1]], ids=["call", "item"])
    def test_one_beats_for_all(self, pulse, heard, who):
        who(pulse.call).context.heartbeat()
        pulse.feel()

        assert (heard, pulse.call.cancel_reason) == ([], None)

    def test_that_is_silent_is_told_to_stop_as_a_whole(self, pulse, heard):
        pulse.feel()

        assert pulse.call.cancel_reason is CancelReason.STUCK
        assert pulse.call.context.cancel_reason is CancelReason.STUCK
        assert [id for id, _ in heard] == [member.job.id for member in pulse.call.members]

    def test_beats_by_itself_while_its_loop_turns(self, feel):
        pulse = feel(
            silent=5,
            heartbeat=30,
            auto_heartbeat=True,
            attempt=Member(claimed(), Producer("default", max_workers=10)),
        )
        call = BatchCall([pulse.attempt])
        before = pulse.attempt.context.heartbeat_at

        async def job():
            call.task = asyncio.current_task()
            pulse.feel()
            await asyncio.sleep(0)

        asyncio.run(job())
        assert pulse.attempt.context.heartbeat_at > before


class TestStore:
    def test_writes_what_is_new_for_all_at_once(self, feel, fake):
        pulse = feel(silent=10)
        context = pulse.attempt.context
        context.heartbeat(progress=0.5)
        pulse.store()
        pulse.store()
        context.step("load").done()
        pulse.store()

        first, second = fake.beats
        assert (first.said, first.kept) == (b'{"attempt":1,"progress":0.5}', b"{}")
        assert second.kept == b'{"river:resumable_step":"load"}'

    def test_writes_those_of_all_jobs_in_one_call(self, feel, fake):
        pulse = feel(silent=10)
        for _ in range(20):
            attempt = attempt_at()
            attempt.context = JobContext(id=attempt.job.id)
            attempt.context.began_at = attempt.context.heartbeat_at - 10
            pulse.attempts.add([attempt])
        for attempt in pulse.attempts.all():
            attempt.context.heartbeat(0.5)
        pulse.store()

        assert (fake.calls, len(fake.beats)) == (1, 21)

    def test_tries_again_what_was_not_stored(self, feel, fake):
        pulse = feel(silent=10)
        pulse.attempt.context.heartbeat()
        fake.refused.add(pulse.attempt.job.id)
        pulse.store()
        pulse.store()

        assert len(fake.beats) == 2

    def test_leaves_out_short_jobs_and_those_that_say_nothing(self, feel, fake):
        pulse = feel(silent=0.5)
        pulse.attempt.context.heartbeat()
        pulse.store()
        feel(silent=10).store()

        assert fake.beats == []

    def test_forgets_what_is_over(self, feel, fake):
        pulse = feel(silent=31, heartbeat=30, on_stuck="flag")
        pulse.feel()
        pulse.store()
        pulse.attempts.discard([pulse.attempt])
        pulse.feel()
        pulse.store()

        assert (pulse._stuck, pulse._stored) == ({}, {})

    def test_reaches_the_row(self, feel, store):
        (attempt,) = claim(store)
        pulse = feel(silent=10, store=store, attempt=attempt)
        attempt.context.heartbeat(0.25, "page 1 of 4", {"page": 1})
        pulse.store()

        heartbeat = row(attempt.job).heartbeat
        assert (heartbeat.progress, heartbeat.note, heartbeat.data) == (0.25, "page 1 of 4", {"page": 1})


class TestGivenUp:
    @pytest.mark.parametrize(
        ("on_stuck", "state"),
        [("retry", State.AVAILABLE), ("discard", State.DISCARDED), ("cancel", State.CANCELLED)],
    )
    def test_ends_as_its_kind_wants_it(self, build, results, held, on_stuck, state):  # noqa: F811
        workers = build(test=(held.job, {"heartbeat": 30, "on_stuck": on_stuck}), config=Config())
        attempt = attempt_at()
        run(workers, attempt)
        wait_until(lambda: held.running)

        assert workers.give_up_stuck(attempt)
        assert not workers.give_up_stuck(attempt)
        (change,) = results.of(attempt)
        assert change.state is state
        assert b"JobStuck: gave no sign of life for 30 s" in change.error
        assert b"self.open.wait(20)" in change.error

    def test_is_not_what_has_ended_meanwhile(self, build, held):  # noqa: F811
        workers = build(test=held.job)
        attempt = attempt_at()
        workers.attempts.add([attempt])
        workers.settle(attempt, SUCCESS)

        assert not workers.give_up_stuck(attempt)


def test_counts_are_kept_when_they_cannot_be_stored(fake):
    log = FaultLog(storage=fake, client_id="me", registry=registry_of())
    log.note("test", Fault.TIMEOUT, "too long")
    fake.fault_add = None
    with pytest.raises(TypeError):
        log.store()
    del fake.fault_add
    log.note("test", Fault.TIMEOUT, "again")
    log.store()

    assert fake.counts == {("test", "timeout"): 2}


def test_a_heartbeat_costs_the_caller_less_than_it_may():
    context = JobContext(id=1)
    data = {"page": 40, "of": 100}
    began = time.perf_counter()
    for _ in range(1000):
        context.heartbeat(progress=0.4, note="page 40 of 100", data=data)

    # 5 µs each is the promise, of a machine that does nothing else; see the benchmarks.
    assert (time.perf_counter() - began) / 1000 < 0.0005
