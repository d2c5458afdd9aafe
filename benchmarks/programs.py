"""What runs beside the workers, in processes of its own: ``python -m benchmarks.programs VERB …``, answering with JSON.

``probe``     enqueue jobs that note when they begin, one by one; when each call began and returned
``schedule``  the same for later moments; for when each job is planned, by the calendar
``load``      enqueue jobs of 10 ms at a steady rate
``orm``       run the job of three queries in bare threads; when they began and ended
``fill``      enqueue no-op jobs
``notes``     enqueue jobs that batches gather, and single ones between them, at a steady rate
``statements``  work until nothing is due; how many statements that took
``change``    say something of queues, again and again
``listen``    claim and run what is enqueued, with nothing around the statements
``queue``     work what is stored with the least that a queue can be
``sleep``     run the job that waits 10 ms in bare threads; how many a second
``rate``      how many jobs a second were completed of those with the first ids
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import django


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=sorted(VERBS))
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queue", default="default")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    django.setup()
    options = parser.parse_args()
    print(json.dumps(VERBS[options.verb](options)))


def probe(options: argparse.Namespace) -> list[tuple[float, float]]:
    from benchmarks import jobs
    from benchmarks.peers.protocol import pauses

    moments = []
    request = jobs.mark.using(queue=options.queue)
    for number, pause in enumerate(pauses(options.count, options.pause)):
        time.sleep(pause)
        began = time.monotonic()
        request.enqueue(number)
        moments.append((began, time.monotonic()))
    return moments


def schedule(options: argparse.Namespace) -> list[float]:
    from benchmarks import jobs

    planned = []
    for number in range(options.count):
        delay = timedelta(seconds=random.uniform(2, 2 + options.count * options.pause))
        stored = jobs.mark.using(run_after=delay).enqueue(number)
        planned.append(stored.scheduled_at.timestamp())
    return planned


def load(options: argparse.Namespace) -> float:
    """``--count`` jobs every ``--pause`` seconds, until standard input ends; how many a second that has come to."""
    from benchmarks import jobs
    from django_river import enqueue_many

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    began = due = time.monotonic()
    stored = 0
    while not over.wait(max(0.0, due - time.monotonic())):
        enqueue_many(jobs.sleep.build(0.01) for _ in range(options.count))
        stored += options.count
        due += options.pause
    return stored / (time.monotonic() - began)


def orm(options: argparse.Namespace) -> tuple[float, float]:
    from django.db import connection

    from benchmarks import jobs

    ready = threading.Barrier(options.threads + 1)
    numbers = iter(range(options.first, options.first + options.count))

    def work() -> None:
        connection.ensure_connection()
        ready.wait()
        for number in numbers:
            jobs.transfer(number)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    ready.wait()
    for thread in threads:
        thread.join()
    return began, time.monotonic()


def fill(options: argparse.Namespace) -> int:
    from benchmarks import jobs
    from django_river import enqueue_many

    return len(enqueue_many(jobs.noop.build(number) for number in range(options.count)))


def rate(options: argparse.Namespace) -> float:
    from django.db.models import Count, Max, Min

    from django_river.models import Job

    done = Job.objects.filter(state="completed", pk__lte=options.count).aggregate(
        count=Count("pk"), first=Min("attempted_at"), last=Max("finalized_at")
    )
    if done["count"] != options.count:
        sys.exit(f"{done['count']} of {options.count} jobs were completed")
    return float(options.count / (done["last"] - done["first"]).total_seconds())


def notes(options: argparse.Namespace) -> int:
    """``--count`` of each sort every ``--pause`` seconds, one by one, until standard input ends."""
    from benchmarks import batch_jobs, jobs

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    due, stored = time.monotonic(), 0
    while not over.wait(max(0.0, due - time.monotonic())):
        for _ in range(options.count):
            batch_jobs.note_by_name.enqueue(random.randrange(10), time.monotonic())
            stored += 1
        jobs.noop.enqueue(stored)
        due += options.pause
    return stored


def statements(options: argparse.Namespace) -> int:
    import psycopg
    from django.core.management import call_command

    count = iter(range(sys.maxsize))
    execute = psycopg.Cursor.execute

    def counted(*args: Any, **kwargs: Any) -> Any:
        next(count)
        return execute(*args, **kwargs)

    psycopg.Cursor.execute = counted  # type: ignore[method-assign]
    with suppress(SystemExit):
        call_command("runworkers", burst=True, verbosity=0)
    return next(count)


def change(options: argparse.Namespace) -> int:
    """Say something of one of ``--count`` queues every ``--pause`` seconds, until standard input ends; how often."""
    from django_river import queues

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    made, last = 0, f"queue-{options.count - 1}"
    while not over.wait(options.pause):
        name, what = f"queue-{random.randrange(options.count)}", random.randrange(4)
        if what == 0:
            queues.update(name, max_workers=random.randrange(1, 20))
        elif what == 1:
            queues.pause(name)
            queues.resume(name)
        elif what == 2:
            queues.add(f"new-{made}", max_workers=random.randrange(1, 20))
        elif name != last:
            queues.remove(name, jobs="move", to=last)
            queues.add(name)
        made += 1
    return made


def listen(options: argparse.Namespace) -> None:
    """What the statements alone take: claim ``--count`` when there is news, and run the function; until killed."""
    from benchmarks import jobs
    from django_river import storage
    from django_river.storage.base import TOPIC_INSERT, Demand

    listener, session = storage.open_listener("default"), storage.open_storage("default", timeout=10)
    assert listener is not None
    listener.connect([TOPIC_INSERT])
    demand = [Demand(queue=options.queue, limit=options.count)]
    while True:
        for job in session.job_fetch("bare", demand, options.count):
            jobs.mark(**json.loads(job.args))
        listener.wait(0.5)


def queue(options: argparse.Namespace) -> None:
    """Work the jobs of the one kind that is stored in ``--threads`` bare threads."""
    from benchmarks.bare_queue import BareQueue
    from django_river.jobs.registry import registry
    from django_river.models import Job

    kind = registry.get(Job.objects.values_list("kind", flat=True)[0])
    assert kind is not None
    BareQueue(kind.function, threads=options.threads).work()


def sleep(options: argparse.Namespace) -> float:
    """The job that waits 10 ms in ``--threads`` bare threads, ``--count`` times; how often a second."""
    from benchmarks import jobs

    numbers = iter(range(options.count))

    def work() -> None:
        for _ in numbers:
            jobs.sleep(0.01)

    threads = [threading.Thread(target=work) for _ in range(options.threads)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return float(options.count / (time.monotonic() - began))


VERBS: dict[str, Any] = {
    verb.__name__: verb
    for verb in (probe, schedule, load, orm, fill, notes, statements, change, rate, listen, queue, sleep)
}

if __name__ == "__main__":
    main()
