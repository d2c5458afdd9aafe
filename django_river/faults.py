"""What may go wrong with running jobs, told apart: faults of the machinery, and of the jobs themselves."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """One kind of fault. Each has a signal, a log line, an error type in the job's ``errors``, and a count per kind."""

    #: The session of the job's client is gone: the process was killed, or its machine.
    CLIENT_LOST = "client_lost"
    #: The job's client has not been heard of for ``CLIENT_TIMEOUT``: it is frozen, or cut off.
    CLIENT_STALE = "client_stale"
    #: The job has missed a heartbeat that it promised.
    STUCK = "stuck"
    #: The job runs far longer than its kind has run so far.
    SUSPICIOUS = "suspicious"
    #: The job has run longer than its timeout.
    TIMEOUT = "timeout"

    @property
    def is_ours(self) -> bool:
        """Whether the machinery is to blame, and not the job."""
        return self in {Fault.CLIENT_LOST, Fault.CLIENT_STALE}
