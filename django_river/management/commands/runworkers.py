"""``manage.py runworkers``: parse, build, run, exit code; nothing else."""

from __future__ import annotations

import atexit
import dataclasses
import os
import sys
from argparse import SUPPRESS, ArgumentTypeError
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseProblem
from django.db import connections
from django.utils import autoreload

from django_river import storage
from django_river.client import Client, StopReport
from django_river.conf import Config, config
from django_river.exceptions import ConfigError, RegistryMismatch
from django_river.models import Client as ClientRow
from django_river.process_scaler import ProcessBounds, ProcessScaler
from django_river.queue_choice import Choice, chosen_queues
from django_river.queue_options import MAX_WORKERS_LIMIT, QueueConfig
from django_river.service import cut_off_after
from django_river.stop_signals import StopSignals
from django_river.supervisor import Supervisor
from django_river.work.queue_plan import QueuePlan

Queues = Mapping[str, QueueConfig]

EXIT_CLEAN = 0
EXIT_ERROR = 1
#: Other periodic jobs are in force: sysexits' word for a configuration that is wrong.
EXIT_MISMATCH = 78
#: All results are stored, but jobs that would not stop were cut off; their attempts were given back.
EXIT_INTERRUPTED = 3

#: How often a worker sees whether its supervisor lives, and in a burst whether it is done, in seconds. One that has no
#: supervisor waits for signals alone: on Windows they do not end a wait.
LOOK_SECONDS = 0.25
BURST_LOOK_SECONDS = 0.05
LONE_LOOK_SECONDS = 1.0
#: What looks at the backlog for a supervisor may take so long, in seconds.
SCALER_TIMEOUT = 2.0
#: How long Python may wait for threads of jobs before the process is cut off, in seconds.
CUT_OFF_SECONDS = 10.0


class Command(BaseCommand):
    """Work jobs until SIGTERM or SIGINT; a second one asks running jobs to stop at once."""

    # Whether we have said that a burst cannot see its end.
    _is_blind = False

    help = "Work the jobs of the queues in DJANGO_RIVER['QUEUES']."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queues", type=_names, default=(), help="Work these only: a,b,tenant-*")
        parser.add_argument("--exclude", type=_names, default=(), help="Work all but these: a,b,tenant-*")
        parser.add_argument("--concurrency", type=_positive, help="Jobs one process works at once.")
        parser.add_argument(
            "--processes",
            type=_processes,
            default=1,
            help="Worker processes (default 1): N; auto, as many as what waits asks for, up to one per processor; auto:2-8.",
        )
        parser.add_argument(
            "--burst", action="store_true", help="End when nothing is due any more; later work is left."
        )
        parser.add_argument("--reload", action="store_true", help="Restart when code changes (development).")
        parser.add_argument("--no-lead", action="store_true", help="Never run maintenance.")
        parser.add_argument(
            "--client-id", help="Begin this client's id with this name instead of the host's."
        )
        parser.add_argument(
            "--stop-timeout", type=_seconds, help="Seconds running jobs may go on after SIGTERM."
        )
        parser.add_argument("--database", help="The alias of the database that holds the jobs.")
        parser.add_argument("--child-of", type=int, help=SUPPRESS)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as a process's own program: it ends with us, whatever jobs have left running in threads."""
        try:
            super().run_from_argv(argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else EXIT_ERROR
            cut_off_after(CUT_OFF_SECONDS, code=code or EXIT_INTERRUPTED)
            raise

    def handle(self, *args: Any, **options: Any) -> None:
        settings = self._settings(options)
        queues = self._queues(settings, options)
        if options["reload"]:
            if options["processes"] != 1 or options["burst"]:
                raise CommandError("--reload goes with neither --processes nor --burst.")
            autoreload.run_with_reloader(self._run_reloaded, settings, queues, options)
            return
        if options["burst"] and isinstance(options["processes"], ProcessBounds):
            raise CommandError("--burst goes with a number of --processes, and not with auto.")
        signals = StopSignals(is_child=options["child_of"] is not None)
        with signals.handled():
            code = self._supervise_or_run(settings, queues, options, signals)
        # CommandError would print; the code says it all.
        sys.exit(code)

    def _supervise_or_run(
        self, settings: Config, queues: Queues, options: dict[str, Any], signals: StopSignals
    ) -> int:
        if options["processes"] == 1 or options["child_of"]:
            return self._run(self._client(settings, queues, options, signals), options, signals)
        scaler = self._scaler(settings, queues, options)
        return Supervisor(
            [*_this_command(), "--child-of", str(os.getpid())],
            processes=options["processes"] if scaler is None else scaler.wanted,
            is_burst=options["burst"],
            stop_timeout=settings.stop_timeout + settings.cancel_timeout,
            signals=signals,
            scaler=scaler,
        ).run()

    def _scaler(self, settings: Config, queues: Queues, options: dict[str, Any]) -> ProcessScaler | None:
        if not isinstance(options["processes"], ProcessBounds):
            return None
        choice = Choice(options["queues"], options["exclude"])
        return ProcessScaler(
            options["processes"],
            storage=storage.open_storage(settings.database, timeout=SCALER_TIMEOUT),
            plan=QueuePlan(config=settings, named=queues, choice=choice),
            stop_timeout=settings.stop_timeout,
        )

    def _settings(self, options: dict[str, Any]) -> Config:
        try:
            settings = config()
        except ConfigError as error:
            raise CommandError(str(error)) from error
        changes: dict[str, Any] = {}
        if options["concurrency"] is not None:
            changes["concurrency"] = options["concurrency"]
        if options["stop_timeout"] is not None:
            changes["stop_timeout"] = options["stop_timeout"]
        if options["database"] is not None:
            changes["database"] = options["database"]
        settings = dataclasses.replace(settings, **changes)
        if settings.database not in connections:
            raise CommandError(f"Unknown database {settings.database!r}; known: {', '.join(connections)}.")
        return settings

    def _queues(self, settings: Config, options: dict[str, Any]) -> Queues:
        """Found before anything is started, so that one process complains and not each of many."""
        try:
            queues = chosen_queues(
                settings,
                only=options["queues"],
                exclude=options["exclude"],
                added=lambda: _added_queues(settings.database),
            )
        except ConfigError as error:
            raise CommandError(str(error)) from error
        except DatabaseProblem as error:
            raise CommandError(f"Database {settings.database!r} cannot be used: {error}") from error
        named = set(options["queues"]) - set(options["exclude"])
        may_find_more = named or (
            not options["queues"] and (settings.queue_layers.patterns or settings.dynamic_queues)
        )
        if not queues and not may_find_more:
            known = ", ".join(sorted(settings.queue_names)) or "none"
            raise CommandError(f"No queue is left to work; the settings name {known}.")
        return queues

    def _client(
        self, settings: Config, queues: Queues, options: dict[str, Any], signals: StopSignals
    ) -> Client:
        self._crash: BaseException | None = None

        def crashed(error: BaseException) -> None:
            self._crash = error
            signals.send()

        try:
            return Client(
                settings,
                queues=queues,
                choice=Choice(options["queues"], options["exclude"]),
                can_lead=not options["no_lead"],
                client_id=options["client_id"],
                on_crash=crashed,
            )
        except ConfigError as error:
            raise CommandError(str(error)) from error

    def _run(self, client: Client, options: dict[str, Any], signals: StopSignals) -> int:
        self._start(client)
        try:
            names = ", ".join(sorted(client.producers))
            self._say(f"{client.id} works {names} with {client.presence.info.slots} slots.", options)
            self._wait(client, options, signals)
            if signals.received:
                running = len(client.engine.attempts.started())
                self._say(f"Stopping: {running} jobs are running. Signal again to ask them to stop.", options)
        finally:
            report = client.stop(is_hurried=signals.is_hurried)
        self._say(_summary(report), options)
        if self._crash is not None or report.unstored:
            return EXIT_ERROR
        return EXIT_INTERRUPTED if report.interrupted else EXIT_CLEAN

    def _say(self, text: str, options: dict[str, Any]) -> None:
        if options["verbosity"]:
            self.stdout.write(text)
            self.stdout.flush()

    def _start(self, client: Client) -> None:
        try:
            client.start()
        except RegistryMismatch as error:
            raise CommandError(str(error), returncode=EXIT_MISMATCH) from error
        except DatabaseProblem as error:
            if _lacks_tables(client.using):
                text = f"Database {client.using!r} has no job tables: run manage.py migrate first."
            else:
                text = f"Database {client.using!r} cannot be used: {error}"
            raise CommandError(text) from error
        finally:
            # This thread only waits from here on; a connection of its own would be held for nothing.
            connections.close_all()

    def _wait(self, client: Client, options: dict[str, Any], signals: StopSignals) -> None:
        parent = options["child_of"]
        pause = LOOK_SECONDS if parent else LONE_LOOK_SECONDS
        while not signals.wait(BURST_LOOK_SECONDS if options["burst"] else pause):
            if parent and os.getppid() != parent:
                self.stderr.write("The supervisor is gone: stopping.")
                return
            if options["burst"] and self._is_done(client):
                return

    def _is_done(self, client: Client) -> bool:
        if not client.is_idle:
            return False
        try:
            has_due = client.has_due_jobs()
        except DatabaseProblem as error:
            if not self._is_blind:
                self.stderr.write(f"Cannot see whether work is left: {error}")
            self._is_blind = True
            connections.close_all()
            return False
        self._is_blind = False
        return not has_due and client.is_idle

    def _run_reloaded(self, settings: Config, queues: Queues, options: dict[str, Any]) -> None:
        """In the reloader's thread: a change of code ends the process, so the client is stopped at exit."""
        signals = StopSignals()
        client = self._client(settings, queues, options, signals)
        atexit.register(lambda: client.stop(timeout=0))
        self._start(client)
        names = ", ".join(sorted(client.producers))
        self._say(f"{client.id} works {names}; restarting when code changes.", options)
        while not signals.wait(3600):
            pass


def _added_queues(using: str) -> list[str]:
    """Asked only for names that the settings do not know."""
    try:
        return [row.name for row in storage.for_caller(using).queue_row_list()]
    finally:
        if not connections[using].in_atomic_block:
            # A supervisor keeps no connection.
            connections[using].close()


def _lacks_tables(using: str) -> bool:
    try:
        return ClientRow._meta.db_table not in connections[using].introspection.table_names()
    except DatabaseProblem:
        return False


def _this_command() -> list[str]:
    # As it was given to Python, with the options of Python itself.
    return [sys.executable, *sys.orig_argv[1:]]


def _summary(report: StopReport) -> str:
    parts = ["Stopped."]
    if report.interrupted:
        parts.append(f"{report.interrupted} jobs would not stop; their attempts were given back.")
    if report.unstored:
        parts.append(f"{report.unstored} results could not be stored; their jobs will be rescued.")
    return " ".join(parts)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS_LIMIT:
        raise ArgumentTypeError(f"must be a whole number from 1 to {MAX_WORKERS_LIMIT}, not {text!r}")
    return int(text)


def _processes(text: str) -> int | ProcessBounds:
    bounds = ProcessBounds.read(text)
    if bounds is not None:
        return bounds
    try:
        return _positive(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; or auto, or bounds such as auto:2-8") from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"must be seconds from 0, not {text!r}")
    return value
