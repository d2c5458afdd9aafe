"""Django's own connection of the calling thread, as a session: statements join the caller's transaction."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from django_river.conf import of_django

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper


class DjangoSession:
    """Runs statements on ``connections[using]``; never opens or closes anything by itself."""

    def __init__(self, using: str) -> None:
        self.using = using

        self._kept = KeptCursor()

    def execute(self, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        connection = connections[self.using]
        kept = self._kept.on(connection)
        if kept is not None:
            kept.execute(sql, params)
            with connection.wrap_database_errors:
                # What the wrapper would do as well, by a way of its own for each method.
                return _rows(kept.cursor)
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return _rows(cursor)

    def atomic(self) -> AbstractContextManager[Any]:
        """A transaction, or a savepoint in the caller's."""
        return transaction.atomic(using=self.using)

    @property
    def in_transaction(self) -> bool:
        """Whether the caller's commit is still to come."""
        connection = connections[self.using]
        return connection.in_atomic_block or not connection.get_autocommit()

    def cancel(self) -> None:
        """Leave the statement to whoever runs it."""

    def close(self) -> None:
        """Leave the connection to Django."""


class KeptCursor(threading.local):
    """One of Django's cursors per thread, used again while nothing about the connection changes.

    Opening a cursor takes a tenth of the time that storing a job does. Whoever watches statements by
    ``execute_wrapper`` or patches the cursor's class sees those of a kept one; whoever replaces ``connection.cursor``
    or logs queries gets a new one each time.
    """

    _cursor: CursorWrapper | None = None
    _made_for: tuple[object, ...] = ()

    def on(self, connection: BaseDatabaseWrapper) -> CursorWrapper | None:
        """A cursor of this connection; ``None`` where there must be a new one for each statement."""
        if connection.vendor != "postgresql" or "cursor" in vars(connection):
            return None
        if connection.force_debug_cursor or of_django("DEBUG"):
            return None
        # What connection.cursor() would do, but for the cursor.
        if connection.settings_dict["CONN_HEALTH_CHECKS"]:
            connection.close_if_health_check_failed()
        connection.ensure_connection()
        made_for = (connection, connection.connection, connection.timezone)
        if self._cursor is None or self._made_for != made_for:
            self._cursor, self._made_for = connection.cursor(), made_for
        return self._cursor


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    # psycopg makes an object of every column that one asks to have described.
    result = getattr(cursor, "pgresult", None)
    has_rows = cursor.description if result is None else result.nfields
    return cursor.fetchall() if has_rows else []
