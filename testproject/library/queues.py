"""How busy the queues are, for the box on every page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Count
from django.utils import timezone

from django_river import State
from django_river.models import Client, Job, Queue


@dataclass(slots=True)
class QueueFigures:
    """One queue's open jobs."""

    name: str
    is_paused: bool = False
    waiting: int = 0
    running: int = 0
    later: int = 0
    pending: int = 0


_COLUMNS = {
    State.AVAILABLE: "waiting",
    State.RUNNING: "running",
    State.SCHEDULED: "later",
    State.RETRYABLE: "later",
    State.PENDING: "pending",
}


def queue_figures() -> list[QueueFigures]:
    """The queues of the settings, and others that hold jobs, counted by two queries."""
    queues = {name: QueueFigures(name) for name in settings.DJANGO_RIVER["QUEUES"] if "*" not in name}
    for name, state, count in (
        Job.objects.open().order_by().values_list("queue", "state").annotate(Count("id"))
    ):
        figures = queues.setdefault(name, QueueFigures(name))
        column = _COLUMNS[State(state)]
        setattr(figures, column, getattr(figures, column) + count)
    for name in Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True):
        queues.setdefault(name, QueueFigures(name)).is_paused = True
    return list(queues.values())


def living_clients() -> int:
    """How many worker processes have said within the last minute that they live."""
    return Client.objects.filter(heartbeat_at__gt=timezone.now() - timedelta(minutes=1)).count()
