"""The jobs that are measured."""

from __future__ import annotations

import asyncio
import os
import time

from django.db.models import F

from benchmarks.models import Account
from django_river import JobContext, job

#: Where jobs note when they began, so that another process can read it.
MARKS = os.environ.get("BENCHMARK_MARKS", os.devnull)
_marks = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@job()
def noop(number: int) -> None:
    """Do nothing."""


@job()
async def noop_async(number: int) -> None:
    """Do nothing, on the event loop."""


@job()
def sleep(seconds: float) -> None:
    """What a call of some slow service is to a thread."""
    time.sleep(seconds)


@job()
async def sleep_async(seconds: float) -> None:
    """What a call of some slow service is to the event loop."""
    await asyncio.sleep(seconds)


@job()
def transfer(account: int) -> None:
    """Three queries."""
    Account.objects.filter(pk=account).update(balance=F("balance") + 1)
    found = Account.objects.get(pk=account)
    Account.objects.filter(balance__gt=found.balance, pk=account).exists()


@job()
def mark(number: int) -> None:
    """Note the moment."""
    note(number)


@job()
def wait(context: JobContext, number: int) -> None:
    """Until we are asked to stop; then note the moment."""
    while not context.cancelled:
        time.sleep(0.001)
    note(number)


@job()
async def wait_async(number: int) -> None:
    """The same, on the event loop."""
    try:
        await asyncio.sleep(3600)
    finally:
        note(number)


def note(number: int) -> None:
    """The moment: by the monotonic clock, which all processes of a machine share, and by the calendar."""
    os.write(_marks, b"%d %.6f %.6f\n" % (number, time.monotonic(), time.time()))


if os.environ.get("BENCHMARK_BATCHES"):
    from benchmarks import batch_jobs  # noqa: F401  (for its jobs)
