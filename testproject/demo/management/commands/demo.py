"""``manage.py demo``: fill the reading-room, have it worked, sum up, serve."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo import loading
from demo.catalogue import Catalogue
from demo.figures import Run, next_due
from demo.mailbox import Mailbox
from demo.processes import LOCALHOST, free_port, interrupt_once, workers
from demo.report import print_summary
from digests.jobs import send_digest
from digests.live import make_live_digest
from django_river import operations
from django_river.models import Job
from library.jobs import find_related

FIRST_PORT = 8000
LOOK_SECONDS = 0.2
LONGEST = timedelta(minutes=15)
EXIT_CTRL_C = 130


class Command(BaseCommand):
    """The Gazette at work, from an empty database to a served site. May be run again at any time."""

    help = "Fill the reading-room with the documents of the installed packages, work their jobs, and serve the site."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-serve", action="store_true", help="End after the summary; exit code 0 if all is well."
        )
        parser.add_argument("--limit", type=int, help="Load at most so many of the installed documents.")
        parser.add_argument("--processes", type=int, help="Worker processes; by default 1 on SQLite, else 2.")
        parser.add_argument(
            "--port", type=int, default=FIRST_PORT, help="Serve here, or on the next free port."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = Console()
        self.log = Path(settings.HOME) / "workers.log"
        self.processes = options["processes"] or (1 if connection.vendor == "sqlite" else 2)
        interrupt_once()
        try:
            with Mailbox() as mailbox, Catalogue() as catalogue:
                self.environ = mailbox.environ | catalogue.environ
                self._prepare()
                run = Run.begin()
                self._load(options["limit"])
                self._work_all(run)
                print_summary(self.console, run, mailbox.received, catalogue)
                problems = list(run.problems(received=len(mailbox.received), announced=len(catalogue.titles)))
                if problems:
                    raise CommandError("Not as it should be:\n  " + "\n  ".join(problems))
                if not options["no_serve"]:
                    self._serve(options["port"])
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted; the workers have been stopped.", returncode=EXIT_CTRL_C
            ) from None

    def _prepare(self) -> None:
        place = connection.settings_dict["NAME"]
        self._say(f"Database: {connection.vendor}, {place}")
        try:
            call_command("migrate", verbosity=0)
        except OperationalError as error:
            raise CommandError(f"The database cannot be used: {error}") from error
        # Left open by a demo that was killed; it is for a site that is served.
        operations.cancel(Job.objects.open().of_kind(make_live_digest.kind))
        loading.superuser()
        loading.add_readers()
        self._say(f"Superuser: [bold]{loading.NAME}[/], password [bold]{loading.PASSWORD}[/]")

    def _load(self, limit: int | None) -> None:
        with self.console.status("Looking for documents in the installed packages …"):
            loaded = loading.load_installed(limit)
        self._say(f"Documents: {loaded.added} new, {loaded.asked_again} to be read again")
        if loaded.undecodable is None:
            self._say(
                "None of them is undecodable, so the demo uploads one that it made itself, letter.txt in Latin-1."
            )
            loading.upload("letter.txt", loading.LATIN_1_LETTER, user=loading.superuser())
        loading.upload("letter-to-the-editor.md", loading.VISITORS_LETTER, user=None)
        self._say("A visitor has uploaded letter-to-the-editor.md, which waits for approval.")
        digest = send_digest.enqueue(timezone.localdate())
        if digest.skipped_as_duplicate:
            self._say(f"Today's digest exists (job {digest.pk}): it is made once more by hand.")
            operations.retry(digest)

    def _work_all(self, run: Run) -> None:
        began = timezone.now()
        with _progress_bar(self.console) as progress:
            bar = progress.add_task("Reading")
            self._work(run, began, lambda: _show(progress, bar, run))
            progress.update(bar, description="Relating")
            find_related.enqueue()
            self._work(run, began, lambda: _show(progress, bar, run))

    def _work(self, run: Run, began: datetime, show: Any) -> None:
        """Bursts of workers until nothing is due any more, soon included: a snooze, a first retry."""
        while (due := next_due()) is not None:
            while timezone.now() < due:
                show()
                time.sleep(LOOK_SECONDS)
            if timezone.now() > began + LONGEST:
                raise CommandError(f"Not done after {LONGEST}; the workers' words are in {self.log}.")
            self._burst(show)
        show()

    def _burst(self, show: Any) -> None:
        options = ("--burst", "--processes", str(self.processes))
        environ = self.environ | {"LIVE_DIGEST": "0"}
        with workers(*options, environ=environ, log=self.log) as process:
            while (code := _exit_code(process)) is None:
                show()
        if code:
            tail = self.log.read_text(errors="replace").splitlines()[-20:]
            raise CommandError(
                f"runworkers ended with {code}. Its last words in {self.log}:\n" + "\n".join(tail)
            )

    def _serve(self, port: int) -> None:
        port = free_port(port)
        address = f"http://{LOCALHOST}:{port}/"
        self.console.print(
            f"\nThe site: [bold]{address}[/]   the admin: [bold]{address}admin/[/]   Ctrl-C ends it.",
            highlight=False,
        )
        with workers("--processes", str(self.processes), environ=self.environ, log=self.log):
            try:
                call_command("runserver", f"{LOCALHOST}:{port}", use_reloader=False, skip_checks=True)
            except SystemExit:  # how runserver answers Ctrl-C
                self._say("Stopping the workers.")

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False)


def _progress_bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("jobs"))
    return Progress(*columns, TimeElapsedColumn(), console=console)


def _show(progress: Progress, bar: Any, run: Run) -> None:
    done, known = run.progress()
    progress.update(bar, completed=done, total=known)


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return None
