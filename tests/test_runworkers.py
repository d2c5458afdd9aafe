"""``manage.py runworkers``: its flags, what it says, and its exit codes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError, connection, connections
from django.utils import timezone

from django_river import client as client_module
from django_river import queues
from django_river.client import Client
from django_river.management.commands import runworkers as module
from django_river.management.commands.runworkers import EXIT_CLEAN, EXIT_ERROR, EXIT_INTERRUPTED, Command
from django_river.models import Client as ClientRow
from django_river.models import Job
from django_river.stop_signals import StopSignals
from django_river.storage import open_storage
from django_river.work.completer import Completer
from django_river.work.engine import Engine
from django_river.work.fetcher import Fetcher
from tests.e2e.processes import Workers
from tests.factories import JobFactory
from tests.shop import jobs
from tests.waiting import wait_until
from tests.work.building import times


class Ended:
    """How a run of the command in this process ended."""

    def __init__(self, *flags, **options):
        self.out, self.err = StringIO(), StringIO()
        try:
            call_command("runworkers", *flags, stdout=self.out, stderr=self.err, **options)
            self.code = None
        except SystemExit as end:
            self.code = end.code
        except CommandError as error:
            self.code = str(error)

    @property
    def lines(self):
        return self.out.getvalue().splitlines()


@contextmanager
def signalled(*, when, then=lambda: None):
    """Send this process a SIGTERM when something is so."""

    def send():
        try:
            wait_until(when)
            then()
        finally:
            connection.close()
            os.kill(os.getpid(), signal.SIGTERM)

    # A command that has ended early has put this handler back: the tests go on.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("river-")]


@pytest.fixture
def flag(tmp_path):
    flag = tmp_path / "running"
    yield flag
    flag.unlink(missing_ok=True)


def is_announced():
    return ClientRow.objects.exists()


class TestFlags:
    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            (["--processes", "0"], "argument --processes: must be a whole number from 1 to 10000, not '0'; or auto"),
            (["--processes", "auto:3-2"], "from 1 to 10000, not 'auto:3-2'; or auto, or bounds such as"),
            (["--processes", "auto", "--burst"], "--burst goes with a number of --processes, and not with auto."),
            (["--processes", "auto", "--reload"], "--reload goes with neither --processes nor --burst."),
            (["--concurrency", "many"], "must be a whole number from 1 to 10000, not 'many'"),
            (["--concurrency", "10001"], "argument --concurrency: must be a whole number from 1 to 10000"),
            (["--stop-timeout", "soon"], "argument --stop-timeout: must be seconds from 0, not 'soon'"),
            (["--stop-timeout=-1"], "argument --stop-timeout: must be seconds from 0, not '-1'"),
            (["--stop-timeout", "inf"], "argument --stop-timeout: must be seconds from 0, not 'inf'"),
            (["--stop-timeout", "nan"], "argument --stop-timeout: must be seconds from 0, not 'nan'"),
            (["--queues", "nowhere"], "unknown queue 'nowhere'; the settings name default, other"),
            (["--exclude", "nowhere"], "unknown queue 'nowhere'; the settings name default, other"),
            (["--exclude", "default,other"], "No queue is left to work; the settings name default, other."),
            (["--database", "nowhere"], "Unknown database 'nowhere'; known: default."),
            (["--reload", "--processes", "2"], "--reload goes with neither --processes nor --burst."),
            (["--reload", "--burst"], "--reload goes with neither --processes nor --burst."),
            (["--colour"], "unrecognized arguments: --colour"),
        ],
    )  # fmt: skip
    def test_that_are_wrong_are_refused(self, db, flags, said):
        assert said in Ended(*flags).code

    def test_settings_that_are_wrong_are_refused(self, settings):
        settings.DJANGO_RIVER = {"QEUES": {}}

        assert "Did you mean 'QUEUES'?" in Ended().code

    def test_say_what_is_worked_and_by_how_many(self, using):
        ended = Ended("--burst", "--queues", "default, other", "--exclude", "other", "--concurrency", "3")

        assert ended.lines[0].endswith(" works default with 3 slots.")

    def test_name_the_client_and_the_database(self, using):
        ended = Ended("--burst", "--client-id", "web-1", "--database", "default")

        assert ended.lines[0].startswith(f"web-1_{os.getpid()}_")

    def test_in_silence(self, using):
        ended = Ended("--burst", verbosity=0)

        assert (ended.code, ended.lines) == (EXIT_CLEAN, [])

    def test_a_database_of_the_settings_that_is_not_there_is_named(self, settings):
        settings.DJANGO_RIVER = {"DATABASE": "nowhere"}

        assert Ended().code == "Unknown database 'nowhere'; known: default."

    @pytest.mark.parametrize("flags", [["--queues", "nowhere"], ["--exclude", "default,other"]])
    def test_wrong_queues_are_refused_once_and_not_by_each_process(self, db, flags, monkeypatch):
        monkeypatch.setattr(module, "Supervisor", None)

        assert isinstance(Ended("--processes", "8", *flags).code, str)

    @pytest.mark.parametrize("flags", [["--queues", "nowhere"], ["--exclude", "default,other"]])
    def test_wrong_queues_are_refused_before_the_reloader_runs(self, db, flags, monkeypatch):
        monkeypatch.setattr(module, "autoreload", None)

        assert isinstance(Ended("--reload", *flags).code, str)

    @pytest.mark.parametrize(("flags", "state"), [([], "completed"), (["--no-lead"], "scheduled")])
    def test_no_lead_leaves_alone_what_is_the_leaders_work(self, using, flags, state):
        past = timezone.now() - timedelta(minutes=1)
        job = JobFactory(scheduled=True, scheduled_at=past, kind=jobs.nothing.kind)

        assert Ended("--burst", *flags).code == EXIT_CLEAN
        assert Job.objects.get(pk=job.pk).state == state

    def test_no_lead_is_seen_by_others(self, using):
        seen = []
        with signalled(when=is_announced, then=lambda: seen.extend(ClientRow.objects.all())):
            Ended("--no-lead", "--client-id", "web 1/ü", "--queues", "other", "--concurrency", "7")

        (client,) = seen
        assert (client.can_lead, client.queues, client.slots) == (False, ["other"], 7)
        assert client.id.startswith(f"web_1_ü_{os.getpid()}_")

    @pytest.mark.parametrize(("flags", "timeout"), [([], 30.0), (["--stop-timeout", "0.5"], 0.5)])
    def test_stop_timeout_is_how_long_jobs_may_go_on(self, flags, timeout, monkeypatch):
        clients = []
        monkeypatch.setattr(module.Command, "_run", lambda self, client, *args: clients.append(client))
        Ended(*flags)

        assert [client.config.stop_timeout for client in clients] == [timeout]


class TestBurst:
    def test_ends_when_nothing_is_due(self, using):
        due = [jobs.record.enqueue(number) for number in range(20)]
        later = jobs.record.using(run_after=timedelta(hours=1)).enqueue(1)
        queues.pause("other")
        jobs.record_async.enqueue(1)
        ended = Ended("--burst")

        assert ended.code == EXIT_CLEAN
        assert ended.lines[-1] == "Stopped."
        assert Job.objects.filter(state="completed").count() == len(due)
        assert Job.objects.get(pk=later.pk).state == "scheduled"

    @pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("closed")])
    def test_goes_on_though_the_database_does_not_answer_once(self, using, monkeypatch, error):
        has_due, fail = Client.has_due_jobs, times(1, error)
        monkeypatch.setattr(Client, "has_due_jobs", lambda client: fail() or has_due(client))
        jobs.nothing.enqueue()
        ended = Ended("--burst")

        assert ended.code == EXIT_CLEAN
        assert ended.err.getvalue() == f"Cannot see whether work is left: {error}\n"
        assert Job.objects.get().state == "completed"

    def test_does_not_end_between_a_claim_and_its_jobs(self, using, monkeypatch):
        looks = []

        def claim_and_wait(storage, *args):
            claimed = job_fetch(storage, *args)
            if claimed:
                # The rows say that they run, and nothing here knows of them yet.
                wait_until(lambda: len(looks) > 2)
            return claimed

        def is_idle(client):
            looks.append(1)
            return client_is_idle(client)

        driver = type(open_storage(using, timeout=1))
        job_fetch, client_is_idle = driver.job_fetch, Client.is_idle.fget
        monkeypatch.setattr(driver, "job_fetch", claim_and_wait)
        monkeypatch.setattr(Client, "is_idle", property(is_idle))
        jobs.nothing.enqueue()

        assert Ended("--burst").code == EXIT_CLEAN
        assert Job.objects.get().state == "completed"

    def test_complains_once_however_long_the_database_is_away(self, using, monkeypatch):
        has_due, fail = Client.has_due_jobs, times(5, OperationalError("away"))
        monkeypatch.setattr(Client, "has_due_jobs", lambda client: fail() or has_due(client))
        ended = Ended("--burst")

        assert ended.code == EXIT_CLEAN
        assert ended.err.getvalue() == "Cannot see whether work is left: away\n"


class TestExit:
    def test_after_a_signal_is_clean(self, using):
        with signalled(when=is_announced):
            ended = Ended()

        assert ended.code == EXIT_CLEAN
        assert ended.lines[1:] == [
            "Stopping: 0 jobs are running. Signal again to ask them to stop.",
            "Stopped.",
        ]
        assert not is_announced()

    def test_says_that_jobs_were_cut_off(self, using, flag, settings):
        settings.DJANGO_RIVER = {**settings.DJANGO_RIVER, "CANCEL_TIMEOUT": 0.05}
        job = jobs.deaf_until_told.enqueue(str(flag))
        with signalled(when=flag.exists):
            ended = Ended("--stop-timeout", "0")
        flag.unlink()
        wait_until(lambda: not any(thread.name.startswith("river-") for thread in threading.enumerate()))

        assert ended.code == EXIT_INTERRUPTED
        assert ended.lines[-1] == "Stopped. 1 jobs would not stop; their attempts were given back."
        assert Job.objects.get(pk=job.pk).attempt == 0

    def test_says_that_results_were_lost(self, using, monkeypatch):
        monkeypatch.setattr(client_module, "FLUSH_TIMEOUT", 0.05)
        monkeypatch.setattr(Completer, "_store", times(10**6, OperationalError("away")))
        monkeypatch.setattr(Engine, "_wait_for_jobs", lambda engine, deadline, is_hurried=None: None)
        jobs.nothing.enqueue()
        with signalled(when=lambda: Job.objects.filter(state="running").exists()):
            ended = Ended("--stop-timeout", "0")

        assert ended.code == EXIT_ERROR
        assert ended.lines[-1].endswith("1 results could not be stored; their jobs will be rescued.")

    def test_of_a_part_that_crashed_is_an_error(self, using, monkeypatch):
        monkeypatch.setattr(Fetcher, "step", times(1, SystemExit()))

        assert Ended().code == EXIT_ERROR

    def test_of_a_command_that_fails_leaves_nothing_running(self, using, monkeypatch):
        monkeypatch.setattr(Client, "has_due_jobs", times(1, ZeroDivisionError("on purpose")))
        with pytest.raises(ZeroDivisionError):
            Ended("--burst")

        assert not is_announced()

    def test_follows_the_supervisor_that_is_gone(self, using):
        ended = Ended("--child-of", "999999999")

        assert ended.code == EXIT_CLEAN
        assert ended.err.getvalue() == "The supervisor is gone: stopping.\n"

    @pytest.mark.parametrize(
        ("ends", "code"),
        [(0, EXIT_INTERRUPTED), (1, 1), (3, 3), ("text", EXIT_ERROR)],
    )
    def test_of_the_process_waits_only_so_long_for_threads(self, monkeypatch, ends, code):
        cut_off = []
        monkeypatch.setattr(module, "cut_off_after", lambda seconds, *, code: cut_off.append(code))
        monkeypatch.setattr(Command, "handle", lambda self, *args, **options: sys.exit(ends))
        with pytest.raises(SystemExit) as end:
            Command().run_from_argv(["manage.py", "runworkers", "--skip-checks"])

        assert end.value.code == ends
        assert cut_off == [code]

    def test_puts_the_handlers_of_before_back(self, using):
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        Ended("--burst")

        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before

    def test_puts_the_handlers_of_before_back_after_an_error(self, monkeypatch):
        monkeypatch.setattr(Client, "start", times(1, ZeroDivisionError()))
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        with pytest.raises(ZeroDivisionError):
            Ended()

        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before

    def test_though_nobody_reads_what_it_says(self, using, monkeypatch):
        class Closed(StringIO):
            def write(self, text):
                raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            call_command("runworkers", "--burst", stdout=Closed())

        assert not is_announced()


class TestDatabase:
    def test_without_tables_asks_for_migrate(self, using):
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_river_client RENAME TO away")
        ended = Ended()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO django_river_client")

        assert ended.code == "Database 'default' has no job tables: run manage.py migrate first."

    @pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("closed")])
    def test_that_cannot_be_used_is_named(self, using, monkeypatch, error):
        monkeypatch.setattr(Client, "start", times(1, error))

        assert Ended().code == f"Database 'default' cannot be used: {error}"

    def test_that_cannot_be_looked_at_is_named(self, using, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(Client, "start", times(1, OperationalError("away")))
            patch.setattr(type(connection.introspection), "table_names", times(1, OperationalError("away")))

            assert Ended().code == "Database 'default' cannot be used: away"

    def test_is_not_held_by_the_thread_that_waits(self, using):
        with signalled(when=is_announced):
            Ended()

        assert connection.connection is None

    def test_that_cannot_hold_jobs_is_refused(self, monkeypatch):
        monkeypatch.setattr(connections["default"], "vendor", "oracle")

        assert Ended().code == "database 'default' is oracle; jobs can be kept on postgresql and sqlite only"

    def test_that_is_out_of_reach_is_named(self, using, monkeypatch, tmp_path):
        where = {"NAME": str(tmp_path / "none" / "db")} if connection.vendor == "sqlite" else {"PORT": "1"}
        connections.close_all()
        with monkeypatch.context() as patch:
            for key, value in where.items():
                patch.setitem(connection.settings_dict, key, value)
            ended = Ended()

        assert ended.code.startswith("Database 'default' cannot be used: ")


class TestProcesses:
    def test_are_this_command_again(self, monkeypatch):
        monkeypatch.setattr(
            sys, "orig_argv", ["python", "-X", "dev", "manage.py", "runworkers", "--processes", "2"]
        )

        assert module._this_command() == [sys.executable, *sys.orig_argv[1:]]

    def test_are_supervised(self, using, monkeypatch):
        monkeypatch.setattr(
            module, "_this_command", lambda: [sys.executable, "-c", "import sys; print(sys.argv)"]
        )

        assert Ended("--burst", "--processes", "2").code == EXIT_CLEAN

    def test_that_are_children_are_not(self, using):
        ended = Ended("--burst", "--processes", "2", "--child-of", str(os.getppid()))

        assert (ended.code, ended.lines[-1]) == (EXIT_CLEAN, "Stopped.")

    @pytest.mark.slow
    def test_end_though_a_job_runs_on_in_a_thread_of_a_library(self, process_environ, flag):
        job = jobs.deaf_until_told_in_a_thread.enqueue(str(flag))
        settings = {"STOP_TIMEOUT": 0.1, "CANCEL_TIMEOUT": 0.1}
        with Workers(environ=process_environ, settings=settings) as workers:
            wait_until(flag.exists, 30)

            assert workers.stop() == EXIT_INTERRUPTED
            assert "threads that jobs have left running are cut off" in workers.output
        assert Job.objects.get(pk=job.pk).state == "available"


class TestReload:
    @pytest.fixture
    def reloaded(self, using, monkeypatch):
        """Runs the command as the reloader does, in a thread; answers with what it printed."""
        at_exit, signals = [], StopSignals()
        monkeypatch.setattr(module.atexit, "register", at_exit.append)
        monkeypatch.setattr(module, "StopSignals", lambda **options: signals)
        monkeypatch.setattr(module.autoreload, "run_with_reloader", lambda function, *args: function(*args))

        def run(*flags, until):
            def command():
                call_command("runworkers", "--reload", *flags, stdout=out)
                connection.close()

            out = StringIO()
            thread = threading.Thread(target=command)
            thread.start()
            wait_until(until)
            signals.send()
            thread.join(10)
            for stop in at_exit:
                stop()
            return out.getvalue()

        return run

    def test_in_silence(self, reloaded):
        assert reloaded("--verbosity", "0", until=is_announced) == ""

    def test_says_what_it_works(self, reloaded):
        said = reloaded("--queues", "other", until=is_announced)

        assert said.endswith(" works other; restarting when code changes.\n")


def test_its_help_names_every_flag_a_user_may_give():
    text = Command().create_parser("manage.py", "runworkers").format_help()

    for flag in ("--queues", "--exclude", "--concurrency", "--processes", "--burst", "--reload", "--no-lead"):
        assert flag in text
    assert "--child-of" not in text


def test_a_second_signal_asks_jobs_to_stop(using, flag, monkeypatch):
    def stop(client, **given):
        stopping.set()
        return client_stop(client, **given)

    stopping, client_stop = threading.Event(), Client.stop
    monkeypatch.setattr(Client, "stop", stop)
    job = jobs.until_told.enqueue(str(flag))

    def signal_first():
        os.kill(os.getpid(), signal.SIGTERM)
        stopping.wait(10)

    with signalled(when=flag.exists, then=signal_first):
        ended = Ended()

    assert ended.code == EXIT_CLEAN
    assert Job.objects.get(pk=job.pk).state == "available"
