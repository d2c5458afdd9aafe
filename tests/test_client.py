"""A running client: announced, worked, steered from outside, stopped in phases, gone without a trace."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import Error, OperationalError, connection

from django_river import __version__, operations, queues
from django_river import client as module
from django_river.client import Client, StopReport, unique_client_id
from django_river.conf import QueueConfig, config
from django_river.exceptions import ConfigError
from django_river.hints import hints
from django_river.maintenance.job_cleaner import JobCleaner
from django_river.models import Client as ClientRow
from django_river.models import Job, Leader
from django_river.queue_choice import chosen_queues
from django_river.service import Service
from django_river.signals import client_started, client_stopped
from django_river.work import queue_duties
from tests.factories import JobFactory, LeaderFactory
from tests.shop import jobs
from tests.shop.models import Run
from tests.waiting import wait_until
from tests.work.building import Unreliable, believe_in_speed, registry_of, times

NOTHING = StopReport(interrupted=0, unstored=0)


@pytest.fixture
def build(using, monkeypatch):
    """Builds clients that poll often what they are not told, and stops them."""
    monkeypatch.setattr(queue_duties, "RECONCILE_POLLING", 0.05)
    built = []

    def build(
        *, can_lead=False, on_crash=lambda error: None, registry=None, name=None, queues=None, **changes
    ):
        settings = dataclasses.replace(config(), **{"stop_timeout": 10.0, **changes})
        extra = {} if registry is None else {"registry": registry}
        client = Client(
            settings, can_lead=can_lead, on_crash=on_crash, client_id=name, queues=queues, **extra
        )
        built.append(client)
        return client

    yield build
    for client in built:
        client.stop(timeout=0)
    wait_until(lambda: not threads(), message="threads are left")


@pytest.fixture
def run(build):
    """Builds clients and starts them."""

    def run(**given):
        client = build(**given)
        client.start()
        return client

    return run


@pytest.fixture
def flag(tmp_path):
    """Is there while a job runs; without it the job ends."""
    flag = tmp_path / "running"
    yield flag
    flag.unlink(missing_ok=True)


@pytest.fixture
def heard():
    """The client's signals, as (what, client's id)."""
    heard = []

    def started(client_id, **_):
        heard.append(("started", client_id))

    def stopped(client_id, **_):
        heard.append(("stopped", client_id))

    client_started.connect(started)
    client_stopped.connect(stopped)
    yield heard
    client_started.disconnect(started)
    client_stopped.disconnect(stopped)


def threads():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("river-")}


def backends():
    """Connections to this database other than the test's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return sorted(name for (name,) in cursor.fetchall())


def row(job):
    return Job.objects.get(pk=job.pk)


def state(job):
    return row(job).state


@contextmanager
def without_table(name):
    quoted = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {quoted(name)} RENAME TO {quoted('away')}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {quoted('away')} RENAME TO {quoted(name)}")


class TestStart:
    def test_announces_the_client(self, run, heard):
        client = run(name="here")
        announced = ClientRow.objects.get()

        assert announced.id == client.id
        assert client.id.startswith("here_")
        assert (announced.queues, announced.slots, announced.can_lead) == (["default", "other"], 12, False)
        assert announced.version == __version__ or announced.version == "unknown"
        assert heard == [("started", client.id)]

    def test_runs_its_parts_in_named_threads(self, run):
        run(can_lead=True)
        parts = {
            "river-completer",
            "river-fetcher",
            "river-keeper",
            "river-job-scheduler",
            "river-job-rescuer",
            "river-job-inspector",
            "river-job-cleaner",
            "river-queue-cleaner",
            "river-client-cleaner",
            "river-queue-remover",
            "river-queue-resumer",
            "river-steward",
        }
        if connection.vendor == "postgresql":
            parts.add("river-notifier")

        wait_until(lambda: threads() == parts)

    def test_twice_is_once(self, run, heard):
        client = run()
        client.start()

        assert len(heard) == 1
        assert hints._wakers["default"].count(client.engine.lookout.hint) == 1

    @pytest.mark.parametrize("table", ["django_river_client", "river_queue"])
    def test_without_tables_starts_nothing(self, build, heard, table):
        client = build()
        with without_table(table), pytest.raises(Error, match=table):
            client.start()

        assert not threads()
        assert not heard
        if connection.vendor == "postgresql":
            wait_until(lambda: not backends())

    def test_without_a_database_starts_nothing_and_may_be_tried_again(self, build, monkeypatch):
        client = build()
        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict, "PORT", "1")
            patch.setitem(connection.settings_dict, "NAME", "/not/there")
            with pytest.raises(OperationalError):
                client.start()
        assert not threads()

        client.start()
        assert ClientRow.objects.exists()

    def test_of_a_part_that_fails_stops_the_others(self, build, monkeypatch):
        def refuse():
            raise RuntimeError("can't start new thread")

        client = build()
        monkeypatch.setattr(client.engine.fetcher, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            client.start()

        assert not threads()
        assert not ClientRow.objects.exists()
        assert client.engine.lookout.hint not in hints._wakers["default"]

    def test_after_a_stop_is_refused(self, run):
        client = run()
        client.stop()

        with pytest.raises(RuntimeError, match="a client runs once"):
            client.start()

    def test_needs_a_queue(self, build):
        with pytest.raises(ConfigError, match="a client needs at least one queue to work"):
            build(queues={})


class TestWork:
    def test_of_every_sort(self, run):
        sync, asynchronous, failing = (
            jobs.record.enqueue(1),
            jobs.record_async.enqueue(2),
            jobs.fail.enqueue(1),
        )
        run()
        wait_until(lambda: not Job.objects.open().exists())

        assert [state(job) for job in (sync, asynchronous, failing)] == ["completed"] * 3
        assert row(sync).metadata["output"] == {"number": 1}
        assert row(failing).attempt == 2

    def test_begins_at_once_for_what_is_enqueued_in_this_process(self, run):
        client = run(poll_interval=3600.0, notify=False)
        wait_until(lambda: not client.producers["default"].may_have_work)
        job = jobs.record.enqueue(1)

        wait_until(lambda: state(job) == "completed")

    @pytest.mark.parametrize(
        "make", [lambda: jobs.snooze.enqueue(2, 0.05), lambda: jobs.fail_soon.enqueue(2)]
    )
    def test_begins_in_time_for_what_was_put_off_for_a_moment(self, run, make):
        run(poll_interval=3600.0, notify=False)
        job = make()

        wait_until(lambda: state(job) == "completed")
        assert Run.objects.filter(job_id=job.pk).count() == 3

    @pytest.mark.postgres
    def test_begins_at_once_for_what_another_process_tells_of(self, run):
        client = run(poll_interval=3600.0)
        wait_until(lambda: client.notifier.is_listening and not client.producers["default"].may_have_work)
        job = JobFactory(available=True, kind="shop.nothing", args={})
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_notify(current_schema() || '.river_insert', '{\"queue\": \"default\"}')"
            )

        wait_until(lambda: state(job) == "completed")

    def test_is_of_the_chosen_queues_only(self, run):
        chosen, other = jobs.record.enqueue(1), jobs.record_async.enqueue(2)
        run(queues={"default": QueueConfig(max_workers=1)})
        wait_until(lambda: state(chosen) == "completed")

        assert state(other) == "available"

    def test_leaves_a_client_idle_in_the_end(self, build):
        client = build()
        jobs.record.enqueue(1)
        assert client.has_due_jobs()
        client.start()
        wait_until(lambda: not Job.objects.open().exists())

        wait_until(lambda: client.is_idle)
        assert not client.has_due_jobs()

    def test_that_gets_stuck_makes_room(self, run):
        go_on = threading.Event()
        registry = registry_of(stuck=(lambda: go_on.wait(20), {"timeout": 0.01}), quick=lambda: None)
        stuck = JobFactory(available=True, kind="stuck", args={})
        quick = JobFactory(available=True, kind="quick", args={})
        run(
            registry=registry, concurrency=1, queues={"default": QueueConfig(max_workers=1)}, stuck_after=0.01
        )

        wait_until(lambda: state(quick) == "completed")
        assert "did not stop within 0.01 s" in row(stuck).errors[0]["error"]
        go_on.set()

    def test_makes_scheduled_jobs_available_as_leader(self, run):
        job = jobs.record.using(run_after=jobs.timedelta(seconds=0.2)).enqueue(1)
        run(can_lead=True)

        wait_until(lambda: state(job) == "completed")


class TestStop:
    def test_before_the_start(self, build, heard):
        assert build().stop() == NOTHING
        assert not heard

    def test_before_the_start_does_not_keep_it_from_starting(self, build):
        client = build()
        client.stop()
        client.start()

        assert threads()

    def test_twice_says_the_same(self, run, heard):
        client = run()
        first = client.stop()

        assert client.stop() is first
        assert heard == [("started", client.id), ("stopped", client.id)]

    def test_by_many_threads_at_once(self, run, heard):
        client = run()
        with ThreadPoolExecutor(5) as pool:
            reports = list(pool.map(lambda _: client.stop(), range(5)))

        assert reports == [NOTHING] * 5
        assert len(heard) == 2

    def test_leaves_no_row_no_thread_and_no_connection(self, run):
        client = run(can_lead=True)
        jobs.record.enqueue(1)
        jobs.record_async.enqueue(1)
        wait_until(lambda: not Job.objects.open().exists())
        wait_until(Leader.objects.exists)
        client.stop()

        assert not ClientRow.objects.exists()
        assert not Leader.objects.exists()
        assert not threads()
        assert client.engine.lookout.hint not in hints._wakers["default"]
        if connection.vendor == "postgresql":
            wait_until(lambda: not backends())

    @pytest.mark.parametrize("make", [jobs.deaf_until_told, jobs.until_told_async], ids=["sync", "async"])
    def test_lets_running_jobs_finish(self, run, flag, make):
        job = make.enqueue(str(flag))
        client = run()
        wait_until(flag.exists)
        with ThreadPoolExecutor() as pool:
            stopping = pool.submit(client.stop, timeout=20)
            wait_until(lambda: client.engine.fetcher.is_stopping)
            flag.unlink()

            assert stopping.result(20) == NOTHING
        assert (state(job), row(job).attempt) == ("completed", 1)

    @pytest.mark.parametrize("make", [jobs.until_told, jobs.until_told_async], ids=["sync", "async"])
    def test_asks_them_to_stop_when_time_is_up_and_their_attempt_does_not_count(self, run, flag, make):
        job = make.enqueue(str(flag))
        client = run()
        wait_until(flag.exists)

        assert client.stop(timeout=0) == NOTHING
        assert (state(job), row(job).attempt, row(job).errors) == ("available", 0, None)

    def test_gives_back_what_will_not_stop(self, run, flag, caplog):
        job = jobs.deaf_until_told.enqueue(str(flag))
        client = run(cancel_timeout=0.05)
        wait_until(flag.exists)

        assert client.stop(timeout=0) == StopReport(interrupted=1, unstored=0)
        assert (state(job), row(job).attempt, row(job).errors) == ("available", 0, None)
        assert f"job {job.pk} (shop.deaf_until_told) did not stop; its attempt is given back" in caplog.text

    def test_hands_back_what_has_not_begun(self, run, flag):
        running = jobs.deaf_until_told.enqueue(str(flag))
        client = run(queues={"default": QueueConfig(max_workers=1)}, notify=False)
        wait_until(flag.exists)
        producer = client.producers["default"]
        # As if jobs were fast: some are claimed ahead.
        believe_in_speed(client.engine.fetcher)
        waiting = [jobs.nothing.enqueue(number) for number in range(5)]
        wait_until(lambda: producer.load == 6)
        with ThreadPoolExecutor() as pool:
            stopping = pool.submit(client.stop)
            wait_until(lambda: {(row(job).state, row(job).attempt) for job in waiting} == {("available", 0)})
            flag.unlink()
            stopping.result(20)

        assert state(running) == "completed"

    def test_hurries_when_it_is_told_to(self, run, flag):
        job = jobs.until_told.enqueue(str(flag))
        client = run()
        wait_until(flag.exists)

        assert client.stop(timeout=3600, is_hurried=lambda: True) == NOTHING
        assert state(job) == "available"

    def test_stores_the_cancel_that_came_before(self, run, flag):
        job = jobs.until_told.enqueue(str(flag))
        client = run(notify=False)
        wait_until(flag.exists)
        operations.cancel(job)
        client.stop(timeout=0)

        assert state(job) == "cancelled"

    def test_says_what_could_not_be_stored(self, run, monkeypatch, caplog):
        monkeypatch.setattr(module, "FLUSH_TIMEOUT", 0.05)
        client = run(stop_timeout=0.0, cancel_timeout=0.05)
        client.engine.completer.storage = Unreliable(client.engine.completer.storage)
        client.engine.completer.storage.before = times(10**6, OperationalError("away"))
        job = jobs.nothing.enqueue()
        wait_until(lambda: client.engine.completer.backlog)

        assert client.stop() == StopReport(interrupted=0, unstored=1)
        assert state(job) == "running"

    def test_without_a_database_ends_all_the_same(self, run, monkeypatch, caplog):
        client = run()
        monkeypatch.setattr(client.keeper.storage, "client_delete", times(1, OperationalError("away")))
        client.stop()

        assert "could not say good-bye to the database: away" in caplog.text
        assert not threads()

    @pytest.mark.parametrize("timeout", [0, 0.3])
    def test_under_load_loses_nothing(self, run, timeout):
        for number in range(300):
            (jobs.nap if number % 2 else jobs.nap_async).enqueue(0.005)
        client = run()
        wait_until(lambda: Job.objects.filter(state="completed").count() > 20)
        report = client.stop(timeout=timeout)

        assert report == NOTHING
        assert set(Job.objects.values_list("state", "attempt")) <= {("completed", 1), ("available", 0)}


class TestPause:
    def test_is_heard(self, run):
        client = run()
        queues.pause("default")
        wait_until(lambda: client.producers["default"].is_paused)
        job = jobs.nothing.enqueue()
        other = jobs.record_async.enqueue(1)
        wait_until(lambda: state(other) == "completed")
        assert state(job) == "available"

        queues.resume("default")
        wait_until(lambda: state(job) == "completed")

    def test_of_all_queues(self, run):
        client = run()
        queues.pause()
        wait_until(lambda: all(producer.is_paused for producer in client.producers.values()))

        queues.resume()
        wait_until(lambda: not any(producer.is_paused for producer in client.producers.values()))

    def test_is_found_without_a_notification(self, run):
        client = run(notify=False)
        queues.pause("default")
        wait_until(lambda: client.producers["default"].is_paused)

        queues.resume("default")
        wait_until(lambda: not client.producers["default"].is_paused)

    @pytest.mark.parametrize("reading", ["queue_list", "queue_touch"])
    def test_that_is_heard_while_rows_are_read_is_newer_than_they_are(self, run, monkeypatch, reading):
        client = run()
        read = getattr(client.keeper.storage, reading)
        reads = []

        def read_slowly(names):
            rows = read(names)
            reads.append(rows)
            if len(reads) == 1:
                client.keeper.storage.queue_pause("default")
                client.queue_duties.hear_pause("default", is_paused=True)
            return rows

        monkeypatch.setattr(client.keeper.storage, reading, read_slowly)
        client.keeper.hurry("reconcile" if reading == "queue_list" else "touch queues")
        wait_until(lambda: len(reads) >= 2)

        assert client.producers["default"].is_paused

    def test_holds_for_a_client_that_starts_later(self, run):
        queues.pause("default")
        client = run()

        assert client.producers["default"].is_paused

    def test_hands_back_what_has_not_begun(self, run, flag):
        jobs.deaf_until_told.enqueue(str(flag))
        client = run(queues={"default": QueueConfig(max_workers=1)})
        wait_until(flag.exists)
        producer = client.producers["default"]
        believe_in_speed(client.engine.fetcher)
        waiting = [jobs.nothing.enqueue(number) for number in range(3)]
        wait_until(lambda: producer.load == 4)
        queues.pause("default")

        wait_until(lambda: {(row(job).state, row(job).attempt) for job in waiting} == {("available", 0)})

    def test_of_a_queue_of_others_is_passed_over(self, run):
        client = run()
        client.queue_duties.hear_pause("elsewhere", True)

        assert not any(producer.is_paused for producer in client.producers.values())


class TestCancel:
    @pytest.mark.parametrize("make", [jobs.until_told, jobs.until_told_async], ids=["sync", "async"])
    @pytest.mark.parametrize("is_heard", [True, False])
    def test_stops_a_running_job(self, run, flag, make, is_heard):
        job = make.enqueue(str(flag))
        run(notify=is_heard)
        wait_until(flag.exists)
        operations.cancel(job)

        wait_until(lambda: state(job) == "cancelled")
        assert row(job).errors[-1]["error"] == "cancelled while running"

    @pytest.mark.postgres
    def test_whose_notification_was_lost_is_found_while_listening(self, run, flag, monkeypatch):
        monkeypatch.setattr(queue_duties, "RECONCILE_LISTENING", 0.05)
        job = jobs.until_told.enqueue(str(flag))
        run()
        wait_until(flag.exists)
        Job.objects.filter(pk=job.pk).update(metadata={"cancel_attempted_at": "2026-01-01T00:00:00Z"})

        wait_until(lambda: state(job) == "cancelled")

    def test_of_a_job_that_waits_keeps_it_from_beginning(self, run, flag):
        jobs.deaf_until_told.enqueue(str(flag))
        client = run(queues={"default": QueueConfig(max_workers=1)})
        wait_until(flag.exists)
        producer = client.producers["default"]
        believe_in_speed(client.engine.fetcher)
        waiting = jobs.record.enqueue(1)
        wait_until(lambda: producer.load == 2)
        operations.cancel(waiting)
        wait_until(
            lambda: (
                client.engine.attempts.get(waiting.pk) is None
                or client.engine.attempts.get(waiting.pk).cancel_reason
            )
        )
        flag.unlink()

        wait_until(lambda: state(waiting) == "cancelled")
        assert not Run.objects.filter(job_id=waiting.pk).exists()

    def test_of_a_job_that_is_not_ours_is_passed_over(self, run):
        run().long_jobs.watch.cancel(12345)


class TestLeadership:
    def test_is_taken_and_given_up(self, run):
        client = run(can_lead=True)
        wait_until(lambda: Leader.objects.filter(leader_id=client.id).exists())
        client.stop()

        assert not Leader.objects.exists()

    def test_is_not_for_one_that_may_not(self, run):
        client = run(can_lead=False)
        client._leadership_changed("resigned", "another")
        jobs.nothing.enqueue()
        wait_until(lambda: not Job.objects.open().exists())

        assert not Leader.objects.exists()
        assert not client.elector.is_leader

    @pytest.mark.postgres
    def test_passes_on_at_once_when_the_leader_resigns(self, run):
        leader = run(can_lead=True)
        wait_until(lambda: leader.elector.is_leader)
        follower = run(can_lead=True)
        wait_until(lambda: follower.notifier.is_listening)
        leader.stop()

        wait_until(lambda: follower.elector.is_leader, 3)
        wait_until(lambda: "river-job-scheduler" in threads())

    def test_is_not_sought_again_because_of_our_own_resignation(self, build, monkeypatch):
        hurried = []
        client = build(can_lead=True)
        monkeypatch.setattr(client.keeper, "hurry", hurried.append)
        client._leadership_changed("resigned", client.id)
        client._leadership_changed("request_resign", "")
        client._leadership_changed("resigned", "another")

        assert hurried == ["election"]

    def test_lost_stops_the_services(self, run):
        client = run(can_lead=True)
        wait_until(lambda: client.maintainer._running)
        Leader.objects.all().delete()
        LeaderFactory(leader_id="go-1")
        client.keeper.hurry("election")

        wait_until(lambda: not client.elector.is_leader)
        wait_until(lambda: "river-job-scheduler" not in threads())


class TestTrouble:
    @pytest.mark.parametrize("part", ["fetcher", "completer", "keeper", "scheduler"])
    def test_a_part_that_ends_by_an_error_is_told(self, run, part, monkeypatch):
        def crash(service):
            raise SystemExit

        told = []
        client = run(can_lead=True, on_crash=told.append)
        wait_until(lambda: client.elector.is_leader and client.maintainer._running)
        services = [*client._services, *client.maintainer._running]
        service = next(service for service in services if service.name.endswith(part))
        monkeypatch.setattr(type(service), "step", crash)
        service.wake()

        wait_until(lambda: told)
        assert isinstance(told[0], SystemExit)

    def test_a_heartbeat_is_renewed(self, run):
        run(heartbeat_interval=0.02)
        first = ClientRow.objects.get().heartbeat_at

        wait_until(lambda: ClientRow.objects.get().heartbeat_at > first)

    def test_what_fails_is_shown_to_others(self, run, monkeypatch):
        def fail(service):
            raise RuntimeError("permission denied")

        monkeypatch.setattr(JobCleaner, "run_once", fail)
        client = run(can_lead=True, heartbeat_interval=0.02)

        wait_until(lambda: "permission denied" in ClientRow.objects.get().troubles.get("job-cleaner", ""))
        assert list(ClientRow.objects.get().troubles) == ["job-cleaner"]
        monkeypatch.undo()
        wait_until(lambda: ClientRow.objects.get().troubles == {})
        assert client.elector.is_leader

    def test_a_client_whose_row_was_removed_comes_back(self, run):
        run(heartbeat_interval=0.02)
        ClientRow.objects.all().delete()

        wait_until(ClientRow.objects.exists)

    @pytest.mark.postgres
    def test_connections_that_are_cut_are_replaced(self, run):
        client = run(can_lead=True, heartbeat_interval=0.05)
        wait_until(lambda: client.notifier.is_listening and client.elector.is_leader)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name LIKE 'django_river%' AND datname = current_database()"
            )
        job = jobs.record.enqueue(1)

        wait_until(lambda: state(job) == "completed")
        wait_until(lambda: client.notifier.is_listening)
        assert client.stop() == NOTHING
        assert not any(isinstance(thread, Service) for thread in threading.enumerate())


class TestClientId:
    def test_begins_with_the_name_and_is_never_the_same(self):
        first, second = unique_client_id("web 1/é!"), unique_client_id("web 1/é!")

        assert first.startswith("web_1_é_")
        assert first != second

    def test_fits(self):
        assert len(unique_client_id("x" * 500)) <= 100

    def test_is_by_default_the_hosts(self, monkeypatch):
        monkeypatch.setattr("socket.gethostname", lambda: "host.example")

        assert unique_client_id().startswith("host.example_")
        assert unique_client_id("").startswith("host.example_")


class TestChosenQueues:
    settings = dataclasses.replace(config(), queues=dict.fromkeys(("a", "b", "c"), QueueConfig()))

    @pytest.mark.parametrize(
        ("only", "exclude", "chosen"),
        [
            ((), (), "abc"),
            (("a",), (), "a"),
            ((), ("a",), "bc"),
            (("a", "b"), ("b",), "a"),
            (("a",), ("a",), ""),
        ],
    )
    def test_are_what_is_named_without_what_is_excluded(self, only, exclude, chosen):
        assert "".join(chosen_queues(self.settings, only=only, exclude=exclude)) == chosen

    def test_may_be_others_where_queues_are_dynamic(self):
        settings = dataclasses.replace(self.settings, dynamic_queues=True)

        assert list(chosen_queues(settings, only=("a", "new"))) == ["a", "new"]
        with pytest.raises(ConfigError, match="unknown queue 'No Name'"):
            chosen_queues(settings, only=("No Name",))

    @pytest.mark.parametrize("option", ["only", "exclude"])
    def test_must_be_in_the_settings(self, option):
        with pytest.raises(ConfigError, match="unknown queue 'x', 'y'; the settings name a, b, c"):
            chosen_queues(self.settings, **{option: ("y", "a", "x")})


class TestMaintenance:
    def test_ends_the_term_if_it_cannot_start(self, run, monkeypatch, caplog):
        def refuse(*args, **kwargs):
            raise OperationalError("too many connections")

        monkeypatch.setattr("django_river.storage.open_upkeep", refuse)
        client = run(can_lead=True)

        wait_until(lambda: "cannot do what a leader has to" in caplog.text)
        wait_until(lambda: not client.elector.is_leader and not Leader.objects.exists())
        assert "river-job-scheduler" not in threads()

    @pytest.mark.parametrize("can_lead", [True, False])
    def test_makes_due_jobs_available_with_a_leader_and_without(self, run, can_lead, monkeypatch):
        monkeypatch.setattr("django_river.maintenance.stand_in.VACANT_SECONDS", 0.1)
        scheduled = JobFactory(scheduled=True, kind="shop.nothing", args={})
        retryable = JobFactory(retryable=True, kind="shop.nothing", args={})
        Job.objects.update(scheduled_at=scheduled.created_at)
        run(can_lead=can_lead)

        wait_until(lambda: {state(scheduled), state(retryable)} == {"completed"})
        assert Leader.objects.exists() is can_lead
