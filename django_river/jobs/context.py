"""What a running job may know and do about itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from django_river.exceptions import JobInterrupted
from django_river.jobs.beats import HEARTBEAT_KEY, Beat, checked_data, checked_note, checked_progress
from django_river.jobs.json import encode_json
from django_river.jobs.steps import Step, Steps

#: The metadata key under which a run of a periodic job has the moment that it was planned for.
PLANNED_AT = "django_river:planned_at"


class CancelReason(StrEnum):
    """Why a running job has been asked to stop."""

    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    #: Its soft timeout has passed: it should come to an end by itself.
    SOFT_TIMEOUT = "soft_timeout"
    #: It has missed a heartbeat that it promised.
    STUCK = "stuck"
    #: Its client was taken for lost, and the job from it: whatever it does now counts no more.
    LOST = "lost"


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
        "_data", "_deadline", "_kept", "_metadata", "_note", "_progress", "_raw_metadata", "_reason", "_soft_deadline",
        "attempt", "began_at", "heartbeat_at", "id", "kind", "max_attempts", "max_output_bytes", "queue", "steps",
        "timeout",
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
        soft_deadline: float | None = None,
        timeout: float | None = None,
        max_output_bytes: int = 1_048_576,
    ) -> None:
        #: The job's id.
        self.id = id
        self.kind = kind
        self.queue = queue
        #: Which attempt this is, from 1.
        self.attempt = attempt
        self.max_attempts = max_attempts
        #: How many seconds this attempt may take; ``None`` without a limit.
        self.timeout = timeout
        self.max_output_bytes = max_output_bytes
        #: Monotonic time of the last :meth:`heartbeat`; written by the job, read by the client.
        self.heartbeat_at = self.began_at = time.monotonic()

        self._raw_metadata = metadata
        self._metadata: Mapping[str, Any] | None = None
        # Written by the job, from any of its threads, read by the client while it runs and when it has ended. Each is
        # written by itself: what one thread says must not undo what another says at the same time.
        self._kept: dict[str, bytes] = {}
        self._progress: float | None = None
        self._note: str | None = None
        self._data: bytes | None = None
        #: The steps of a resumable job, once it has one.
        self.steps: Steps | None = None
        # Written by whoever asks the job to stop first; a str assignment is atomic.
        self._reason: CancelReason | None = None
        self._deadline = deadline
        self._soft_deadline = soft_deadline

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The job's metadata as it was when this attempt began."""
        if self._metadata is None:
            metadata = msgspec.json.decode(self._raw_metadata)
            # Anybody may have written anything.
            self._metadata = metadata if isinstance(metadata, dict) else {}
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
        if self._reason is None or self._reason is CancelReason.SOFT_TIMEOUT:
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline:
                self._reason = CancelReason.TIMEOUT
            elif self._soft_deadline is not None and now >= self._soft_deadline:
                self._reason = CancelReason.SOFT_TIMEOUT
        return self._reason

    def raise_if_cancelled(self) -> None:
        """Raise :class:`JobInterrupted` if this job should stop: the easy way to be stoppable in a loop."""
        reason = self.cancel_reason
        if reason is not None:
            raise JobInterrupted(reason.value)

    def heartbeat(
        self, progress: float | None = None, note: str | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        """Say that the job is getting on, and how far. Costs microseconds: call it in every loop.

        ``progress`` is a part from 0.0 to 1.0, ``note`` a text for people, ``data`` a small JSON object. What is not
        said anew stays as it was. The client stores the last one every few seconds, and when the attempt ends.

        Raises :class:`ValueError` or :class:`TypeError` for what is none of that.

        >>> context.heartbeat(progress=0.4, note="page 40 of 100")         # doctest: +SKIP
        """
        self.heartbeat_at = time.monotonic()
        if progress is not None:
            progress = checked_progress(progress)
        if note is not None:
            note = checked_note(note)
        if data is not None:
            self._data = checked_data(data)
        if progress is not None:
            self._progress = progress
        if note is not None:
            self._note = note

    def step(self, name: str) -> Step:
        """A block that is skipped once it is done; see :class:`~django_river.jobs.steps.Step`.

        >>> for step in context.step("download"):                          # doctest: +SKIP
        ...     download()

        Raises :class:`StepError` for a name that this attempt has had.
        """
        if self.steps is None:
            self.steps = Steps(self.metadata, keep=self._keep_step, limit=self.max_output_bytes)
        return self.steps.step(name)

    def record_output(self, value: Any) -> None:
        """Keep a JSON value with the job's result, under ``output`` in its metadata; the last call wins.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` for what JSON cannot hold.
        """
        self.keep({"output": encode_json(value, what="output", limit=self.max_output_bytes)})

    @property
    def beat(self) -> Beat | None:
        """What the job has said of itself so far, if anything."""
        if self._progress is None and self._note is None and self._data is None:
            return None
        return Beat(self._progress, self._note, self._data)

    @property
    def output(self) -> bytes | None:
        """The recorded output as JSON, if any."""
        return self._kept.get("output")

    @property
    def kept(self) -> dict[str, bytes] | None:
        """What is to stand in the job's metadata, as JSON by key; ``None`` without anything."""
        return dict(self._kept) if self._kept else None

    @property
    def remains(self) -> dict[str, bytes] | None:
        """What is to stand there when the attempt is over: the last sign of life, too."""
        beat = self.beat
        if beat is None:
            return self.kept
        return {**self._kept, HEARTBEAT_KEY: beat.encoded(self.attempt)}

    def keep(self, kept: Mapping[str, bytes]) -> None:
        """Let this stand in the job's metadata."""
        self._kept.update(kept)

    def _keep_step(self, kept: Mapping[str, bytes]) -> None:
        """A step that gets on is a sign of life, too."""
        self.heartbeat_at = time.monotonic()
        self.keep(kept)

    def hear(self, beat: Beat | None, *, at: float) -> None:
        """Take over a sign of life that the job gave in another process."""
        if beat is not None:
            self._progress, self._note, self._data = beat
        self.heartbeat_at = at

    def cancel(self, reason: CancelReason) -> None:
        """Ask the job to stop. The first reason stays, unless it was a mere request to come to an end."""
        if self._reason is None or self._reason is CancelReason.SOFT_TIMEOUT:
            self._reason = reason

    def limit(self, *, deadline: float | None, soft_deadline: float | None) -> None:
        """Say until when the job may run, by the monotonic clock; for one that has to wait for a process."""
        self._deadline, self._soft_deadline = deadline, soft_deadline

    def restart(self) -> None:
        """The job begins now; what it has waited for is no time of its own, and no silence."""
        self.began_at = self.heartbeat_at = time.monotonic()
