"""How near to the ideal do we come with jobs that wait 10 ms, in threads and on the event loop?"""

from __future__ import annotations

from functools import partial

from benchmarks import bare_queue, jobs, ours, processes
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario

SECONDS = 0.01


def plan(options: Options) -> Plan:
    """Slots divided by the time of a job are the ideal, until a processor is busy with nothing but them."""
    threads, loop, noop = "ours, 100 threads", "ours, 1,000 async", "ours, 1,000 async, no-op"
    bare, queue = "bare threads, 100", "bare threads and a bare queue"
    return Plan(
        [
            Contestant(threads, partial(_run, options.share(0.5), jobs.sleep, 100)),
            Contestant(bare, partial(_bare, options.share(0.5), 100)),
            Contestant(queue, partial(_bare_queue, options.share(0.5), 100)),
            Contestant(loop, partial(_run, options.jobs, jobs.sleep_async, 1000)),
            Contestant(noop, partial(ours.burn_down, options.jobs, jobs.noop_async.build, slots=1000)),
        ],
        [
            Demand(text="of the ideal 10,000 jobs/s", of=threads, figure="of the ideal", at_least=0.9),
            Demand(text="of 100 bare threads", of=threads, figure="jobs/s", over=bare),
            Demand(text="of bare threads and a bare queue", of=threads, figure="jobs/s", over=queue),
            Demand(
                text="cores that 1,000 async slots keep busy", of=loop, figure="client cores", at_least=0.9
            ),
            Demand(text="of async no-op jobs", of=loop, figure="jobs/s", over=noop),
        ],
    )


def _run(count: int, function: jobs.JobFunction, slots: int) -> dict[str, float]:  # type: ignore[type-arg]
    figures = ours.burn_down(count, lambda _: function.build(SECONDS), slots=slots)
    return {**figures, "of the ideal": figures["jobs/s"] * SECONDS / slots}


def _bare(count: int, threads: int) -> dict[str, float]:
    """The same function in threads that do nothing else: what this machine makes of the ideal."""
    command = processes.program("sleep", count=count, threads=threads)
    return {"jobs/s": processes.answer(processes.run(command, processes.environ_with()))}


def _bare_queue(count: int, threads: int) -> dict[str, float]:
    """The least that a queue can be, around the same threads."""
    return bare_queue.burn_down(count, lambda _: jobs.sleep.build(SECONDS), threads=threads)


SCENARIOS = (
    Scenario(name="sleeping", question="How near to the ideal are jobs that wait 10 ms?", plan=plan),
)
