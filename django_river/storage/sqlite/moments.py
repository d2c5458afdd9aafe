"""Moments as text of a fixed width, in UTC: so that text sorts as time."""

from __future__ import annotations

from datetime import UTC, datetime


def as_text(moment: datetime) -> str:
    """A moment as Django keeps it on SQLite, but of a fixed width."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def as_moment(value: str | datetime) -> datetime:
    """A moment as it was read, by Django's connection or by ours."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value
