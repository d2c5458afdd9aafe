"""What do we add to jobs that use the ORM, three queries each, and what does a second process bring?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benchmarks import bare_queue, database, jobs, ours, processes
from benchmarks.models import Account
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario

THREADS = 10


def plan(options: Options) -> Plan:
    """Against bare threads that call the same function, in as many processes."""
    count = options.share(1 / 20)
    one, two = "ours", "ours, two processes"
    bare, bare_two = "bare threads", "bare threads, two processes"
    queue = "bare threads and a bare queue"
    return Plan(
        [
            Contestant(one, partial(_ours, count, 1)),
            Contestant(bare, partial(_bare, count, 1)),
            Contestant(queue, partial(_bare_queue, count)),
            Contestant(two, partial(_ours, count, 2)),
            Contestant(bare_two, partial(_bare, count, 2)),
        ],
        [
            Demand(text="of bare threads", of=one, figure="jobs/s", over=bare, at_least=0.95),
            Demand(
                text="of bare threads in two processes", of=two, figure="jobs/s", over=bare_two, at_least=0.95
            ),
            Demand(text="of bare threads and a bare queue", of=one, figure="jobs/s", over=queue),
            Demand(text="what a bare queue leaves of bare threads", of=queue, figure="jobs/s", over=bare),
            Demand(text="what a second process brings", of=two, figure="jobs/s", over=one),
            Demand(text="what it brings to bare threads", of=bare_two, figure="jobs/s", over=bare),
        ],
    )


def _accounts(count: int) -> int:
    """As many as there are jobs; the first one's id."""
    Account.objects.all().delete()
    Account.objects.bulk_create(Account() for _ in range(count))
    return Account.objects.earliest("pk").pk


def _ours(count: int, workers: int) -> dict[str, float]:
    first = _accounts(count)
    return ours.burn_down(
        count, lambda number: jobs.transfer.build(first + number), workers=workers, slots=THREADS
    )


def _bare_queue(count: int) -> dict[str, float]:
    """The least that a queue can be, around the same threads."""
    first = _accounts(count)
    return bare_queue.burn_down(count, lambda number: jobs.transfer.build(first + number), threads=THREADS)


def _bare(count: int, workers: int) -> dict[str, float]:
    first, part = _accounts(count), count // workers
    database.checkpoint()
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                processes.running(
                    processes.program("orm", first=first + part * worker, count=part, threads=THREADS),
                    processes.environ_with(),
                )
            )
            for worker in range(workers)
        ]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        spans = [processes.answer(process.communicate()[0]) for process in running]
    began, ended = zip(*spans, strict=True)
    return {"jobs/s": part * workers / (max(ended) - min(began))}


SCENARIOS = (Scenario(name="orm", question="What do we add to jobs that use the ORM?", plan=plan),)
