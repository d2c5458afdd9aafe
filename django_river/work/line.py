"""What a client and the processes of its isolated jobs say to one another: JSON, a message a line."""

from __future__ import annotations

import selectors
import socket
import time
from threading import Lock
from typing import Any

import msgspec

from django_river.jobs.beats import Beat
from django_river.jobs.context import JobContext
from django_river.storage.base import ClaimedJob
from django_river.work.outcomes import Outcome

#: Bytes read at once.
CHUNK = 1 << 16


class Run(msgspec.Struct, tag=True):
    """To the process: run this job."""

    job: dict[str, Any]
    #: Seconds it may take.
    timeout: float | None = None

    @property
    def claimed(self) -> ClaimedJob:
        """The job, as the client has it."""
        return ClaimedJob(**self.job)

    @classmethod
    def of(cls, job: ClaimedJob, *, timeout: float | None) -> Run:
        """Say what to run."""
        return cls(job._asdict() | {"args": _text(job.args), "metadata": _text(job.metadata)}, timeout)


class Stop(msgspec.Struct, tag=True):
    """To the process: ask the job to stop."""

    reason: str


class Ready(msgspec.Struct, tag=True):
    """From the process: it knows its kind, and waits for a job."""


class News(msgspec.Struct, tag=True):
    """From the process: what the job has said and kept so far."""

    beat: Beat | None = None
    #: JSON by key.
    kept: dict[str, msgspec.Raw] = {}
    #: Seconds since its last sign of life; ``None`` if it has given none.
    age: float | None = None

    @classmethod
    def of(cls, context: JobContext) -> News:
        """All there is to say."""
        kept = {key: msgspec.Raw(value) for key, value in (context.kept or {}).items()}
        has_beaten = context.heartbeat_at != context.began_at
        return cls(context.beat, kept, time.monotonic() - context.heartbeat_at if has_beaten else None)

    def tell(self, context: JobContext) -> None:
        """Let another context say the same."""
        if self.age is not None:
            context.hear(self.beat, at=time.monotonic() - self.age)
        if self.kept:
            context.keep({key: bytes(value) for key, value in self.kept.items()})


class Ended(msgspec.Struct, tag=True):
    """From the process: the job has ended."""

    outcome: Outcome
    news: News
    #: Whether it was stopped because its time was up.
    is_late: bool = False


Message = Run | Stop | Ready | News | Ended


class Line:
    """One end. ``say`` may be called from any thread, ``hear`` from one, ``alarm`` from any."""

    def __init__(self, ours: socket.socket) -> None:
        self.ours = ours

        self._speaking = Lock()
        self._decoder = msgspec.json.Decoder(Message)
        self._rest = b""
        self._alarm = socket.socketpair()
        # Whoever raises the alarm must never wait for us.
        self._alarm[1].setblocking(False)

    def say(self, message: Message) -> None:
        """Send a message; :class:`OSError` if there is nobody any more."""
        with self._speaking:
            self.ours.sendall(msgspec.json.encode(message) + b"\n")

    def hear(self, timeout: float | None) -> list[Message]:
        """Wait for messages; none after ``timeout`` seconds or an alarm. :class:`EOFError` when the other end is gone."""
        with selectors.DefaultSelector() as selector:
            for source in (self.ours, self._alarm[0]):
                selector.register(source, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select(timeout)}
        if self._alarm[0] in ready:
            self._alarm[0].recv(1024)
        return self._read() if self.ours in ready else []

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to hear, not even that the other end is gone."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.ours, selectors.EVENT_READ)
            return not selector.select(0)

    def alarm(self) -> None:
        """Let a :meth:`hear` in another thread return now."""
        try:
            self._alarm[1].send(b"!")
        except OSError:
            # Full of alarms, or closed.
            return

    def close(self) -> None:
        """Hang up."""
        for end in (self.ours, *self._alarm):
            end.close()

    def _read(self) -> list[Message]:
        try:
            came = self.ours.recv(CHUNK)
        except ConnectionError:
            came = b""
        if not came:
            raise EOFError("the other end is gone")
        *lines, self._rest = (self._rest + came).split(b"\n")
        return [self._decoder.decode(line) for line in lines]


def _text(raw: str | bytes) -> str:
    return raw if isinstance(raw, str) else raw.decode()
