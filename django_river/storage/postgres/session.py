"""A Postgres connection of our own: autocommit, few prepared statements, every statement and transaction bounded in time."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import psycopg
from django.db import connections
from django.db.utils import DatabaseErrorWrapper
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName
from psycopg.sql import SQL, Identifier

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10
CANCEL_TIMEOUT = 2
#: A network that is cut in silence is noticed in about this many seconds.
NETWORK_TIMEOUT = 10
#: What is prepared and takes longer, in seconds, is sent in full until it does not, and then prepared anew: the server keeps a
#: plan until it has looked at the table again, and reads all of one that was empty when the plan was made.
SLOW_SECONDS = 0.005
#: Each statement sees what was committed before it: those who wait for one another's locks rely on it.
ISOLATION = "ISOLATION LEVEL READ COMMITTED"

_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": NETWORK_TIMEOUT // 2,
    "keepalives_interval": 1,
    "keepalives_count": NETWORK_TIMEOUT // 2,
    "tcp_user_timeout": NETWORK_TIMEOUT * 1000,
}
#: Django's own parameters that a plain connection must not get.
_NOT_OURS = ("context", "cursor_factory", "pool", "prepare_threshold", "isolation_level", "assume_role")


def connect(using: str, *, name: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection with the settings of a database alias."""
    params = {
        key: value
        for key, value in connections[using].get_connection_params().items()
        if key not in _NOT_OURS
    }
    params = {**_KEEPALIVE, "connect_timeout": CONNECT_TIMEOUT, "application_name": name, **params}
    # Poolers in transaction mode hand a prepared statement to somebody else's connection.
    connection = psycopg.connect(**params, autocommit=True, prepare_threshold=None)
    role = connections[using].settings_dict["OPTIONS"].get("assume_role")
    if role:
        with closed_on_error(connection):
            connection.execute(SQL("SET ROLE {}").format(Identifier(role)))
    return connection


@contextmanager
def closed_on_error(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Close a connection that cannot be made ready."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a transaction pooler stands between: the server's process is not the one we were greeted by."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


@contextmanager
def django_errors() -> Iterator[None]:
    """Raise Django's database errors in place of psycopg's."""
    with DatabaseErrorWrapper(SimpleNamespace(Database=psycopg, errors_occurred=False)):
        yield


class PostgresSession:
    """Opens its connection when first used, and anew after it broke. Used by one thread at a time.

    The statements in ``prepared`` are parsed and planned once per connection, unless a pooler stands between.
    """

    def __init__(self, using: str, *, timeout: float, prepared: Collection[str] = ()) -> None:
        self.using = using
        self.timeout = timeout
        self.prepared = prepared

        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._pooled = False
        # Whether what could be prepared was slow or has failed, and how often it has been sent in full for that.
        self._sends_in_full = False
        self._times_in_full = 0
        # How many atomic blocks we are in.
        self._depth = 0

    def execute(self, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        with django_errors():
            connection = self._connected()
            if self._pooled and not self._depth:
                with self.atomic():
                    return self._rows(connection, sql, params)
            return self._rows(connection, sql, params)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """A transaction, or a savepoint inside one."""
        with django_errors():
            connection = self._connected()
            with connection.transaction():
                if self._pooled and not self._depth:
                    # A pooler keeps what SET changes for its next client; SET LOCAL ends with the transaction.
                    connection.execute(f"SET TRANSACTION {ISOLATION}; {self._limits('SET LOCAL')}")
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction of ours is open."""
        status = psycopg.pq.TransactionStatus.IDLE
        return self._connection is not None and self._connection.info.transaction_status != status

    def cancel(self) -> None:
        """End the statement that is at work; from any thread. A network that is away ends it, too, in time."""
        connection = self._connection
        if connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_TIMEOUT)

    def close(self) -> None:
        """Close the connection; a later statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _limits(self, verb: str) -> str:
        """A transaction that we leave open, because we are frozen or cut off in it, must not hold its locks for ever."""
        limit = max(1, round(self.timeout * 1000))
        return f"{verb} statement_timeout = {limit}; {verb} idle_in_transaction_session_timeout = {limit}"

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is not None and not self._connection.closed and not self._connection.broken:
            return self._connection
        if self._depth:
            # On a new connection the rest of the transaction would be committed without its beginning.
            raise psycopg.OperationalError("the connection was lost in the middle of a transaction")
        self.close()
        connection = connect(self.using, name="django_river")
        with closed_on_error(connection):
            self._pooled = is_pooled(connection)
            if not self._pooled:
                # What is prepared is said for each statement; one that takes another's place is forgotten for it.
                connection.prepare_threshold = sys.maxsize
                connection.prepared_max = max(1, len(self.prepared))
                connection.execute(
                    f"{self._limits('SET')}; SET default_transaction_isolation = 'read committed'"
                )
        self._connection = connection
        return connection

    def _rows(
        self, connection: psycopg.Connection[tuple[Any, ...]], sql: str, params: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        if sql in self.prepared and not self._pooled:
            return self._prepared_rows(connection, sql, params)
        cursor = connection.execute(sql, params, prepare=False)
        return cursor.fetchall() if cursor.description else []

    def _prepared_rows(
        self, connection: psycopg.Connection[tuple[Any, ...]], sql: str, params: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        in_full = self._sends_in_full
        self._times_in_full += in_full
        # Another text is another statement with another plan. Not every psycopg would notice if we said DEALLOCATE.
        text = sql if in_full else f"{sql} -- {self._times_in_full}"
        began, self._sends_in_full = time.monotonic(), True
        try:
            cursor = connection.execute(text, params, prepare=not in_full)
        except (DuplicatePreparedStatement, InvalidSqlStatementName):
            # A pooler that we did not notice: from now on as if we had. The statement has done nothing yet.
            self.prepared = ()
            if self.in_transaction:
                raise
            cursor = connection.execute(sql, params, prepare=False)
        self._sends_in_full = time.monotonic() - began > SLOW_SECONDS
        return cursor.fetchall() if cursor.description else []
