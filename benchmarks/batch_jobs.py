"""Jobs that are worked in batches. Loaded only where they are measured: kinds that are not there must cost nothing."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass

from django.db.models import F

from benchmarks.jobs import MARKS
from benchmarks.models import Account
from django_river import Batch, JobBatch, job

SIZE = 100
#: How long a trickle waits, in seconds.
WAIT = 0.2
_marks = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@dataclass(slots=True)
class Deposit:
    """One row to be changed."""

    account: int


@dataclass(slots=True)
class Note:
    """When it was stored, by the monotonic clock, and what it belongs to."""

    tenant: int
    at: float


@job()
def deposit(account: int) -> None:
    """One query for one row."""
    Account.objects.filter(pk=account).update(balance=F("balance") + 1)


@job(batch=Batch(size=SIZE, wait=WAIT), item=Deposit)
def deposit_many(batch: JobBatch[Deposit]) -> None:
    """One query for all."""
    Account.objects.filter(pk__in=[item.args.account for item in batch]).update(balance=F("balance") + 1)


@job()
def edit(account: int) -> None:
    """Load one object, change it, save it."""
    found = Account.objects.get(pk=account)
    found.balance += 1
    found.save()


@job(batch=Batch(size=SIZE, wait=WAIT), item=Deposit)
def edit_many(batch: JobBatch[Deposit]) -> None:
    """The same, one after the other."""
    for item in batch:
        edit(item.args.account)


@job(batch=Batch(size=SIZE, wait=WAIT, by="tenant"), item=Note)
def note_by_name(batch: JobBatch[Note]) -> None:
    """Note when the call began and with what."""
    _note(batch)


@job(batch=Batch(size=SIZE, wait=WAIT, by=lambda note: note.tenant), item=Note)
def note_by_function(batch: JobBatch[Note]) -> None:
    """The same, sorted by a function."""
    _note(batch)


def _note(batch: JobBatch[Note]) -> None:
    call = {"began": time.monotonic(), "tenant": batch.key, "at": [item.args.at for item in batch]}
    os.write(_marks, json.dumps(call).encode() + b"\n")
