"""oban: uvloop, as its own command uses it, 500 jobs at once. The open version; batched completion is for payers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from oban import Oban, job
from oban.schema import install

from benchmarks.peers import protocol

LIMIT = 500
CHUNK = 1000
UNFINISHED = """SELECT EXISTS (
    SELECT FROM oban_jobs WHERE state IN ('available', 'executing', 'retryable', 'scheduled')
)"""


@job(queue="default")
async def noop(number: int) -> None:
    protocol.began.note(number)


@asynccontextmanager
async def pool_of(url: str) -> AsyncIterator[Any]:
    pool = await Oban.create_pool(url)
    try:
        yield pool
    finally:
        await pool.close()


def setup(url: str) -> None:
    async def create() -> None:
        async with pool_of(url) as pool:
            await install(pool)

    uvloop.run(create())


def fill(url: str, count: int, queues: int) -> float:
    async def enqueue() -> float:
        async with pool_of(url) as pool:
            oban = Oban(pool=pool)
            began = time.monotonic()
            for start in range(0, count, CHUNK):
                await oban.enqueue_many([noop.new(n) for n in range(start, min(start + CHUNK, count))])
            return time.monotonic() - began

    return uvloop.run(enqueue())


def work(url: str, queues: int, *, is_burst: bool) -> None:
    async def run() -> None:
        async with pool_of(url) as pool, Oban(pool=pool, queues={"default": LIMIT}):

            async def is_empty() -> bool:
                async with pool.connection() as connection:
                    row = await (await connection.execute(UNFINISHED)).fetchone()
                    return row == (False,)

            await (protocol.until_empty(is_empty) if is_burst else asyncio.Event().wait())

    uvloop.run(run())


def probe(url: str, count: int, pause: float) -> list[float]:
    async def enqueue() -> list[float]:
        async with pool_of(url) as pool:
            oban = Oban(pool=pool)
            return await protocol.probed(lambda number: oban.enqueue(noop.new(number)), count, pause)

    return uvloop.run(enqueue())


if __name__ == "__main__":
    protocol.main(sys.modules[__name__])  # type: ignore[arg-type]
