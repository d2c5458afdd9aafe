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
        self._selector: selectors.BaseSelector | None = None
        self._inbox: list[tuple[str, str]] = []

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
            schema, mark = _server(connection)
            self._prefix = f"{schema}."
            # What comes with the answer to a statement.
            connection.add_notify_handler(lambda heard: self._keep(heard.channel, heard.payload))
            self._inbox = []
            # A new key each time: a connection that was cut in silence may hold the last one for hours.
            session = mark << 43 | secrets.randbits(43)
            listen = [sql.SQL("LISTEN {}").format(sql.Identifier(self._prefix + topic)) for topic in topics]
            lock = sql.SQL("SELECT pg_advisory_lock({})").format(session)
            # All at once: each by itself would be a round trip, and a transaction.
            connection.execute(sql.SQL("; ").join([*listen, lock]))
            self.session = session
            # Not select(), which refuses what is opened after a thousand other files.
            self._selector = selectors.DefaultSelector()
            for source in (connection, self._alarm[0]):
                self._selector.register(source, selectors.EVENT_READ)
            return True

    def wait(self, timeout: float) -> list[tuple[str, str]]:
        """Wait for notifications, and take all that have come.

        After a silence the connection is asked whether it still lives, so that a dead one raises.
        """
        with django_errors():
            connection, alarm, selector = self._connection, self._alarm, self._selector
            if connection is None or alarm is None or selector is None:
                raise psycopg.OperationalError("the listener is not connected")
            heard = self._heard(connection)
            if not heard:
                ready = [key.fileobj for key, _ in selector.select(timeout)]
                if alarm[0] in ready:
                    alarm[0].recv(1024)
                if not ready:
                    connection.execute("SELECT 1")
                heard = self._heard(connection)
        return heard

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
        selector, self._selector = self._selector, None
        if selector is not None:
            selector.close()
        if connection is not None:
            connection.close()
        for end in alarm or ():
            end.close()

    def _heard(self, connection: psycopg.Connection[tuple[Any, ...]]) -> list[tuple[str, str]]:
        """What has come so far; without ``notifies()``, which takes longer to say "nothing" than a job to be claimed."""
        connection.pgconn.consume_input()
        encoding = connection.info.encoding
        while (item := connection.pgconn.notifies()) is not None:
            self._keep(item.relname.decode(encoding), item.extra.decode(encoding))
        heard, self._inbox = self._inbox, []
        return heard

    def _keep(self, channel: str, payload: str) -> None:
        self._inbox.append((channel.removeprefix(self._prefix), payload))


def _server(connection: psycopg.Connection[Any]) -> tuple[str, int]:
    """Where our tables are, and 20 bits by which this start of the server is told from others (see ``client_watch``)."""
    row = connection.execute(
        "SELECT coalesce(current_schema(), 'public'),"
        " (extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint & 1048575"
    ).fetchone()
    assert row is not None
    return row[0], row[1]
