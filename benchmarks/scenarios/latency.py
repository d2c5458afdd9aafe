"""How long from a job's commit to the start of its function: idle, at half load, and for a planned moment?"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from benchmarks import database, processes
from benchmarks.figures import latencies
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.systems import Peer

#: Between two jobs of a worker that is idle otherwise, in seconds.
PAUSE = 0.02
#: Half of what 100 slots can do with jobs of 10 ms: so many every 10 ms.
LOAD = 50
#: The first jobs find caches cold and connections closed: they tell nothing about an idle worker.
WARM_UP = 20

#: By number of the job: when its function began, by the monotonic clock and by the calendar.
Marks = dict[int, tuple[float, float]]


def idle(options: Options) -> Plan:
    """We and every peer, one job at a time."""
    count = options.share(1 / 500)
    asked = {"p50 ms": 1.5, "p95 ms": 3.0, "p99 ms": 8.0}
    return Plan(
        [
            Contestant("ours", partial(_ours_idle, count)),
            Contestant("bare", partial(_bare_idle, count)),
            *(Contestant(name, partial(_peers_idle, Peer(name), count)) for name in options.peers),
        ],
        [
            *(Demand(text=figure, of="ours", figure=figure, at_most=most) for figure, most in asked.items()),
            Demand(text="p50 ms to that of LISTEN and claim alone", of="ours", figure="p50 ms", over="bare"),
            *(
                Demand(text=f"{figure} to {name}'s", of="ours", figure=figure, over=name, at_most=1.0)
                for name in options.peers
                for figure in asked
            ),
        ],
    )


def planned(options: Options) -> Plan:
    """Jobs for moments some seconds ahead."""
    return Plan(
        [Contestant("ours", partial(_planned, options.share(1 / 500)))],
        [Demand(text="p95 ms after the planned moment", of="ours", figure="p95 ms", at_most=20)],
    )


def half_load(options: Options) -> Plan:
    """While half of the slots work jobs of 10 ms, 5,000 a second."""
    return Plan(
        [Contestant("ours", partial(_half_load, options.share(1 / 500)))],
        [Demand(text="p95 ms at half load", of="ours", figure="p95 ms", at_most=20)],
    )


def _ours_idle(count: int) -> dict[str, float]:
    return _idle(_serving, _probe, count)


def _bare_idle(count: int) -> dict[str, float]:
    """A loop that claims when it is told, and calls the function: what notification and statement take."""

    def serving(marks: Path) -> AbstractContextManager[subprocess.Popen[str]]:
        database.empty()
        return processes.running(processes.program("listen", count=10), processes.environ_with(marks=marks))

    return _idle(serving, _probe, count)


def _peers_idle(peer: Peer, count: int) -> dict[str, float]:
    return _idle(peer.serving, lambda count: peer.probe(count, PAUSE), count)


def _idle(
    serving: Callable[[Path], AbstractContextManager[object]], probe: Callable[[int], list[float]], count: int
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        with serving(marks):
            _wait_for_marks(marks, probe)
            returned = probe(WARM_UP + count)
            began = read_marks(marks, WARM_UP + count)
    return latencies([began[number][0] - returned[number] for number in range(WARM_UP, WARM_UP + count)])


def _serving(marks: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    database.empty()
    return processes.running(processes.RUNWORKERS, processes.environ_with(marks=marks))


def _probe(count: int) -> list[float]:
    command = processes.program("probe", count=count, pause=PAUSE)
    return [returned for _, returned in processes.answer(processes.run(command, processes.environ_with()))]


def _wait_for_marks(marks: Path, probe: Callable[[int], object]) -> None:
    """The worker is up when it has worked one; those marks are forgotten."""
    probe(1)
    read_marks(marks, 1)
    marks.write_text("")


def read_marks(marks: Path, count: int) -> Marks:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = marks.read_text().splitlines() if marks.exists() else []
        if len(lines) >= count:
            fields = [line.split() for line in lines]
            return {int(number): (float(moment), float(date)) for number, moment, date in fields}
        time.sleep(0.05)
    raise RuntimeError(f"{len(lines)} of {count} jobs have begun within a minute")


def _planned(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        with _serving(marks):
            _wait_for_marks(marks, _probe)
            command = processes.program("schedule", count=count, pause=PAUSE)
            moments = processes.answer(processes.run(command, processes.environ_with()))
            began = read_marks(marks, count)
    return latencies([began[number][1] - moment for number, moment in enumerate(moments)])


def _half_load(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        with _serving(marks):
            _wait_for_marks(marks, _probe)
            load = processes.program("load", count=LOAD, pause=0.01)
            with processes.running(load, processes.environ_with()) as loading:
                _probe(WARM_UP)
                read_marks(marks, WARM_UP)
                marks.write_text("")
                returned = _probe(count)
                began = read_marks(marks, count)
                rate = processes.answer(loading.communicate("")[0])
    figures = latencies([began[number][0] - moment for number, moment in enumerate(returned)])
    return {**figures, "jobs/s meanwhile": rate}


SCENARIOS = (
    Scenario(name="latency", question="How long from commit to start on an idle worker?", plan=idle),
    Scenario(name="latency-planned", question="How late does a job start that is planned?", plan=planned),
    Scenario(name="latency-loaded", question="How long from commit to start at half load?", plan=half_load),
)
