"""Jobs of every sort."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import warnings
from datetime import timedelta
from pathlib import Path

from asgiref.sync import sync_to_async

from django_river import (
    FixedRetry,
    JobCancel,
    JobContext,
    JobDiscard,
    JobSnooze,
    NoRetry,
    job,
)
from tests.shop import isolated as isolated
from tests.shop.models import Run

AT_ONCE = FixedRetry(0)
released = threading.Event()


def note(context: JobContext, what: str) -> None:
    """Count this execution."""
    Run.objects.create(job_id=context.id, attempt=context.attempt, what=what)


@job()
def nothing(number: int = 0) -> None:
    """Do nothing."""


@job()
async def nothing_async(number: int = 0) -> None:
    """Do nothing, on the event loop."""


@job()
def record(context: JobContext, number: int) -> None:
    """Succeed, and record an output."""
    note(context, "record")
    context.record_output({"number": number})


@job(queue="other")
async def record_async(context: JobContext, number: int) -> None:
    """Succeed on the event loop."""
    await asyncio.sleep(0)
    await sync_to_async(note)(context, "record_async")
    context.record_output({"number": number})


@job(max_attempts=3, retry=AT_ONCE)
def fail(context: JobContext, times: int) -> None:
    """Fail so many times, then succeed."""
    note(context, "fail")
    if context.attempt <= times:
        raise ValueError(f"attempt {context.attempt}")


@job(max_attempts=3, retry=FixedRetry(0.05))
def fail_soon(context: JobContext, times: int) -> None:
    """Fail so many times, each time for a moment, then succeed."""
    fail(context, times)


@job(retry=NoRetry())
def fail_for_good() -> None:
    """Fail, never to be retried."""
    raise LookupError("for good")


@job()
def snooze(context: JobContext, times: int, seconds: float = 0.0) -> None:
    """Snooze so many times, then succeed."""
    note(context, "snooze")
    if context.snoozes < times:
        raise JobSnooze(timedelta(seconds=seconds))


@job()
def cancel_itself(context: JobContext) -> None:
    """End as cancelled."""
    note(context, "cancel_itself")
    raise JobCancel("not needed")


@job()
def discard_itself(context: JobContext) -> None:
    """End as discarded."""
    note(context, "discard_itself")
    raise JobDiscard("hopeless")


@job()
def until_told(context: JobContext, flag: str) -> None:
    """Say that we run by making a file, and go on until it is gone or we are asked to stop."""
    path = Path(flag)
    path.touch()
    # After that: who sees this may remove the file.
    note(context, "until_told")
    while path.exists():
        context.heartbeat()
        context.raise_if_cancelled()
        released.wait(0.01)


@job()
def hold_the_interpreter(context: JobContext, seconds: int) -> None:
    """Call C code that does not let go of Python's lock: no other thread runs meanwhile."""
    note(context, "hold_the_interpreter")
    ctypes.PyDLL(None).sleep(seconds)


@job()
def deaf_until_told(flag: str) -> None:
    """The same, but never looking whether we should stop."""
    path = Path(flag)
    path.touch()
    while path.exists():
        released.wait(0.01)


@job()
async def until_told_async(flag: str) -> None:
    """The same, on the event loop."""
    path = Path(flag)
    path.touch()
    while path.exists():
        await asyncio.sleep(0.01)


@job()
async def deaf_until_told_in_a_thread(flag: str) -> None:
    """The same, in a thread that nobody can stop."""
    await asyncio.to_thread(deaf_until_told, flag)


@job()
def nap(seconds: float) -> None:
    """Take some time, and query the database on the way."""
    Run.objects.exists()
    released.wait(seconds)


@job()
async def nap_async(seconds: float) -> None:
    """Take some time on the event loop."""
    await asyncio.sleep(seconds)


@job()
def mark(context: JobContext, number: int) -> None:
    """Leave a number behind."""
    Run.objects.create(job_id=number, attempt=context.attempt, what="mark")


@job()
def fork(context: JobContext) -> None:
    """Return in two processes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os.waitpid(child, 0)
        context.record_output({"child": child})


@job(interrupt=True)
def spin_in_a_thread(flag: str) -> None:
    """Never look whether we should stop."""
    Path(flag).touch()
    while True:
        released.wait(0.001)
