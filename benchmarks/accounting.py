"""What work has cost: log written and processor time spent by the server, memory and connections of the client."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import psycopg

from benchmarks import database

TICK = os.sysconf("SC_CLK_TCK")
#: How often a running process is looked at, in seconds. A look takes 3 ms of a processor, which those who are measured want.
LOOK_SECONDS = 0.5


class Cost:
    """Counts from entry to exit: ``figures(jobs)`` says what one job has cost.

    The counters of a Postgres process are complete when it has ended, so both ends wait until nobody but us is left.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = url or database.url()

    def __enter__(self) -> Self:
        self._began = self._counters()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = self._counters()

    def figures(self, jobs: int) -> dict[str, float]:
        """Per job; without the processor's time if the server is on another machine."""
        (log, cpu), (log_before, cpu_before) = self._ended, self._began
        figures = {"WAL bytes/job": (log - log_before) / jobs}
        if cpu is not None and cpu_before is not None:
            figures["server µs/job"] = 1e6 * (cpu - cpu_before) / jobs
        return figures

    def _counters(self) -> tuple[float, float | None]:
        with closing(psycopg.connect(self.url, autocommit=True, application_name="benchmark")) as server:
            _wait_until_alone(server)
            row = server.execute("SELECT wal_bytes FROM pg_stat_wal").fetchone()
            assert row is not None
            return float(row[0]), server_cpu(server)


def _wait_until_alone(server: psycopg.Connection) -> None:
    others = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND backend_type = 'client backend' AND application_name <> 'benchmark'"""
    for _ in range(200):
        if server.execute(others).fetchone() == (0,):
            return
        time.sleep(0.02)
    raise RuntimeError("somebody else uses the database that is measured")


def server_cpu(server: psycopg.Connection) -> float | None:
    """Seconds that all processes of the server have spent; none if they are not on this machine."""
    row = server.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    ours = _stat(row[0])
    postmaster = None if ours is None else _stat(ours.parent)
    if ours is None or postmaster is None or postmaster.name != ours.name:
        return None
    children = [stat for stat in _stats() if stat.parent == postmaster.pid]
    return postmaster.spent + postmaster.reaped + sum(stat.spent + stat.reaped for stat in children)


class Watch:
    """Looks at a client's processes and connections while they run: the most it has seen of each."""

    def __init__(self, pid: int, url: str, *, application: str | None = None) -> None:
        self.pid = pid
        self.rss_mb = 0.0
        self.connections = 0
        self._application = application
        self._server = psycopg.connect(url, autocommit=True, application_name="benchmark")
        self._database = urlsplit(url).path[1:]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()

    def _run(self) -> None:
        query = """SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name <> 'benchmark'
            AND application_name LIKE %s AND backend_type = 'client backend'"""
        while not self._stop.wait(LOOK_SECONDS):
            row = self._server.execute(query, [self._database, self._application or "%"]).fetchone()
            self.connections = max(self.connections, row[0] if row else 0)
            self.rss_mb = max(self.rss_mb, sum(rss_mb(stat.pid) for stat in family(self.pid)))


def family(pid: int) -> list[Stat]:
    """A process and its descendants."""
    stats = _stats()
    members = {pid}
    while more := {stat.pid for stat in stats if stat.parent in members} - members:
        members |= more
    return [stat for stat in stats if stat.pid in members]


def cpu_of(pid: int) -> float:
    """Seconds that a process and its descendants have spent."""
    return sum(stat.spent + stat.reaped for stat in family(pid))


def rss_mb(pid: int) -> float:
    """Memory of one process; 0 when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


class Stat(NamedTuple):
    """A process: seconds spent by it, and by children it has outlived."""

    pid: int
    name: str
    parent: int
    spent: float
    reaped: float


def _stats() -> list[Stat]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [stat for pid in pids if (stat := _stat(pid)) is not None]


def _stat(pid: int) -> Stat | None:
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    fields = after.split()
    user, system, reaped_user, reaped_system = (int(value) / TICK for value in fields[11:15])
    return Stat(pid, before.partition("(")[2], int(fields[1]), user + system, reaped_user + reaped_system)
