"""Options of one call: what ``using`` may be told, each with its rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django_river.jobs.unique import Unique

#: Metadata keys that belong to River or to us (PROTOCOL 4).
RESERVED_PREFIXES = ("river:", "django_river:")
RESERVED_KEYS = frozenset({"output", "snoozes", "periodic", "cancel_attempted_at", "unique_key_conflict"})

#: What both databases can hold in every time zone.
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, got {metadata!r}")
    for key in metadata:
        if not isinstance(key, str):
            raise TypeError(f"metadata must have text keys, got {key!r}")
        if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES):
            raise ValueError(f"metadata must not use keys of the queue itself, got {key!r}")


def _check_pending(pending: object) -> None:
    if not isinstance(pending, bool):
        raise TypeError(f"pending must be a bool, got {pending!r}")


def _check_run_after(run_after: object) -> None:
    if not isinstance(run_after, datetime | timedelta):
        raise TypeError(f"run_after must be a datetime or a timedelta, got {run_after!r}")
    now = datetime.now(UTC)
    if isinstance(run_after, timedelta):
        is_storable = _EARLIEST - now < run_after < _LATEST - now
    else:
        is_storable = run_after.utcoffset() is None or _EARLIEST < run_after < _LATEST
    if not is_storable:
        raise ValueError(f"run_after must be within the years 1 to 9999, got {run_after!r}")


def _check_unique(unique: object) -> None:
    if not isinstance(unique, Unique):
        raise TypeError(f"unique must be a Unique, got {unique!r}")


#: The check of each option, by name. It raises TypeError or ValueError with the name, the rule and the value.
CALL_CHECKS: Mapping[str, Callable[[object], None]] = {
    "metadata": _check_metadata,
    "pending": _check_pending,
    "run_after": _check_run_after,
    "unique": _check_unique,
}


def taken_once(tags: object) -> tuple[Any, ...]:
    """Take them once: they may come from a generator. What each must look like is checked with the others."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise TypeError(f"tags must be a list of texts, got {tags!r}")
    return tuple(tags)
