"""What we do in several scenarios: jobs stored, and worked by real ``runworkers`` processes."""

from __future__ import annotations

import subprocess

from benchmarks import database, jobs, processes
from benchmarks.accounting import Cost, Watch

#: How our own connections say who they are; those of jobs are Django's.
APPLICATION = "django_river"


def burn_down(
    count: int,
    *,
    function: jobs.JobFunction = jobs.noop,
    workers: int = 1,
    slots: int = 100,
    queues: int = 1,  # type: ignore[type-arg]
) -> dict[str, float]:
    """Jobs per second from first claim to last result, and what they cost."""
    database.empty()
    before = database.fill(count, function=function, queues=queues)
    return work(count, after=before, workers=workers, slots=slots, queues=queues)


def work(
    count: int, *, after: int = 0, workers: int = 1, slots: int = 100, queues: int = 1
) -> dict[str, float]:
    """Work what is stored."""
    arguments = [f"--processes={workers}"] if workers > 1 else []
    environ = processes.environ_with(slots=slots, queues=queues)
    spent = processes.children_cpu()
    with Cost() as cost:
        command = [*processes.RUNWORKERS, "--burst", *arguments]
        process = subprocess.Popen(
            command,
            cwd=processes.ROOT,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with Watch(process.pid, database.url(), application=APPLICATION) as watch:
            _, complained = process.communicate(timeout=processes.TIMEOUT)
    if process.returncode:
        raise RuntimeError(f"runworkers ended with {process.returncode}: {complained.strip()[-300:]}")
    return {
        "jobs/s": database.worked_per_second(count, after=after),
        **cost.figures(count),
        # Its start is in it: half a second of Python and Django.
        "client µs/job": 1e6 * (processes.children_cpu() - spent) / count,
        "connections": watch.connections,
        "RSS MB": watch.rss_mb,
    }
