"""Running jobs: what they say of themselves is stored through the fence; who should stop is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from django.db import connection
from django.utils import timezone

from django_river import operations
from django_river.jobs.states import State
from django_river.models import FaultCount, Job, RunTime
from django_river.storage import long_jobs
from django_river.storage.long_jobs import JobBeat
from tests.storage.steps import ME, OTHER, claim, row, run, settle


def beat(job, *, age=0.0, kept=None, **said) -> JobBeat:
    return JobBeat(job.id, job.attempt, age, msgspec.json.encode(said), msgspec.json.encode(kept or {}))


class TestBeat:
    def test_stands_in_the_metadata_with_the_databases_time(self, store):
        job = run(store, metadata=b'{"a":1}')
        assert store.job_beat_many(ME, [beat(job, age=60, progress=0.5, note="half", data={"n": 1})]) == [
            job.id
        ]

        after = row(job)
        heartbeat = after.heartbeat
        assert (heartbeat.progress, heartbeat.note, heartbeat.data) == (0.5, "half", {"n": 1})
        assert timedelta(seconds=50) < timezone.now() - heartbeat.at < timedelta(seconds=120)
        assert after.metadata["a"] == 1
        assert after.progress == 0.5

    def test_of_many_jobs_is_one_statement(self, store, monkeypatch):
        jobs, statements, execute = [run(store) for _ in range(5)], [], store._run

        def counted(name, **parameters):
            statements.append(name)
            return execute(name, **parameters)

        monkeypatch.setattr(store, "_run", counted)
        stored = store.job_beat_many(ME, [beat(job, progress=0.1 * n) for n, job in enumerate(jobs)])
        # SQLite merges them one by one, in one transaction.
        assert len(statements) == (1 if connection.vendor == "postgresql" else 2 * len(jobs))
        assert sorted(stored) == [job.id for job in jobs]
        assert [row(job).progress for job in jobs] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])

    def test_brings_along_what_the_job_has_kept(self, store):
        job = run(store, metadata=b'{"river:resumable_cursor":{"old":1}}')
        kept = {"river:resumable_step": "a", "river:resumable_cursor": None}
        store.job_beat_many(ME, [beat(job, kept=kept)])

        assert row(job).metadata.items() >= kept.items()

    def test_keeps_values_to_the_letter(self, store):
        job = run(store, metadata=b'{"n": 12345678901234567890123, "f": 1.10}')
        store.job_beat_many(ME, [beat(job)])

        assert row(job).metadata["n"] == 12345678901234567890123

    @pytest.mark.parametrize("odd", [b"[]", b"5"], ids=str)
    def test_is_written_where_metadata_was_no_object(self, store, odd):
        job = run(store, metadata=odd)
        store.job_beat_many(ME, [beat(job, progress=1)])

        assert row(job).progress == 1

    def test_of_another_attempt_is_refused(self, store):
        job = run(store)
        settle(store, job, State.AVAILABLE)

        assert store.job_beat_many(ME, [beat(job)]) == []
        (again,) = claim(store)
        assert store.job_beat_many(ME, [beat(job)]) == []
        assert store.job_beat_many(OTHER, [beat(again)]) == []
        assert row(job).heartbeat is None

    @pytest.mark.postgres
    def test_waits_for_nobody(self, store, other_store):
        busy, free = run(store), run(store)
        with other_store.session.atomic():
            other_store.job_cancel([busy.id])
            assert store.job_beat_many(ME, [beat(busy), beat(free)]) == [free.id]

    def test_survives_into_the_finished_job(self, store):
        job = run(store)
        store.job_beat_many(ME, [beat(job, progress=0.9)])
        settle(store, job)

        assert (row(job).state, row(job).progress) == ("completed", 0.9)

    def test_of_none_is_nothing(self, store):
        assert store.job_beat_many(ME, []) == []


class TestLook:
    def test_finds_what_should_stop(self, store):
        asked, other, over, lost = (run(store) for _ in range(4))
        operations.cancel(asked.id)
        settle(store, over)
        Job.objects.filter(pk=lost.id).update(attempt=2)

        found = store.job_look(ME, [(job.id, job.attempt) for job in (asked, other, over, lost)])
        assert sorted(found) == [(asked.id, 1, False), (over.id, 1, True), (lost.id, 1, True)]

    def test_finds_what_is_deleted_or_somebody_elses(self, store):
        job = run(store, client_id=OTHER)

        assert sorted(store.job_look(ME, [(job.id, 1), (2**60, 1)])) == [(job.id, 1, True), (2**60, 1, True)]
        assert store.job_look(OTHER, [(job.id, 1)]) == []
        assert store.job_look(ME, []) == []


def test_faults_are_counted_by_kind_and_day(store):
    store.fault_add({("shop.send", "stuck"): 2, ("shop.send", "timeout"): 1})
    store.fault_add({("shop.send", "stuck"): 3})

    counts = FaultCount.objects.values_list("kind", "what", "count")
    assert sorted(counts) == [("shop.send", "stuck", 5), ("shop.send", "timeout", 1)]
    assert {fault.day for fault in FaultCount.objects.all()} <= {datetime.now(UTC).date()}


def test_run_times_are_remembered(store):
    store.run_time_add([long_jobs.RunTime("a", 1.5), long_jobs.RunTime("b", 3600.25)])

    assert sorted(RunTime.objects.values_list("kind", "seconds")) == [("a", 1.5), ("b", 3600.25)]
    assert timezone.now() - RunTime.objects.first().at < timedelta(minutes=5)
