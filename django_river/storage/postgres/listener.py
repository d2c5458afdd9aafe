"""LISTEN: a connection that hears what others say, as long as no pooler stands between, and that says: we live."""

from __future__ import annotations

import secrets
import selectors
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from django_river.storage.postgres.session import connect, django_errors, is_pooled


class PostgresListener:
    """One connection that only listens. ``interrupt`` may be called from any thread; the rest from one."""

    def __init__(self, using: str) -> None:
        self.using = using
        #: Written when we connect and when we close; read by those who tell others of it.
        self.session: int | None = None

        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._prefix = ""
        # Written when we connect; a byte sent into the one ends a wait on the other.
        self._alarm: tuple[socket.socket, socket.socket] | None = None

    def connect(self, topics: Collection[str]) -> bool:
        """Open and listen; ``False`` behind a transaction pooler, where LISTEN succeeds and nothing ever comes."""
        self.close()
        with django_errors():
            connection = connect(self.using, name="django_river listener")
            self._connection = connection
            self._alarm = socket.socketpair()
            # Whoever tells us to return must never wait for us.
            self._alarm[1].setblocking(False)
            if is_pooled(connection):
                self.close()
                return False
            row = connection.execute("SELECT current_schema()").fetchone()
            self._prefix = f"{row[0] if row else 'public'}."
            for topic in topics:
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._prefix + topic)))
            # A new key each time: a connection that was cut in silence may hold the last one for hours.
            session = secrets.randbits(63)
            connection.execute("SELECT pg_advisory_lock(%s)", [session])
            self.session = session
            return True

    def wait(self, timeout: float) -> list[tuple[str, str]]:
        """Wait for notifications, and take all that have come.

        After a silence the connection is asked whether it still lives, so that a dead one raises.
        """
        with django_errors():
            connection, alarm = self._connection, self._alarm
            if connection is None or alarm is None:
                raise psycopg.OperationalError("the listener is not connected")
            heard = list(connection.notifies(timeout=0))
            if not heard:
                ready = _ready([connection, alarm[0]], timeout)
                if alarm[0] in ready:
                    alarm[0].recv(1024)
                if not ready:
                    connection.execute("SELECT 1")
                heard = list(connection.notifies(timeout=0))
        return [(item.channel.removeprefix(self._prefix), item.payload) for item in heard]

    def interrupt(self) -> None:
        """Let a :meth:`wait` in another thread return now."""
        alarm = self._alarm
        if alarm is not None:
            with suppress(OSError):
                alarm[1].send(b"!")

    def close(self) -> None:
        """Close the connection, and so let go of its lock; safe twice."""
        self.session = None
        connection, self._connection = self._connection, None
        alarm, self._alarm = self._alarm, None
        if connection is not None:
            connection.close()
        for end in alarm or ():
            end.close()


def _ready(sources: Collection[Any], timeout: float) -> list[Any]:
    """Those that can be read from. Not ``select()``, which refuses what is opened after a thousand other files."""
    with selectors.DefaultSelector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout)]
