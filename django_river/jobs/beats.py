"""Signs of life: what a running job says of itself, and how that stands in its row. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from django_river.jobs.json import encode_json

#: The key of a job's metadata under which the last sign of life stands.
HEARTBEAT_KEY = "django_river:heartbeat"
#: Longest note kept, in characters; and largest data, in bytes of JSON.
MAX_NOTE = 500
MAX_DATA = 10_000


class Beat(NamedTuple):
    """One sign of life. Later ones keep what they do not say anew."""

    progress: float | None = None
    note: str | None = None
    #: JSON.
    data: bytes | None = None

    def encoded(self, attempt: int, *, is_stuck: bool = False) -> bytes:
        """As it stands in the row, but for the time, which the database puts in."""
        said: dict[str, Any] = {"attempt": attempt, "progress": self.progress, "note": self.note}
        if self.data is not None:
            said["data"] = msgspec.Raw(self.data)
        if is_stuck:
            said["stuck"] = True
        return msgspec.json.encode({name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life in a job's row; all is ``None`` that was never said."""

    #: When it came, by the database's clock; ``None`` once the attempt is over.
    at: datetime | None = None
    #: From 0.0 to 1.0.
    progress: float | None = None
    note: str | None = None
    data: Any = None
    #: Which attempt said so.
    attempt: int | None = None
    #: Whether the job has missed a heartbeat that it promised, and has not stopped.
    is_stuck: bool = False

    @classmethod
    def of(cls, metadata: object) -> Heartbeat | None:
        """Read it from metadata, where anybody may have written anything."""
        said = metadata.get(HEARTBEAT_KEY) if isinstance(metadata, Mapping) else None
        if not isinstance(said, Mapping):
            return None
        progress, note, attempt = said.get("progress"), said.get("note"), said.get("attempt")
        is_number = isinstance(progress, int | float) and not isinstance(progress, bool)
        return cls(
            at=_moment(said.get("at")),
            progress=float(progress) if is_number and progress is not None else None,
            note=note if isinstance(note, str) else None,
            data=said.get("data"),
            attempt=attempt if type(attempt) is int else None,
            is_stuck=said.get("stuck") is True,
        )


def checked_data(data: object) -> bytes:
    """An object as JSON. Raises :class:`TypeError`, or :class:`ValueError` for what is too large."""
    if not isinstance(data, Mapping):
        raise TypeError(f"data must be a dict, got {data!r}")
    return encode_json(data, what="data", limit=MAX_DATA)


def checked_note(note: object) -> str:
    """A note that both databases take, as a plain text whatever its class. Raises :class:`TypeError`."""
    if not isinstance(note, str):
        raise TypeError(f"note must be a str, got {note!r}")
    note = str.__str__(note)
    return note if note.isascii() and len(note) <= MAX_NOTE and "\x00" not in note else _storable(note)


def checked_progress(progress: float) -> float:
    """A part of the whole, as a plain number whatever its class. Raises :class:`ValueError` or :class:`TypeError`."""
    if isinstance(progress, bool) or not isinstance(progress, int | float):
        raise TypeError(f"progress must be a number from 0 to 1, got {progress!r}")
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must be a number from 0 to 1, got {progress!r}")
    return float(progress)


def _storable(note: str) -> str:
    note = note.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return note if len(note) <= MAX_NOTE else note[: MAX_NOTE - 1] + "…"


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
