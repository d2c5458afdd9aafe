"""Django's connections in threads that work jobs: clean before and after each job, closed at the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

logger = logging.getLogger(__name__)

#: libpq's ``PQTRANS_ACTIVE``.
ACTIVE = 1


class _Opened(threading.local):
    """What this thread has opened. Most jobs of some queues never use the database: they are not to pay for it."""

    def __init__(self) -> None:
        self.connections: set[BaseDatabaseWrapper] = set()


_opened = _Opened()


def _note(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    _opened.connections.add(connection)


connection_created.connect(_note, dispatch_uid="django_river.work.connections")


def tidy() -> None:
    """Give back or close what the last job left unusable in this thread.

    ``CONN_MAX_AGE = 0`` means "until the end of the request"; for a worker thread that would be a new connection for
    every job, at milliseconds each. Here it means "until the thread has nothing to do".
    """
    if _opened.connections:
        _with_each(_clean)


def close() -> None:
    """Close this thread's connections; a pool gets its slots back."""
    _with_each(_close)
    _opened.connections.clear()


def _with_each(act: Callable[[BaseDatabaseWrapper], None]) -> None:
    """The next job gets a usable connection, whatever the last one has done to this one."""
    for connection in tuple(_opened.connections):
        try:
            act(connection)
        except Exception:
            logger.exception(
                "the connection to %r cannot be cleaned or closed; it is forgotten", connection.alias
            )
            connection.in_atomic_block = connection.closed_in_transaction = False
            connection.connection = None


def _clean(connection: BaseDatabaseWrapper) -> None:
    # What DEBUG keeps of every statement is for requests, which forget it when they begin.
    connection.queries_log.clear()
    if connection.in_atomic_block:
        _leave_transaction(connection)
    elif connection.connection is None:
        return
    elif _is_hung_up(connection) or _is_busy(connection):
        connection.close()
    else:
        if connection.settings_dict["CONN_MAX_AGE"] == 0 and not _is_pooled(connection):
            connection.close_at = None
        connection.close_if_unusable_or_obsolete()


def _close(connection: BaseDatabaseWrapper) -> None:
    if connection.in_atomic_block:
        _leave_transaction(connection)
    connection.close()


def _leave_transaction(connection: BaseDatabaseWrapper) -> None:
    """A job ended inside ``atomic``: what it did there must not be committed by the next one."""
    logger.error("a job left a transaction open on %r; it is rolled back", connection.alias)
    connection.in_atomic_block = False
    # If it was closed in there, Django waits for the end of the block to forget it.
    connection.closed_in_transaction = False
    connection.close()


def _is_hung_up(connection: BaseDatabaseWrapper) -> bool:
    """Whether the server has closed the connection while nobody was using it: a restart, a failover, a timeout.

    To read what has come costs no round trip, and saves the next job an attempt. Other than a poll of the socket it keeps
    Python's lock, which many threads want: to get it back would cost a job with three queries a sixth of its time.
    """
    if connection.vendor != "postgresql":
        return False
    pgconn = connection.connection.pgconn
    try:
        # The server says why it hangs up, and then does: what the first look reads is followed by the end.
        pgconn.consume_input()
        pgconn.consume_input()
    except connection.Database.Error:  # type: ignore[attr-defined]  # every backend names its driver
        return True
    return False


def _is_busy(connection: BaseDatabaseWrapper) -> bool:
    """Whether it waits for an answer still: a job was interrupted in the middle of a statement."""
    return connection.vendor == "postgresql" and connection.connection.info.transaction_status == ACTIVE


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.settings_dict.get("OPTIONS", {}).get("pool"))
