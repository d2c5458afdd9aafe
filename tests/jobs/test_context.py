"""What a running job may know and do about itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from django.utils.safestring import mark_safe

from django_river import JobContext, JobInterrupted
from django_river.exceptions import ArgumentTypeError, ArgumentValueError
from django_river.jobs.beats import HEARTBEAT_KEY, MAX_NOTE, Heartbeat
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


@pytest.mark.parametrize("metadata", [b"[]", b"5", b"null"])
def test_bears_metadata_that_is_no_object(metadata):
    job = context(metadata=metadata)

    assert (job.metadata, job.snoozes, job.planned_at) == ({}, 0, None)
    assert not job.step("load").is_done


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
        assert job.kept is None

        job.record_output([1])
        job.record_output({"pages": 3})

        assert job.output == b'{"pages":3}'
        assert job.kept == {"output": b'{"pages":3}'}

    def test_that_json_cannot_hold_is_refused_and_changes_nothing(self):
        job = context(max_output_bytes=10)
        job.record_output(1)

        with pytest.raises(ArgumentTypeError, match=r"^output: expected a JSON value, got set"):
            job.record_output({1})
        with pytest.raises(
            ArgumentValueError, match=r"^output: 11 bytes of JSON, more than the limit of 10$"
        ):
            job.record_output("x" * 9)
        assert job.kept == {"output": b"1"}


class TestHeartbeat:
    def test_is_noted(self):
        job = context()
        before = job.heartbeat_at
        job.heartbeat()

        assert before <= job.heartbeat_at <= time.monotonic()
        assert job.remains is None

    def test_keeps_what_is_not_said_anew(self):
        job = context()
        job.heartbeat(progress=0.25, note="page 1 of 4", data={"page": 1})
        job.heartbeat()
        job.heartbeat(0.5)

        assert job.beat == (0.5, "page 1 of 4", b'{"page":1}')
        assert job.remains == {
            HEARTBEAT_KEY: b'{"attempt":1,"progress":0.5,"note":"page 1 of 4","data":{"page":1}}'
        }

    @pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan")])
    def test_refuses_what_is_no_part_of_the_whole(self, progress):
        with pytest.raises(ValueError, match=r"^progress must be a number from 0 to 1, got "):
            context().heartbeat(progress=progress)

    @pytest.mark.parametrize(
        "said",
        [
            {"progress": "half"},
            {"progress": True},
            {"note": 5},
            pytest.param({"data": {"when": object()}}, id="data"),
        ],
        ids=str,
    )
    def test_refuses_other_types(self, said):
        with pytest.raises(TypeError):
            context().heartbeat(**said)

    def test_takes_notes_that_cannot_be_stored_as_they_are(self):
        job = context()
        job.heartbeat(note="a\x00b \ud800" + "c" * 1000)

        assert job.beat.note.startswith("a\\x00b \\ud800ccc")
        assert len(job.beat.note) == MAX_NOTE

    def test_takes_texts_and_numbers_of_other_classes(self):
        class Share(float):
            pass

        job = context()
        job.heartbeat(Share(0.5), mark_safe("half"), {"page": mark_safe("1")})

        assert job.remains == {
            HEARTBEAT_KEY: b'{"attempt":1,"progress":0.5,"note":"half","data":{"page":"1"}}'
        }

    def test_of_one_thread_does_not_undo_that_of_another(self):
        class Slow(float):
            def __ge__(self, other):
                job.heartbeat(note="from another thread")
                return float(self) >= other

        job = context()
        job.heartbeat(Slow(0.5))

        assert job.beat == (0.5, "from another thread", None)

    @pytest.mark.parametrize("data", [[1], "text", 5])
    def test_refuses_data_that_is_no_object(self, data):
        with pytest.raises(TypeError, match=r"^data must be a dict, got "):
            context().heartbeat(data=data)

    @pytest.mark.parametrize("text", ["\x00", "\ud800"], ids=ascii)
    def test_refuses_data_that_no_database_can_hold(self, text):
        with pytest.raises(ArgumentValueError, match=r"^data: text must not contain "):
            context().heartbeat(data={"page": text})

    def test_refuses_too_much(self):
        with pytest.raises(
            ArgumentValueError, match=r"^data: \d+ bytes of JSON, more than the limit of 10000$"
        ):
            context().heartbeat(data={"page": "x" * 10_000})


class TestHeartbeatInARow:
    def test_is_read_back(self):
        said = {"at": "2026-03-01T12:00:00.5Z", "progress": 1, "note": "n", "data": {"a": 1}, "stuck": True}

        assert Heartbeat.of({HEARTBEAT_KEY: said}) == Heartbeat(
            at=datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC),
            progress=1.0,
            note="n",
            data={"a": 1},
            is_stuck=True,
        )

    @pytest.mark.parametrize("metadata", [None, [], {}, {HEARTBEAT_KEY: 5}], ids=str)
    def test_may_be_missing(self, metadata):
        assert Heartbeat.of(metadata) is None

    @pytest.mark.parametrize(
        "odd", [{"at": "yesterday", "progress": "x", "note": 1, "stuck": "yes"}, {"progress": True}]
    )
    def test_may_be_anything(self, odd):
        assert Heartbeat.of({HEARTBEAT_KEY: odd}) == Heartbeat()


class TestSoftTimeout:
    def test_comes_before_the_timeout(self):
        job = context(soft_deadline=time.monotonic(), deadline=time.monotonic() + 3600)

        assert job.cancel_reason is CancelReason.SOFT_TIMEOUT
        job.limit(deadline=time.monotonic(), soft_deadline=None)
        assert job.cancel_reason is CancelReason.TIMEOUT

    def test_gives_way_to_any_other_reason(self):
        job = context(soft_deadline=time.monotonic())
        assert job.cancelled
        job.cancel(CancelReason.CANCEL)

        assert job.cancel_reason is CancelReason.CANCEL
