"""The least that a queue in one Python process can be: bare threads, one that claims for them, one that writes results.

There is nothing around our own statements but lists: no attempts, timeouts, signals, figures, nothing to stop. What this
reaches is what a worker can reach whose jobs share Python's lock with those who claim and write.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from queue import SimpleQueue
from typing import Any

from django.db import connection

from benchmarks import database, processes, raw
from django_river.storage.postgres.session import connect
from django_river.work.completer import GATHER_SECONDS
from django_river.work.producer import PREFETCH_SECONDS

Row = tuple[Any, ...]


def burn_down(count: int, build: database.Build, *, threads: int) -> dict[str, float]:
    """Jobs per second from first claim to last result."""
    database.empty()
    before = database.fill(count, build)
    processes.run(processes.program("queue", count=count, threads=threads), processes.environ_with())
    return {"jobs/s": database.worked_per_second(count, after=before)}


class BareQueue:
    """Works one queue until a claim finds nothing more."""

    def __init__(self, run: Callable[..., object], *, threads: int) -> None:
        self.run = run
        self.threads = threads

        self._claimed: SimpleQueue[Row | None] = SimpleQueue()
        # Ids of jobs that are done; and whether none will be added.
        self._done: deque[int] = deque()
        self._are_all_done = False

    def work(self) -> None:
        """Claim, run and write, until all is done."""
        writer = threading.Thread(target=self._write)
        others = [threading.Thread(target=part) for part in [self._claim, *[self._run] * self.threads]]
        for thread in (writer, *others):
            thread.start()
        for thread in others:
            thread.join()
        self._are_all_done = True
        writer.join()

    def _claim(self) -> None:
        began, claimed = time.monotonic(), 0
        with closing(connect("default", name="raw")) as server:
            while True:
                ended = claimed - self._claimed.qsize()
                ahead = int(ended / max(0.01, time.monotonic() - began) * PREFETCH_SECONDS)
                room = self.threads + ahead - self._claimed.qsize()
                if room <= ahead // 2:
                    time.sleep(PREFETCH_SECONDS / 10)
                    continue
                rows = raw.claim(server, room)
                claimed += len(rows)
                for row in rows or [None] * self.threads:
                    self._claimed.put(row)
                if not rows:
                    return

    def _run(self) -> None:
        while (row := self._claimed.get()) is not None:
            self.run(**json.loads(row[raw.ARGS]))
            self._done.append(row[0])
        connection.close()

    def _write(self) -> None:
        with closing(connect("default", name="raw")) as server:
            while not self._are_all_done or self._done:
                time.sleep(GATHER_SECONDS)
                if ids := [self._done.popleft() for _ in range(len(self._done))]:
                    raw.complete(server, ids)
