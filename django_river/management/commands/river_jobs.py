"""``manage.py river_jobs``: what runs now, and what has gone wrong."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseProblem
from django.db import connections

from django_river.conf import Config, config
from django_river.exceptions import ConfigError
from django_river.running_report import faults, lines, running


class Command(BaseCommand):
    """Prints what :mod:`django_river.running_report` finds."""

    help = "Show the jobs that run now, and how often which kinds of jobs had which faults."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["running", "faults"], help="What to show.")
        parser.add_argument("--stuck", action="store_true", help="Only jobs that are stuck or suspicious.")
        parser.add_argument("--days", type=int, default=7, help="Faults of so many days (default 7).")
        parser.add_argument("--json", action="store_true", help="For programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["days"] < 1:
            raise CommandError(f"--days must be a number from 1, not {options['days']}.")
        try:
            self._show(config(), options)
        except ConfigError as error:
            raise CommandError(str(error)) from error
        except DatabaseProblem as error:
            using = config().database
            connections[using].close()
            raise CommandError(f"Database {using!r} cannot be read: {error}") from error

    def _show(self, settings: Config, options: dict[str, Any]) -> None:
        if options["what"] == "faults":
            counts = faults(settings, days=options["days"])
            if options["json"]:
                self._dump([count.as_dict() for count in counts])
                return
            if not counts:
                self.stdout.write("No faults.")
            for count in counts:
                whose = "machinery" if count.is_ours else "job"
                self.stdout.write(f"{count.count:>8}  {count.what:<13} {whose:<10} {count.kind}")
            return
        found = running(settings, stuck=options["stuck"])
        if options["json"]:
            self._dump([job.as_dict() for job in found])
        else:
            self.stdout.write("\n".join(lines(found)))

    def _dump(self, rows: list[dict[str, Any]]) -> None:
        self.stdout.write(json.dumps(rows, indent=2, cls=DjangoJSONEncoder))
