"""procrastinate: its async worker with its psycopg pool, 50 jobs at once; more bring nothing, it fetches one by one."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

from procrastinate import App, PsycopgConnector

from benchmarks.peers import protocol

CONCURRENCY = 50
CHUNK = 1000

# As in production: its messages for each job are of the level INFO.
logging.getLogger("procrastinate").setLevel(logging.WARNING)


def app_for(url: str) -> App:
    app = App(connector=PsycopgConnector(conninfo=url))

    @app.task(name="noop")
    async def noop(number: int) -> None:
        protocol.began.note(number)

    return app


def setup(url: str) -> None:
    async def install() -> None:
        async with app_for(url).open_async() as app:
            await app.schema_manager.apply_schema_async()

    asyncio.run(install())


def fill(url: str, count: int, queues: int) -> float:
    async def defer() -> float:
        async with app_for(url).open_async() as app:
            began = time.monotonic()
            for start in range(0, count, CHUNK):
                numbers = range(start, min(start + CHUNK, count))
                await app.tasks["noop"].batch_defer_async(*({"number": number} for number in numbers))
            return time.monotonic() - began

    return asyncio.run(defer())


def work(url: str, queues: int, *, is_burst: bool) -> None:
    async def run() -> None:
        async with app_for(url).open_async() as app:
            await app.run_worker_async(concurrency=CONCURRENCY, wait=not is_burst)

    asyncio.run(run())


def probe(url: str, count: int, pause: float) -> list[float]:
    async def defer() -> list[float]:
        async with app_for(url).open_async() as app:
            task = app.tasks["noop"]
            return await protocol.probed(lambda number: task.defer_async(number=number), count, pause)

    return asyncio.run(defer())


if __name__ == "__main__":
    protocol.main(sys.modules[__name__])  # type: ignore[arg-type]
