"""django-tasks-db: its worker works one job at a time; between jobs it sleeps for its default interval of a second.

It has no call for many jobs: they are enqueued one by one in one transaction.
"""

from __future__ import annotations

import sys
import time
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.tasks import task

from benchmarks.peers import protocol

parts = urlsplit(protocol.options().url)
# Before there can be a task.
settings.configure(
    SECRET_KEY="not secret: benchmarks only",
    USE_TZ=True,
    INSTALLED_APPS=["django_tasks_db"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path[1:],
            "USER": parts.username or "",
            "PASSWORD": parts.password or "",
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
        }
    },
    TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
)
django.setup()


@task()
def noop(number: int) -> None:
    protocol.began.note(number)


def setup(url: str) -> None:
    call_command("migrate", verbosity=0)


def fill(url: str, count: int, queues: int) -> float:
    began = time.monotonic()
    with transaction.atomic():
        for number in range(count):
            noop.enqueue(number)
    return time.monotonic() - began


def work(url: str, queues: int, *, is_burst: bool) -> None:
    call_command("db_worker", batch=is_burst, startup_delay=False, verbosity=0)


def probe(url: str, count: int, pause: float) -> list[float]:
    returned = []
    for number, seconds in enumerate(protocol.pauses(count, pause)):
        time.sleep(seconds)
        noop.enqueue(number)
        returned.append(time.monotonic())
    return returned


if __name__ == "__main__":
    protocol.main(sys.modules[__name__])  # type: ignore[arg-type]
