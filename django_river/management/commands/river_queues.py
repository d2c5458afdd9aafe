"""``manage.py river_queues``: which queues there are, what holds for them, and verbs to change that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseProblem
from django.db import connections

from django_river import queues
from django_river.conf import config
from django_river.exceptions import ConfigError, RiverError
from django_river.management.watching import COLUMNS, cells, watch
from django_river.queue_options import NAMES
from django_river.queue_report import report
from django_river.storage.overview import TooSlow
from django_river.storage.queues import Removal

INHERIT = "inherit"


class Command(BaseCommand):
    """Words to calls of :mod:`django_river.queues`, and answers to lines."""

    help = "Show queues and what holds for them; add, change, pause, resume, move and remove them while they are worked."

    def add_arguments(self, parser: CommandParser) -> None:
        shared = CommandParser(add_help=False)
        shared.add_argument("--json", action="store_true", help="For programs.")
        shared.add_argument("--database", help="The alias of the database that holds the jobs.")
        verbs = parser.add_subparsers(dest="verb", required=True, parser_class=CommandParser)

        def verb(name: str, help: str) -> CommandParser:
            found: CommandParser = verbs.add_parser(name, help=help, parents=[shared])
            return found

        one = verb("list", "Show queues, their settings, and where each comes from.")
        one.add_argument("names", nargs="*", help="These only.")
        one.add_argument("--figures", action="store_true", help="Show how they are doing instead.")
        one.add_argument("--watch", action="store_true", help="The same, every second until Ctrl-C.")
        for name, help in (("add", "Add a queue."), ("set", "Change settings; NAME=inherit takes one back.")):
            one = verb(name, help)
            one.add_argument("name")
            one.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="VALUE is JSON, or a text.")
        one = verb("pause", "Stop claiming; running jobs finish.")
        one.add_argument("name", nargs="?", default=queues.ALL)
        one.add_argument("--for", type=float, dest="seconds", metavar="SECONDS", help="Resume after so long.")
        one = verb("resume", "Claim again.")
        one.add_argument("name", nargs="?", default=queues.ALL)
        one = verb("remove", "Remove a queue from all clients.")
        one.add_argument("name")
        one.add_argument("--jobs", choices=list(Removal), default=Removal.DRAIN.value)
        one.add_argument("--to", help="Where --jobs move puts them.")
        one.add_argument("--timeout", type=float, help="Wait for the last job so many seconds.")
        one = verb("move", "Remove a queue and put what waits into another: remove NAME --jobs move --to TO.")
        one.add_argument("name")
        one.add_argument("to")
        one.add_argument("--timeout", type=float)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            using = options["database"] or config().database
            if using not in connections:
                raise CommandError(f"Unknown database {using!r}; known: {', '.join(connections)}.")
            found, lines = getattr(self, options["verb"])(options, using)
        except (RiverError, ConfigError, TooSlow, TypeError, ValueError) as error:
            raise CommandError(str(error)) from error
        except DatabaseProblem as error:
            connections[using].close()
            raise CommandError(f"Database {using!r} cannot be used: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2, cls=DjangoJSONEncoder))
        else:
            self.stdout.write("\n".join(lines))

    def list(self, options: Mapping[str, Any], using: str) -> tuple[Any, Iterable[str]]:
        """All queues, or some."""
        names = options["names"]
        if options["watch"]:
            watch(lambda: report(using, names or None))
            return [], []
        if options["figures"]:
            figures = report(using, names or None)
            return [one.as_dict() for one in figures], _table([COLUMNS, *map(cells, figures)])
        found = [queues.get(name, using=using) for name in names] if names else queues.list(using=using)
        return [info.as_dict() for info in found], _lines(found)

    def add(self, options: Mapping[str, Any], using: str) -> tuple[Any, Iterable[str]]:
        """A new queue."""
        queues.add(options["name"], using=using, **_settings(options["settings"]))
        info = queues.get(options["name"], using=using)
        return info.as_dict(), [f"Added {info.name}.", *_lines([info])]

    def set(self, options: Mapping[str, Any], using: str) -> tuple[Any, Iterable[str]]:
        """Other settings."""
        queues.update(options["name"], using=using, **_settings(options["settings"]))
        info = queues.get(options["name"], using=using)
        return info.as_dict(), [f"Changed {info.name}.", *_lines([info])]

    def pause(self, options: Mapping[str, Any], using: str) -> tuple[Any, Iterable[str]]:
        """Stop claiming."""
        span = None if options["seconds"] is None else timedelta(seconds=options["seconds"])
        names = queues.pause(options["name"], until=span, using=using)
        return {"paused": names}, [
            f"Paused: {', '.join(sorted(names)) or 'none that was not paused before'}."
        ]

    def resume(self, options: Mapping[str, Any], using: str) -> tuple[Any, Iterable[str]]:
        """Claim again."""
        names = queues.resume(options["name"], using=using)
        return {"resumed": names}, [f"Resumed: {', '.join(sorted(names)) or 'none that was paused'}."]

    def remove(self, options: Mapping[str, Any], using: str) -> tuple[Any, Iterable[str]]:
        """Take a queue from all clients."""
        name = options["name"]
        done = queues.remove(
            name, jobs=options["jobs"], to=options["to"], timeout=options["timeout"], using=using
        )
        what = {"drain": "drained", "move": "moved", "delete": "deleted"}[options["jobs"]]
        rest = "Its last job is gone." if done.is_done else "Jobs of it are left; the leader sees to them."
        text = f"Removing {name}: {done.jobs} jobs {what}. {rest}"
        return {"name": name, "jobs": done.jobs, "is_done": done.is_done}, [text]

    def move(self, options: Mapping[str, Any], using: str) -> tuple[Any, Iterable[str]]:
        """Take a queue from all clients, and its jobs to another."""
        return self.remove({**options, "jobs": Removal.MOVE.value}, using)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _settings(words: Iterable[str]) -> dict[str, Any]:
    settings = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise CommandError(f"Write settings as NAME=VALUE, not {word!r}.")
        settings[name.lower()] = queues.INHERIT if text == INHERIT else _value(text)
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _lines(found: Iterable[queues.QueueInfo]) -> Iterator[str]:
    for info in found:
        yield f"{info.name}{_state(info)}"
        given = info.as_dict()["settings"]
        for name in NAMES:
            if given[name]["from"] != "default" or name == "max_workers":
                yield f"  {name} = {_shown(getattr(info.config, name))}  (from {given[name]['from']})"
        if info.applied_by or info.awaited:
            clients = ", ".join(f"{id} ({slots} slots)" for id, slots in sorted(info.applied_by.items()))
            awaited = f"; awaited: {', '.join(sorted(info.awaited))}" if info.awaited else ""
            yield f"  worked by {clients or 'nobody'}{awaited}"


def _shown(value: Any) -> str:
    return json.dumps(value.as_dict()) if hasattr(value, "as_dict") else str(value)


def _state(info: queues.QueueInfo) -> str:
    if info.removal:
        return f": being removed ({info.removal})"
    if not info.is_paused:
        return ""
    return (
        ": paused" if info.resume_at is None else f": paused until {info.resume_at.isoformat(' ', 'seconds')}"
    )
