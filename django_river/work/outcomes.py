"""How an attempt ended, and what that makes of its row. Pure."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec

from django_river.exceptions import JobCancel, JobDiscard, JobSnooze
from django_river.jobs.context import CancelReason, JobContext
from django_river.jobs.definition import Definition
from django_river.jobs.retry import DefaultRetry, Failure, retry_delay
from django_river.jobs.states import State
from django_river.storage.base import SHORT_DELAY, ClaimedJob, JobSetState

logger = logging.getLogger(__name__)

#: Longest error text and traceback kept, in characters.
MAX_ERROR = 10_000
MAX_TRACE = 100_000
#: No snooze is longer: both databases must be able to hold the moment when it ends.
MAX_SNOOZE = timedelta(days=36_500)
#: Metadata is written by anybody; a count beyond this is no count of ours.
MAX_SNOOZES = 2**31


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the settled attempt says: the state it wants, and what goes with it."""

    state: State
    delay: timedelta | None = None
    error: str | None = None
    trace: str = ""
    snoozed: bool = False
    give_attempt_back: bool = False

    def change(self, job: ClaimedJob, remains: Mapping[str, bytes] | None = None) -> JobSetState:
        """The row's change, with what the job has left for its metadata whatever became of it."""
        merged: dict[str, Any] = {}
        if remains is not None:
            merged = {key: msgspec.Raw(value) for key, value in remains.items()}
        if self.snoozed:
            merged["snoozes"] = _snoozes(job) + 1
        return JobSetState(
            id=job.id,
            attempt=job.attempt,
            state=self.state,
            delay=self.delay,
            error=None if self.error is None else self._error_entry(job),
            metadata=msgspec.json.encode(merged) if merged else None,
            give_attempt_back=self.give_attempt_back,
        )

    @property
    def storable(self) -> Outcome:
        """The same, with texts that can be stored and sent."""
        if self.error is None:
            return self
        error, trace = storable(self.error, MAX_ERROR), storable(self.trace, MAX_TRACE)
        return replace(self, error=error, trace=trace)

    def _error_entry(self, job: ClaimedJob) -> bytes:
        return msgspec.json.encode(
            {
                "attempt": job.attempt,
                "error": storable(self.error or "", MAX_ERROR),
                "trace": storable(self.trace, MAX_TRACE),
            }
        )


SUCCESS = Outcome(State.COMPLETED)
#: The attempt does not count, and the job keeps its place in the queue.
INTERRUPTED = Outcome(State.AVAILABLE, give_attempt_back=True)


def raised(
    error: BaseException, job: ClaimedJob, definition: Definition[..., Any] | None, context: JobContext | None
) -> Outcome:
    """What an exception in an attempt makes of it."""
    match error:
        case JobSnooze():
            return snoozed(error.after)
        case JobCancel():
            return Outcome(State.CANCELLED, error=_text(error))
        case JobDiscard():
            return Outcome(State.DISCARDED, error=_text(error))
    reason = context.cancel_reason if context is not None else None
    if reason in {CancelReason.SHUTDOWN, CancelReason.LOST}:
        return INTERRUPTED
    if reason is CancelReason.CANCEL:
        return Outcome(State.CANCELLED, error="cancelled while running")
    return failed(error, job, definition, trace=trace_of(error))


def failed(
    error: BaseException, job: ClaimedJob, definition: Definition[..., Any] | None, *, trace: str
) -> Outcome:
    """A failed attempt: again later as the job's policy says, or discarded when no attempt is left."""
    text = f"{type(error).__name__}: {_text(error)}"
    delay = None if job.attempt >= job.max_attempts else _delay(error, job, definition)
    if delay is None:
        return Outcome(State.DISCARDED, error=text, trace=trace)
    state = State.AVAILABLE if delay <= SHORT_DELAY else State.RETRYABLE
    return Outcome(state, delay=delay, error=text, trace=trace)


def stuck(error: BaseException, job: ClaimedJob, definition: Definition[..., Any], *, trace: str) -> Outcome:
    """An attempt that was given up because it gave no sign of life; the job's kind says what that makes of it."""
    text = f"{type(error).__name__}: {_text(error)}"
    match definition.options.on_stuck:
        case "cancel":
            return Outcome(State.CANCELLED, error=text, trace=trace)
        case "discard":
            return Outcome(State.DISCARDED, error=text, trace=trace)
    return failed(error, job, definition, trace=trace)


def snoozed(after: timedelta) -> Outcome:
    """Again later, without using up an attempt."""
    state = State.AVAILABLE if after <= SHORT_DELAY else State.SCHEDULED
    return Outcome(state, delay=min(after, MAX_SNOOZE), snoozed=True, give_attempt_back=True)


def unknown_kind(job: ClaimedJob) -> Outcome:
    """No job of this kind is known here: retried as a failure, but never discarded; another client may know it."""
    error = LookupError(f"no job of kind {job.kind!r} is registered in this process")
    if job.attempt < job.max_attempts:
        return failed(error, job, None, trace="")
    logger.error("job %d: %s; it is kept for a client that knows it", job.id, error)
    failure = Failure(job.kind, job.attempt, job.max_attempts, job.errors + 1, error)
    return Outcome(State.RETRYABLE, delay=DefaultRetry()(failure), give_attempt_back=True)


def trace_of(error: BaseException) -> str:
    """The traceback from the job's own code on: our frames above it say nothing."""
    frames = error.__traceback__
    while frames is not None and str(frames.tb_frame.f_globals.get("__name__")).startswith("django_river."):
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames or error.__traceback__))
    except BaseException:
        logger.exception("the traceback of %s cannot be formatted", type(error).__name__)
        return ""


def storable(text: str, limit: int) -> str:
    """Text that both databases take, cut in the middle if it is too long."""
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _delay(
    error: BaseException, job: ClaimedJob, definition: Definition[..., Any] | None
) -> timedelta | None:
    failure = Failure(job.kind, job.attempt, job.max_attempts, job.errors + 1, error)
    policy = definition.options.retry if definition is not None else None
    if policy is not None:
        try:
            return retry_delay(policy, failure)
        except BaseException:
            logger.exception("job %d: the retry policy of %s failed, using the default", job.id, job.kind)
    return DefaultRetry()(failure)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "<exception str() failed>"


def _snoozes(job: ClaimedJob) -> int:
    try:
        count = msgspec.json.decode(job.metadata).get("snoozes", 0)
    except (msgspec.DecodeError, AttributeError):
        return 0
    return count if type(count) is int and 0 <= count < MAX_SNOOZES else 0
