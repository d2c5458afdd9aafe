"""Django's connections in threads that work jobs: clean before and after each job, closed at the end."""

from __future__ import annotations

import logging

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)


def tidy() -> None:
    """Give back or close what the last job left unusable in this thread.

    ``CONN_MAX_AGE = 0`` means "until the end of the request"; for a worker thread that would be a new connection for
    every job, at milliseconds each. Here it means "until the thread has nothing to do".
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _leave_transaction(connection)
        elif connection.connection is not None:
            if connection.settings_dict["CONN_MAX_AGE"] == 0 and not _is_pooled(connection):
                connection.close_at = None
            connection.close_if_unusable_or_obsolete()


def close() -> None:
    """Close this thread's connections; a pool gets its slots back."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _leave_transaction(connection)
        connection.close()


def _leave_transaction(connection: BaseDatabaseWrapper) -> None:
    """A job ended inside ``atomic``: what it did there must not be committed by the next one."""
    logger.error("a job left a transaction open on %r; it is rolled back", connection.alias)
    connection.in_atomic_block = False
    connection.close()


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict.get("OPTIONS", {}).get("pool"))
