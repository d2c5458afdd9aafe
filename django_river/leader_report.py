"""Who leads, who stands, why the others do not, and who led before: read for people, with the database's own now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models.functions import Now

from django_river.conf import Config
from django_river.models import Client, Leader, LeaderTerm


@dataclass(frozen=True, slots=True)
class LeaderNow:
    """The holder of the lease. A client of another language has no host and no pid here."""

    id: str
    since: datetime
    #: Until the lease expires; negative if it has.
    seconds_left: float
    host: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """One client, and what it is in the election."""

    id: str
    host: str
    pid: int
    labels: dict[str, str]
    preference: int
    is_leader: bool
    #: Why it is no candidate; empty if it is one.
    objection: str
    #: Which of its parts fail, and what is to be said of each.
    troubles: dict[str, str]


@dataclass(frozen=True, slots=True)
class PastTerm:
    """A term, over if it has an ``ended_at``."""

    client_id: str
    host: str
    pid: int | None
    elected_at: datetime
    ended_at: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class LeaderReport:
    """All that is to be known of the lead now."""

    leader: LeaderNow | None
    #: Candidates first, the most preferred at the top.
    clients: list[Standing]
    #: The newest first.
    terms: list[PastTerm]

    def as_dict(self) -> dict[str, Any]:
        """The same in lists and dicts."""
        return asdict(self)


def report(config: Config, *, terms: int = 10) -> LeaderReport:
    """Read it all, with so many of the last terms. Three statements."""
    using = config.database
    now_leading = Leader.objects.using(using).annotate(database_now=Now()).first()
    clients = list(Client.objects.using(using).annotate(database_now=Now()).order_by("id"))
    standing = [_standing(client, leader=now_leading, alive_for=config.client_timeout) for client in clients]
    standing.sort(key=lambda client: (client.objection != "", -client.preference))
    past = LeaderTerm.objects.using(using).order_by("-id")[:terms]
    return LeaderReport(
        leader=_leader(now_leading, {client.pk: client for client in clients}),
        clients=standing,
        terms=[
            PastTerm(term.client_id, term.host, term.pid, term.elected_at, term.ended_at, term.why)
            for term in past
        ],
    )


def _leader(row: Any, clients: dict[str, Client]) -> LeaderNow | None:
    if row is None:
        return None
    client = clients.get(row.leader_id)
    return LeaderNow(
        id=row.leader_id,
        since=row.elected_at,
        seconds_left=(row.expires_at - row.database_now).total_seconds(),
        host=client.host if client else None,
        pid=client.pid if client else None,
    )


def _standing(client: Any, *, leader: Any, alive_for: float) -> Standing:
    silent_for = (client.database_now - client.heartbeat_at).total_seconds()
    objection = client.objection
    if silent_for >= alive_for:
        objection = f"it has not been heard of for {silent_for:.0f} s"
    elif not client.can_lead and not objection:
        # As releases before this one say it.
        objection = "it may not lead"
    return Standing(
        id=client.pk,
        host=client.host,
        pid=client.pid,
        labels=client.labels,
        preference=client.preference,
        is_leader=leader is not None and leader.leader_id == client.pk,
        objection=objection,
        troubles=client.troubles,
    )
