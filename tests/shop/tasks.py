"""Tasks of Django's own, of every sort. For Django 6.0 and newer."""

from __future__ import annotations

import asyncio

from django.tasks import task

from django_river.tasks import RiverTaskContext
from tests.shop.models import Run


class Broken(Exception):
    """Something of the project's own."""


@task
def add(*numbers: float, start: float = 0) -> float:
    """Return something."""
    return sum(numbers, start)


@task
async def add_async(left: int, right: int) -> int:
    """Return something, on the event loop."""
    await asyncio.sleep(0)
    return left + right


@task
def forget() -> None:
    """Return nothing."""


@task(takes_context=True)
def report(context: RiverTaskContext, text: str) -> dict[str, object]:
    """Say how far it is, and what it knows."""
    context.job.heartbeat(progress=0.5, note=text, data={"page": 1})
    result = context.task_result
    return {"id": result.id, "attempt": context.attempt, "status": result.status, "args": result.args}


@task(takes_context=True)
async def report_async(context: RiverTaskContext) -> str:
    """The same, on the event loop."""
    return context.task_result.id


@task
def fail(text: str) -> None:
    """Fail."""
    raise Broken(text)


@task
def give_away() -> object:
    """Return what JSON cannot hold."""
    return object()


@task
def buy(number: int) -> None:
    """Leave something behind."""
    Run.objects.create(job_id=number, attempt=1, what="buy")


def undeclared() -> None:
    """Become a task in a test."""
