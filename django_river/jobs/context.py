"""What a running job may know and do about itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from django_river.exceptions import JobInterrupted
from django_river.jobs.json import encode_json

#: The metadata key under which a run of a periodic job has the moment that it was planned for.
PLANNED_AT = "django_river:planned_at"


class CancelReason(StrEnum):
    """Why a running job has been asked to stop."""

    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"


class JobContext:
    """The running job, as its own function sees it.

    A job gets one by annotating its first parameter, or by calling it ``context``:

        @job()
        def crunch(context: JobContext, pages: int) -> None:
            for page in range(pages):
                context.raise_if_cancelled()
                context.heartbeat()
                ...
            context.record_output({"pages": pages})

    All members may be used from any thread.
    """

    __slots__ = (
        "_deadline", "_metadata", "_raw_metadata", "_reason", "_recorded", "attempt",
        "heartbeat_at", "id", "kind", "max_attempts", "max_output_bytes", "queue",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: int,
        kind: str = "",
        queue: str = "default",
        attempt: int = 1,
        max_attempts: int = 25,
        metadata: str | bytes = b"{}",
        deadline: float | None = None,
        max_output_bytes: int = 1_048_576,
    ) -> None:
        #: The job's id.
        self.id = id
        self.kind = kind
        self.queue = queue
        #: Which attempt this is, from 1.
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.max_output_bytes = max_output_bytes
        #: Monotonic time of the last :meth:`heartbeat`; written by the job, read by the client.
        self.heartbeat_at = time.monotonic()

        self._raw_metadata = metadata
        self._metadata: Mapping[str, Any] | None = None
        # Written by the job, read by the executor after the job has ended.
        self._recorded: bytes | None = None
        # Written once, by whoever asks the job to stop first; a str assignment is atomic.
        self._reason: CancelReason | None = None
        self._deadline = deadline

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The job's metadata as it was when this attempt began."""
        if self._metadata is None:
            self._metadata = msgspec.json.decode(self._raw_metadata)
        return self._metadata

    @property
    def snoozes(self) -> int:
        """How often this job has snoozed so far."""
        count = self.metadata.get("snoozes", 0)
        return count if isinstance(count, int) else 0

    @property
    def planned_at(self) -> datetime | None:
        """When the run of a periodic job was to be, however late it comes; ``None`` for other jobs."""
        planned = self.metadata.get(PLANNED_AT)
        return datetime.fromisoformat(planned) if isinstance(planned, str) else None

    @property
    def cancelled(self) -> bool:
        """Whether this job should stop: someone cancelled it, its time is up, or the worker is shutting down."""
        return self.cancel_reason is not None

    @property
    def cancel_reason(self) -> CancelReason | None:
        """Why this job should stop, or ``None``."""
        if self._reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self._reason = CancelReason.TIMEOUT
        return self._reason

    def raise_if_cancelled(self) -> None:
        """Raise :class:`JobInterrupted` if this job should stop: the easy way to be stoppable in a loop."""
        reason = self.cancel_reason
        if reason is not None:
            raise JobInterrupted(reason.value)

    def heartbeat(self) -> None:
        """Say that the job is getting on. Costs next to nothing: call it in every loop."""
        self.heartbeat_at = time.monotonic()

    def record_output(self, value: Any) -> None:
        """Keep a JSON value with the job's result, under ``output`` in its metadata; the last call wins.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` for what JSON cannot hold.
        """
        self._recorded = encode_json(value, what="output", limit=self.max_output_bytes)

    @property
    def output(self) -> bytes | None:
        """The recorded output as JSON, if any."""
        return self._recorded

    def cancel(self, reason: CancelReason) -> None:
        """Ask the job to stop. The first reason stays."""
        if self._reason is None:
            self._reason = reason
