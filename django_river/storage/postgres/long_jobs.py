"""Running jobs on Postgres; what each statement does is said in ``long_job.sql``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django_river.storage.long_jobs import JobBeat, JobSummons, RunTime
from django_river.storage.postgres.queues import QueuesDriver


class LongJobsDriver(QueuesDriver):
    """The part of the driver that is about running jobs."""

    def fault_add(self, counts: Mapping[tuple[str, str], int]) -> None:
        kinds, whats = [kind for kind, _ in counts], [what for _, what in counts]
        self._run("fault_add", kinds=kinds, whats=whats, counts=list(counts.values()))

    def job_beat_many(self, client_id: str, beats: Sequence[JobBeat]) -> list[int]:
        rows = self._run(
            "job_beat_many",
            client_id=client_id,
            ids=[beat.id for beat in beats],
            attempts=[beat.attempt for beat in beats],
            ages=[beat.age for beat in beats],
            said=[beat.said.decode() for beat in beats],
            kept=[beat.kept.decode() for beat in beats],
        )
        return [id for (id,) in rows]

    def job_look(self, client_id: str, running: Sequence[tuple[int, int]]) -> list[JobSummons]:
        ids, attempts = [id for id, _ in running], [attempt for _, attempt in running]
        rows = self._run("job_look", client_id=client_id, ids=ids, attempts=attempts)
        return [JobSummons._make(row) for row in rows]

    def run_time_add(self, run_times: Sequence[RunTime]) -> None:
        kinds, seconds = [run_time.kind for run_time in run_times], [one.seconds for one in run_times]
        self._run("run_time_add", kinds=kinds, seconds=seconds)
