"""What a leader's time in office is called, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Term:
    """The name of a term: who leads, and since when. A write of the leader's carries it, and counts only while it lasts.

    >>> Term("host-1-a", datetime(2026, 3, 1, 12, tzinfo=UTC))             # doctest: +SKIP
    """

    leader_id: str
    #: By the database's clock, to the microsecond.
    elected_at: datetime


class TermEnd(StrEnum):
    """Why a term ended."""

    #: The leader gave the lead up: it was asked to, another is preferred, or it could not do its work.
    RESIGNED = "resigned"
    #: The leader was stopped in an orderly way.
    STOPPED = "stopped"
    #: The lease ran out before it was renewed: the leader was frozen, or cut off from the database.
    EXPIRED = "expired"
    #: The leader's session was gone, because it was killed; or its row was, after a crash of the server.
    LOST = "lost"
    #: The leader found another one in its place, whose client keeps no history.
    REPLACED = "replaced"


#: How a term ends that nobody has to look into.
ORDERLY = frozenset({TermEnd.RESIGNED, TermEnd.STOPPED})
