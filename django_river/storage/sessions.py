"""Django's own connection of the calling thread, as a session: statements join the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from django.db import connections, transaction


class DjangoSession:
    """Runs statements on ``connections[using]``; never opens or closes anything by itself."""

    def __init__(self, using: str) -> None:
        self.using = using

    def execute(self, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        with connections[self.using].cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if _has_rows(cursor) else []

    def atomic(self) -> AbstractContextManager[Any]:
        """A transaction, or a savepoint in the caller's."""
        return transaction.atomic(using=self.using)

    @property
    def in_transaction(self) -> bool:
        """Whether the caller's commit is still to come."""
        connection = connections[self.using]
        return connection.in_atomic_block or not connection.get_autocommit()

    def close(self) -> None:
        """Leave the connection to Django."""


def _has_rows(cursor: Any) -> bool:
    # psycopg makes an object of every column that one asks to have described.
    result = getattr(cursor, "pgresult", None)
    return bool(cursor.description if result is None else result.nfields)
