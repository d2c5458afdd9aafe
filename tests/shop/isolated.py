"""Jobs that run in processes of their own. What they do to a process must not be done to that of the tests."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import warnings
from pathlib import Path

from django_river import JobContext, JobInterrupted, NoRetry, job
from tests.shop.models import Run


@job(isolation="process", retry=NoRetry())
def where(context: JobContext, fail: bool = False) -> None:
    """Record which process this is."""
    context.record_output(os.getpid())
    if fail:
        raise ValueError("on purpose")


@job(isolation="process", retry=NoRetry())
async def where_async(context: JobContext) -> None:
    """The same, on a loop of its own."""
    await asyncio.sleep(0)
    context.record_output(os.getpid())


@job(isolation="process", retry=NoRetry())
async def wait_async(flag: str) -> None:
    """Say that we run, and wait for ever."""
    Path(flag).write_text(str(os.getpid()))
    await asyncio.sleep(60)


@job(isolation="process", retry=NoRetry(), timeout=1)
def spin(flag: str) -> None:
    """Say that we run, and never stop."""
    Path(flag).write_text(str(os.getpid()))
    while True:
        pass


@job(isolation="process", retry=NoRetry(), timeout=1)
def stuck_in_c(flag: str) -> None:
    """Say that we run, and get stuck where no other thread of the process can run either."""
    Path(flag).write_text(str(os.getpid()))
    re.match(r"(a+)+$", "a" * 100 + "b")


@job(isolation="process", retry=NoRetry(), soft_timeout=0.3, interrupt=True)
def tidy_up(context: JobContext, flag: str) -> None:
    """Notice the soft timeout, and end well."""
    Path(flag).write_text(str(os.getpid()))
    try:
        while True:
            time.sleep(0.01)
    except JobInterrupted:
        context.record_output(str(context.cancel_reason))


@job(isolation="process", retry=NoRetry())
def end_itself(code: int) -> None:
    """Take the process down."""
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


@job(isolation="process", retry=NoRetry())
def allocate(megabytes: int) -> None:
    """Use memory."""
    bytearray(megabytes << 20)


@job(isolation="process")
def note(context: JobContext) -> None:
    """Use the database."""
    Run.objects.create(job_id=context.id, attempt=context.attempt, what=f"isolated {signal.SIGTERM}")


@job(isolation="process", retry=NoRetry(), timeout=1)
def leave_behind(flag: str, die: bool) -> None:
    """Start a process that never ends; then die, or never end either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        other = os.fork()
    if other and die:
        Path(flag).write_text(str(other))
        os.kill(os.getpid(), signal.SIGKILL)
    elif other:
        Path(flag).write_text(str(other))
    while True:
        time.sleep(60)


@job(isolation="process", retry=NoRetry())
def fail_oddly() -> None:
    """Fail with a text that cannot be encoded."""
    raise ValueError("odd: \udcff")


@job(isolation="process", retry=NoRetry())
def limits(context: JobContext) -> None:
    """Record how long it may take."""
    context.record_output(context.timeout)


@job(isolation="process", retry=NoRetry(), soft_timeout=0.1)
def stop_softly(context: JobContext) -> None:
    """Give up at the soft timeout."""
    while True:
        context.raise_if_cancelled()
        time.sleep(0.01)


@job(isolation="process", retry=NoRetry())
def keep_for_itself(context: JobContext, output: int | None = None) -> None:
    """Record something, or nothing."""
    if output is not None:
        context.record_output(output)
