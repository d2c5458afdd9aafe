"""What the program of a peer understands: ``python -m benchmarks.peers.NAME VERB --url U …``, answering with JSON.

``setup``    make the tables
``fill``     enqueue ``--count`` jobs by the peer's bulk call; answers with the seconds it took
``burst``    work until nothing is left; answers with when the first and the last job began
``serve``    work until killed; jobs note when they began in the file ``--marks``
``probe``    enqueue ``--count`` jobs one by one, ``--pause`` seconds apart; answers with when each call returned

All moments are those of the monotonic clock, which all processes of a machine share. Runs in the peer's environment:
imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol


class Peer(Protocol):
    """A peer's module."""

    def setup(self, url: str) -> None: ...
    def fill(self, url: str, count: int, queues: int) -> float: ...
    def work(self, url: str, queues: int, *, is_burst: bool) -> None: ...
    def probe(self, url: str, count: int, pause: float) -> list[float]: ...


class Began:
    """When jobs of this process began."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0
        self.count = 0
        self.file: int | None = None

    def note(self, number: int) -> None:
        """Called by every job: its whole work."""
        self.last = time.monotonic()
        self.count += 1
        if self.first is None:
            self.first = self.last
        if self.file is not None:
            os.write(self.file, b"%d %.6f %.6f\n" % (number, self.last, time.time()))


began = Began()


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["setup", "fill", "burst", "serve", "probe"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--queues", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--marks", default=os.devnull)
    return parser.parse_args()


def main(peer: Peer) -> None:
    """Do what the command line says, and print the answer."""
    print(json.dumps(_answer(peer, options())))


def _answer(peer: Peer, options: argparse.Namespace) -> Any:
    if options.verb == "setup":
        return peer.setup(options.url)
    if options.verb == "fill":
        return peer.fill(options.url, options.count, options.queues)
    if options.verb == "probe":
        return peer.probe(options.url, options.count, options.pause)
    if options.verb == "serve":
        began.file = os.open(options.marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    peer.work(options.url, options.queues, is_burst=options.verb == "burst")
    return [began.first, began.last, began.count]


def pauses(count: int, pause: float) -> list[float]:
    """Irregular, so that nobody's timer falls into step with them."""
    return [pause * random.uniform(0.5, 1.5) for _ in range(count)]


async def probed(enqueue: Callable[[int], Awaitable[object]], count: int, pause: float) -> list[float]:
    """Enqueue one by one; when each call returned."""
    returned = []
    for number, seconds in enumerate(pauses(count, pause)):
        await asyncio.sleep(seconds)
        await enqueue(number)
        returned.append(time.monotonic())
    return returned


async def until_empty(is_empty: Callable[[], Awaitable[bool]]) -> None:
    """Wait until no job begins any more, and none is left. Asks the database only when it is quiet."""
    async for is_quiet in _looks():
        if is_quiet and await is_empty():
            return


async def _looks() -> AsyncIterator[bool]:
    while True:
        before = began.count
        await asyncio.sleep(0.2)
        yield began.count == before
