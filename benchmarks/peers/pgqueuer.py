"""pgqueuer by its fastest settings: asyncpg, uvloop, batches of 1,000 as in its own benchmarks. Jobs are deleted when done.

Its tables are logged, as it makes them by default. Many queues are many entrypoints of one worker.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from benchmarks.peers import protocol

BATCH = 1000


def names(queues: int) -> list[str]:
    return [f"noop-{number}" for number in range(queues)]


def setup(url: str) -> None:
    async def install() -> None:
        connection = await asyncpg.connect(url)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    uvloop.run(install())


def fill(url: str, count: int, queues: int) -> float:
    async def enqueue() -> float:
        connection = await asyncpg.connect(url)
        queries = Queries(AsyncpgDriver(connection))
        entrypoints = names(queues)
        await connection.execute("CHECKPOINT")
        began = time.monotonic()
        # All in one call, as for one process there is nothing faster.
        await queries.enqueue(
            [entrypoints[number % queues] for number in range(count)],
            [b'{"number": %d}' % number for number in range(count)],
            [0] * count,
        )
        seconds = time.monotonic() - began
        await connection.execute("VACUUM ANALYZE pgqueuer")
        await connection.close()
        return seconds

    return uvloop.run(enqueue())


def work(url: str, queues: int, *, is_burst: bool) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        app = PgQueuer.from_asyncpg_connection(connection)

        async def noop(job: Job) -> None:
            protocol.began.note(0 if is_burst else int(job.payload or b"0"))

        for name in names(queues):
            app.entrypoint(name)(noop)
        mode = QueueExecutionMode.drain if is_burst else QueueExecutionMode.continuous
        await app.run(dequeue_timeout=timedelta(seconds=30), batch_size=BATCH, mode=mode)
        await connection.close()

    uvloop.run(run())


def probe(url: str, count: int, pause: float) -> list[float]:
    async def enqueue() -> list[float]:
        connection = await asyncpg.connect(url)
        queries = Queries(AsyncpgDriver(connection))
        return await protocol.probed(
            lambda number: queries.enqueue("noop-0", str(number).encode()), count, pause
        )

    return uvloop.run(enqueue())


if __name__ == "__main__":
    protocol.main(sys.modules[__name__])  # type: ignore[arg-type]
