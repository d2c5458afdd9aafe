"""Who is told of new jobs: workers of this process always, the others once per queue and moment."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.db import InterfaceError, OperationalError, connection, connections, transaction

from django_river import enqueue_many
from django_river import hints as hints_module
from django_river.hints import hints
from django_river.models import Job
from tests.shop.jobs import nothing, record_async

HOUR = timedelta(hours=1)
LATER = [
    {"pending": True},
    {"run_after": HOUR},
    {"run_after": datetime(2999, 1, 1, tzinfo=UTC)},
    {"pending": True, "run_after": -HOUR},
]


@pytest.fixture
def long_window(monkeypatch):
    monkeypatch.setattr(hints_module, "WINDOW", 1000)
    monkeypatch.setattr(hints_module, "LOOK_AGAIN", 2000)


@pytest.mark.postgres
class TestOtherProcesses:
    def test_are_told_of_one_job(self, heard):
        nothing.enqueue()

        assert heard() == ["default"]

    def test_are_told_once_for_each_queue(self, heard):
        enqueue_many([nothing.build(), record_async.build(1), nothing.build(), record_async.build(2)])

        assert sorted(heard()) == ["default", "other"]

    @pytest.mark.parametrize("past", [-HOUR, timedelta(0), datetime(476, 9, 4, tzinfo=UTC)], ids=str)
    def test_are_told_of_what_should_have_run_already(self, heard, past):
        nothing.using(run_after=past).enqueue()

        assert heard() == ["default"]

    @pytest.mark.parametrize("options", LATER, ids=str)
    def test_are_not_told_of_what_waits(self, heard, options):
        nothing.using(**options).enqueue()
        with transaction.atomic():
            nothing.using(**options).enqueue()

        assert heard() == []

    def test_are_told_of_the_queues_that_have_work_now(self, heard):
        enqueue_many([nothing.using(run_after=HOUR).build(), record_async.build(1)])

        assert heard() == ["other"]

    def test_are_told_after_the_commit(self, heard):
        with transaction.atomic():
            nothing.enqueue()
            assert heard() == []

        assert heard() == ["default"]

    def test_are_told_once_for_a_transaction(self, heard, long_window):
        with transaction.atomic():
            for number in range(5):
                nothing.enqueue(number)
            enqueue_many([nothing.build(), nothing.build()])

        assert heard() == ["default"]

    def test_are_not_told_of_what_is_rolled_back(self, heard):
        with pytest.raises(LookupError), transaction.atomic():
            nothing.enqueue()
            raise LookupError

        assert heard() == []

    def test_are_not_told_of_what_a_savepoint_took_back(self, heard):
        with transaction.atomic():
            nothing.enqueue()
            with pytest.raises(LookupError), transaction.atomic():
                record_async.enqueue(1)
                raise LookupError

        assert heard() == ["default"]

    def test_are_told_by_a_commit_by_hand(self, heard):
        transaction.set_autocommit(False)
        nothing.enqueue()
        record_async.enqueue(1)
        assert heard() == []
        transaction.commit()
        transaction.set_autocommit(True)

        assert heard() == ["default", "other"]

    def test_are_not_told_where_they_do_not_listen(self, heard, settings):
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"NOTIFY": False}
        nothing.enqueue()
        with transaction.atomic():
            nothing.enqueue()
        transaction.set_autocommit(False)
        nothing.enqueue()
        transaction.commit()
        transaction.set_autocommit(True)

        assert heard() == []
        assert Job.objects.count() == 3

    def test_are_told_again_after_the_window_only(self, heard, long_window, monkeypatch):
        for number in range(3):
            nothing.enqueue(number)
        record_async.enqueue(1)
        assert heard() == ["default", "other"]

        monkeypatch.setattr(hints_module, "WINDOW", 0)
        nothing.enqueue()

        assert heard() == ["default"]

    def test_are_told_if_a_job_was_long_in_coming(self, heard, monkeypatch):
        """Its hint was left out because of one that is too old by now."""
        due = hints.due
        answers = iter([set(), {"default"}])
        monkeypatch.setattr(hints, "due", lambda *args, **options: next(answers))

        nothing.enqueue()

        monkeypatch.setattr(hints, "due", due)
        assert heard() == ["default"]

    def test_are_told_even_if_the_window_began_with_a_job_that_failed(self, heard, long_window):
        wrong = nothing.build()
        wrong.row.priority = 9
        with pytest.raises(Exception, match="priority_in_range"):
            enqueue_many([wrong])

        nothing.enqueue()

        assert heard() == ["default"]


class TestThisProcess:
    def test_is_woken_by_each_job(self, woken, long_window):
        nothing.enqueue()
        record_async.enqueue(1)
        nothing.enqueue()

        assert woken == [["default"], ["other"], ["default"]]

    @pytest.mark.parametrize("notify", [True, False])
    def test_is_woken_whether_others_are_told_or_not(self, woken, settings, notify):
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"NOTIFY": notify}

        nothing.enqueue()

        assert woken == [["default"]]

    def test_is_woken_after_the_commit(self, woken):
        with transaction.atomic():
            enqueue_many([nothing.build(), record_async.build(1)])
            assert woken == []

        assert woken == [["default", "other"]]

    def test_sleeps_on_when_nothing_was_committed(self, woken):
        with pytest.raises(LookupError), transaction.atomic():
            nothing.enqueue()
            raise LookupError

        assert woken == []

    @pytest.mark.parametrize("options", LATER, ids=str)
    def test_sleeps_on_when_a_job_waits(self, woken, options):
        nothing.using(**options).enqueue()
        with transaction.atomic():
            nothing.using(**options).enqueue()

        assert woken == []


@pytest.mark.postgres
class TestFailingToTell:
    def test_after_a_commit_is_no_error_of_the_caller(self, second, woken, caplog):
        """The connection is cut between the commit and the notification."""

        def cut():
            with connections[second].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

        with transaction.atomic():
            pid = connection.connection.info.backend_pid
            transaction.on_commit(cut)
            nothing.enqueue()
        connection.close()

        assert Job.objects.count() == 1
        assert woken == [["default"]]
        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    @pytest.mark.parametrize("error", [OperationalError, InterfaceError])
    def test_after_a_single_statement_is_none_either(self, using, monkeypatch, caplog, error):
        def fail(*args):
            raise error("the connection is closed")

        answers = iter([set(), {"default"}])
        monkeypatch.setattr(hints, "due", lambda *args, **options: next(answers))
        monkeypatch.setattr("django_river.storage.postgres.driver.Driver.notify_many", fail)

        stored = nothing.enqueue()

        assert Job.objects.get() == stored
        assert [record.getMessage() for record in caplog.records] == [
            "jobs are stored, but their workers could not be woken"
        ]
