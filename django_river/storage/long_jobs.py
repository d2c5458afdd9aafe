"""The part of the contract that is about jobs while they run: what they say of themselves, and what others want of them.

Like a result, a sign of life goes through the fence: it is stored for the attempt that gave it, and for no other. What
the metadata of a running job holds under our keys, and under River's for steps, is written here and by results only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class JobBeat(NamedTuple):
    """What a running job says of itself."""

    id: int
    attempt: int
    #: Seconds since it said so.
    age: float
    #: What is to stand beside the time, as a JSON object.
    said: bytes
    #: Merged into the row's metadata, as a JSON object.
    kept: bytes


class JobSummons(NamedTuple):
    """A running job that should stop."""

    id: int
    attempt: int
    #: Whether the job is not this client's any more: it was rescued, deleted, or ended by somebody else.
    is_lost: bool


class RunTime(NamedTuple):
    """How long a finished attempt took."""

    kind: str
    seconds: float


class LongJobs(ABC):
    """What a client does for its own running jobs."""

    @abstractmethod
    def fault_add(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count faults: so many more of (kind, what) today."""

    @abstractmethod
    def job_beat_many(self, client_id: str, beats: Sequence[JobBeat]) -> list[int]:
        """Store signs of life through the fence, all in one statement; the ids of those that were stored.

        It waits for nobody: a row that somebody has locked is left out, and stored the next time.
        """

    @abstractmethod
    def job_look(self, client_id: str, running: Sequence[tuple[int, int]]) -> list[JobSummons]:
        """Which of these (id, attempt) should stop: somebody has asked for it, or they are not this client's any more."""

    @abstractmethod
    def run_time_add(self, run_times: Sequence[RunTime]) -> None:
        """Remember how long some attempts took."""
