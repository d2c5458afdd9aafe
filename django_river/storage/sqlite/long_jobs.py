"""Running jobs on SQLite; what each statement does is said in ``long_job.sql``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from django_river.jobs.beats import HEARTBEAT_KEY
from django_river.storage.long_jobs import JobBeat, JobSummons, RunTime
from django_river.storage.sqlite.metadata import merged
from django_river.storage.sqlite.queues import QueuesDriver


class LongJobsDriver(QueuesDriver):
    """The part of the driver that is about running jobs."""

    def fault_add(self, counts: Mapping[tuple[str, str], int]) -> None:
        today = datetime.now(UTC).date().isoformat()
        with self.session.atomic():
            for (kind, what), count in counts.items():
                self._run("fault_add", kind=kind, what=what, day=today, count=count)

    def job_beat_many(self, client_id: str, beats: Sequence[JobBeat]) -> list[int]:
        stored = []
        with self.session.atomic():
            for beat in beats:
                rows = self._run(
                    "job_metadata_of_attempt", id=beat.id, attempt=beat.attempt, client_id=client_id
                )
                for (before,) in rows:
                    metadata = merged(merged(before, beat.kept), _heartbeat(beat))
                    self._run("job_set_metadata", id=beat.id, metadata=metadata)
                    stored.append(beat.id)
        return stored

    def job_look(self, client_id: str, running: Sequence[tuple[int, int]]) -> list[JobSummons]:
        rows = self._run("job_look", client_id=client_id, ids=json.dumps([id for id, _ in running]))
        ours = {(id, attempt): bool(is_cancelled) for id, attempt, is_cancelled in rows}
        return [JobSummons(*one, is_lost=one not in ours) for one in running if one not in ours or ours[one]]

    def run_time_add(self, run_times: Sequence[RunTime]) -> None:
        with self.session.atomic():
            for run_time in run_times:
                self._run("run_time_add", kind=run_time.kind, seconds=run_time.seconds)


def _heartbeat(beat: JobBeat) -> bytes:
    at = datetime.now(UTC) - timedelta(seconds=beat.age)
    said = msgspec.json.decode(beat.said, type=dict[str, msgspec.Raw])
    said["at"] = msgspec.Raw(msgspec.json.encode(at.isoformat().replace("+00:00", "Z")))
    return msgspec.json.encode({HEARTBEAT_KEY: said})
