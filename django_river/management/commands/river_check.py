"""``manage.py river_check``: are these periodic jobs those of a file, or those in force? For CI and before a deployment."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseProblem
from django.db import connections

from django_river import storage
from django_river.conf import FOLLOW, Config, config
from django_river.exceptions import ConfigError
from django_river.jobs.periodic_differences import Differences, differences
from django_river.jobs.periodic_registry import PeriodicRegistry
from django_river.registration import Verdict, declared_registry, judge, named, strongest

EXIT_SAME = 0
EXIT_DIFFERS = 1
EXIT_UNKNOWN = 2


WOULD = {
    "join": "join those that run",
    "take over": "take over",
    "follow": "work jobs and never lead",
    "refuse": "refuse to start",
}


class CannotTell(Exception):
    """There is nothing to compare with, or nothing to compare."""


@dataclass(frozen=True, slots=True)
class Other:
    """What is compared with: its entries, and what would become of a worker of ours beside it."""

    what: str
    hash: str
    entries: list[dict[str, Any]]
    would: str = ""


class Command(BaseCommand):
    """Compares only: it writes nothing, and needs no worker."""

    help = "Compare this project's periodic jobs with a file, or with those in force in the database."
    #: What is wrong with the project is "cannot tell", not "differs".
    requires_system_checks: list[str] = []  # noqa: RUF012  (Django's)

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--print", action="store_true", help="Print the hash and the canonical JSON (the default)."
        )
        what.add_argument(
            "--compare", metavar="FILE", help="Compare with what --print has written to a file."
        )
        what.add_argument(
            "--against-database", action="store_true", help="Compare with what is in force in the database."
        )
        parser.add_argument("--json", action="store_true", help="Say it for programs.")
        parser.add_argument("--database", help="The alias of the database that holds the jobs.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            settings = config()
            ours = declared_registry(settings)
            if options["compare"] is not None:
                code = self._compare(ours, _read(Path(options["compare"])), options)
            elif options["against_database"]:
                code = self._compare(ours, _in_force(ours, settings, options["database"]), options)
            else:
                code = self._print(ours, options)
        except (CannotTell, ConfigError, DatabaseProblem) as error:
            code = self._give_up(error, options)
        sys.exit(code)

    def _print(self, ours: PeriodicRegistry, options: dict[str, Any]) -> int:
        if options["json"]:
            self.stdout.write(_dumped({"hash": ours.hash, "registry": json.loads(ours.canonical_json)}))
        else:
            self.stdout.write(f"{ours.hash}\n{ours.canonical_json}")
        return EXIT_SAME

    def _compare(self, ours: PeriodicRegistry, other: Other, options: dict[str, Any]) -> int:
        is_same = ours.hash == other.hash
        found = differences(ours.canonical, other.entries)
        if options["json"]:
            self.stdout.write(_dumped(_as_json(ours, other, found)))
        else:
            self.stdout.write(f"{'The same as' if is_same else 'Differs from'} {other.what}.")
            for line in found.lines():
                self.stdout.write(f"  {line}")
            if other.would:
                self.stdout.write(f"A worker of {named(config().release)} would {WOULD[other.would]}.")
        return EXIT_SAME if is_same else EXIT_DIFFERS

    def _give_up(self, error: Exception, options: dict[str, Any]) -> int:
        if options["json"]:
            self.stdout.write(_dumped({"result": "unknown", "error": str(error)}))
        else:
            self.stderr.write(f"Cannot tell: {error}")
        return EXIT_UNKNOWN


def _as_json(ours: PeriodicRegistry, other: Other, found: Differences) -> dict[str, Any]:
    return {
        "result": "same" if ours.hash == other.hash else "differs",
        "hash": {"ours": ours.hash, "theirs": other.hash},
        **found.as_json(),
        **({"would": other.would} if other.would else {}),
    }


def _read(path: Path) -> Other:
    """What ``--print`` has written, with or without ``--json``."""
    try:
        text = path.read_text(encoding="utf-8").strip()
        first, _, rest = text.partition("\n")
        if first.startswith("{"):
            content = json.loads(text)
            found = Other(str(path), content["hash"], content["registry"]["entries"])
        else:
            found = Other(str(path), first, json.loads(rest)["entries"])
        return _checked(found)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CannotTell(f"{path} does not hold what --print writes: {error!r}") from error


def _checked(other: Other) -> Other:
    entries: Any = other.entries
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
    ):
        raise TypeError("entries must be a list of objects with names")
    return other


def _in_force(ours: PeriodicRegistry, settings: Config, using: str | None) -> Other:
    using = using or settings.database
    if using not in connections:
        raise CannotTell(f"unknown database {using!r}; known: {', '.join(connections)}")
    periodic = storage.for_periodic(using)
    in_force = periodic.registry_in_force()
    if in_force is None:
        raise CannotTell(f"nothing is in force in database {using!r} yet: any worker may start")
    clients = periodic.client_list_live(timedelta(seconds=settings.client_timeout))
    rival = strongest(in_force, clients)
    hash = rival.registry_hash if rival is not None else in_force.hash
    release = rival.release if rival is not None else in_force.release
    entries = json.loads(periodic.registry_entries(hash) or '{"entries": []}')["entries"]
    verdict = judge(ours.hash, settings.release, in_force, clients)
    return Other(
        f"what is in force in database {using!r} ({named(release)}, {len(clients)} clients alive)",
        hash,
        entries,
        _would(verdict, settings),
    )


def _would(verdict: Verdict, settings: Config) -> str:
    """What a worker would do that were started now."""
    if verdict.may_lead:
        return "join" if verdict is Verdict.JOINS else "take over"
    return "follow" if settings.on_mismatch == FOLLOW else "refuse"


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
