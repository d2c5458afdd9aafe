"""chancy: async jobs on its event loop, 1,000 at once, asking for more as soon as one is done (``eager_polling``)."""

from __future__ import annotations

import asyncio
import sys
import time

from chancy import Chancy, Queue, Worker, job

from benchmarks.peers import protocol

UNFINISHED = "SELECT EXISTS (SELECT FROM chancy_jobs WHERE state IN ('pending', 'running', 'retrying'))"


@job(queue="default")
async def noop(*, number: int) -> None:
    protocol.began.note(number)


def setup(url: str) -> None:
    async def install() -> None:
        async with Chancy(url) as chancy:
            await chancy.migrate()
            executor = Chancy.Executor.Async
            await chancy.declare(
                Queue("default", concurrency=1000, executor=executor, polling_interval=1, eager_polling=True)
            )

    asyncio.run(install())


def fill(url: str, count: int, queues: int) -> float:
    async def push() -> float:
        jobs = [noop.job.with_kwargs(number=number) for number in range(count)]
        async with Chancy(url) as chancy:
            began = time.monotonic()
            async for _ in chancy.push_many(jobs):
                pass
            return time.monotonic() - began

    return asyncio.run(push())


def work(url: str, queues: int, *, is_burst: bool) -> None:
    async def run() -> None:
        async with Chancy(url) as chancy, Worker(chancy) as worker:

            async def is_empty() -> bool:
                async with chancy.pool.connection() as connection:
                    row = await (await connection.execute(UNFINISHED)).fetchone()
                    return row == (False,)

            if is_burst:
                await protocol.until_empty(is_empty)
            else:
                await worker.wait_for_shutdown()

    asyncio.run(run())


def probe(url: str, count: int, pause: float) -> list[float]:
    async def push() -> list[float]:
        async with Chancy(url) as chancy:
            return await protocol.probed(
                lambda number: chancy.push(noop.job.with_kwargs(number=number)), count, pause
            )

    return asyncio.run(push())


if __name__ == "__main__":
    protocol.main(sys.modules[__name__])  # type: ignore[arg-type]
