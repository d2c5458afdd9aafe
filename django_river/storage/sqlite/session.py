"""A SQLite connection of our own: autocommit, transactions that take the write lock at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

from django.db import connections
from django.db.utils import DatabaseErrorWrapper

_TRANSACTION = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_SAVEPOINT = ("SAVEPOINT river", "RELEASE river", ("ROLLBACK TO river", "RELEASE river"))


@contextmanager
def django_errors() -> Iterator[None]:
    """Raise Django's database errors in place of sqlite3's."""
    with DatabaseErrorWrapper(SimpleNamespace(Database=sqlite3, errors_occurred=False)):
        yield


class SqliteSession:
    """Opens its connection when first used. Used by one thread at a time; may be closed by another."""

    def __init__(self, using: str, *, timeout: float) -> None:
        self.using = using
        self.timeout = timeout

        self._connection: sqlite3.Connection | None = None

    def execute(self, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        with django_errors():
            return self._connected().execute(sql, params).fetchall()

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """A transaction, or a savepoint inside one. IMMEDIATE: a read must not be overtaken by a writer."""
        with django_errors():
            connection = self._connected()
            begin, commit, rollback = _SAVEPOINT if connection.in_transaction else _TRANSACTION
            connection.execute(begin)
            try:
                yield
                # A commit can fail, too, and would leave the transaction open.
                connection.execute(commit)
            except BaseException:
                # Some errors end the transaction by themselves.
                if connection.in_transaction:
                    for statement in rollback:
                        connection.execute(statement)
                raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction of ours is open."""
        return self._connection is not None and self._connection.in_transaction

    def cancel(self) -> None:
        """End the statement that is at work; from any thread."""
        connection = self._connection
        if connection is not None:
            with suppress(sqlite3.ProgrammingError):
                # Closed meanwhile.
                connection.interrupt()

    def close(self) -> None:
        """Close the connection; a later statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            settings = connections[self.using].settings_dict
            self._connection = sqlite3.connect(
                str(settings["NAME"]),
                timeout=self.timeout,
                isolation_level=None,
                check_same_thread=False,
                uri=str(settings["NAME"]).startswith("file:"),
            )
            for statement in str(settings.get("OPTIONS", {}).get("init_command", "")).split(";"):
                self._connection.execute(statement)
        return self._connection
