"""``manage.py river_leader``: who leads, who stands, who led before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseProblem
from django.db import connections
from django.utils import timezone

from django_river.conf import config
from django_river.exceptions import ConfigError
from django_river.leader_report import LeaderNow, LeaderReport, PastTerm, Standing, report
from django_river.management.tables import section


class Command(BaseCommand):
    """Prints what :mod:`django_river.leader_report` finds."""

    help = "Show which client leads, which stand for election, why the others do not, and the last terms."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="For programs.")
        parser.add_argument("--terms", type=int, default=10, help="So many of the last terms (default 10).")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["terms"] < 0:
            raise CommandError(f"--terms must be a number from 0, not {options['terms']}.")
        try:
            found = report(config(), terms=options["terms"])
        except ConfigError as error:
            raise CommandError(str(error)) from error
        except DatabaseProblem as error:
            using = config().database
            connections[using].close()
            raise CommandError(f"Database {using!r} cannot be read: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps(found.as_dict(), indent=2, cls=DjangoJSONEncoder))
        else:
            self.stdout.write("\n".join(_lines(found)))


def _lines(found: LeaderReport) -> Iterator[str]:
    yield _leader(found.leader)
    yield ""
    candidates = [client for client in found.clients if not client.objection]
    others = [client for client in found.clients if client.objection]
    yield from section("Candidates", map(_candidate, candidates))
    if others:
        yield from section("Others", ((client.id, client.objection) for client in others))
    troubles = [
        (client.id, name, text) for client in found.clients for name, text in sorted(client.troubles.items())
    ]
    if troubles:
        yield from section("Troubles", troubles)
    if found.terms:
        yield from section("Last terms", map(_term, found.terms))


def _leader(leader: LeaderNow | None) -> str:
    if leader is None:
        return "Nobody leads."
    where = "a client of another language" if leader.host is None else f"{leader.host}, pid {leader.pid}"
    left = leader.seconds_left
    lease = f"its lease holds {left:.0f} s more" if left >= 0 else f"but its lease ran out {-left:.0f} s ago"
    return f"Leader: {leader.id} ({where}), since {_moment(leader.since)}, {lease}."


def _candidate(client: Standing) -> tuple[str, ...]:
    labels = " ".join(f"{name}={value}" for name, value in sorted(client.labels.items()))
    verb = "leads" if client.is_leader else "follows"
    return client.id, verb, f"preference {client.preference}", labels


def _term(term: PastTerm) -> tuple[str, ...]:
    end = "still lasts" if term.ended_at is None else _moment(term.ended_at)
    return _moment(term.elected_at), end, term.client_id, term.why


def _moment(at: datetime) -> str:
    return (timezone.localtime(at) if timezone.is_aware(at) else at).isoformat(" ", "seconds")
