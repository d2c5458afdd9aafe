"""Connections of our own: bounded, renewed when they break, and with the errors of Django."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
)
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_river import storage
from django_river.exceptions import ConfigError
from django_river.models import Queue
from django_river.storage.base import Demand
from django_river.storage.postgres import session as postgres_session
from django_river.storage.sessions import DjangoSession, KeptCursor
from tests.storage.steps import insert, row
from tests.waiting import wait_until

#: So that psycopg does not notice.
FORGET = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"
KILL = "SELECT pg_terminate_backend(%(pid)s)"


@pytest.fixture(autouse=True)
def not_slow(monkeypatch):
    """However busy the machine is."""
    monkeypatch.setattr(postgres_session, "SLOW_SECONDS", 60.0)


@pytest.fixture
def session(store):
    return store.session


def add(session, name: str) -> None:
    session.execute("INSERT INTO river_queue (name, created_at, updated_at, metadata) "
                    f"VALUES ('{name}', '2026-01-01', '2026-01-01', '{{}}')", {})  # fmt: skip


def prepared(store) -> int:
    return store.session.execute("SELECT count(*) FROM pg_prepared_statements", {})[0][0]


def names() -> list[str]:
    return sorted(Queue.objects.values_list("name", flat=True))


class TestTransactions:
    @pytest.fixture
    def session(self, any_store):
        return any_store.session

    def test_statements_commit_by_themselves(self, session):
        add(session, "a")

        assert names() == ["a"]
        assert not session.in_transaction

    def test_hold_together(self, session):
        with session.atomic():
            add(session, "a")
            assert session.in_transaction
            add(session, "b")

        assert not session.in_transaction
        assert names() == ["a", "b"]

    def test_leave_nothing_when_they_fail(self, session):
        with pytest.raises(LookupError), session.atomic():
            add(session, "a")
            raise LookupError

        assert not session.in_transaction
        assert names() == []

    def test_join_the_one_around(self, session):
        with pytest.raises(LookupError), session.atomic():
            with session.atomic():
                add(session, "a")
            raise LookupError

        assert names() == []

    def test_go_on_after_an_inner_one_failed(self, session):
        with session.atomic():
            add(session, "a")
            with pytest.raises(IntegrityError), session.atomic():
                add(session, "a")
            add(session, "b")

        assert names() == ["a", "b"]

    def test_undo_what_an_inner_one_did_before_it_failed(self, session):
        with session.atomic():
            with pytest.raises(LookupError), session.atomic():
                add(session, "a")
                raise LookupError
            add(session, "b")

        assert names() == ["b"]


class TestErrors:
    @pytest.fixture
    def session(self, any_store):
        return any_store.session

    def test_of_constraints(self, session):
        add(session, "a")

        with pytest.raises(IntegrityError):
            add(session, "a")

    def test_of_statements(self, session):
        with pytest.raises((ProgrammingError, OperationalError)):
            session.execute("SELECT nonsense", {})

    @pytest.mark.postgres
    def test_of_values(self, session):
        with pytest.raises(DataError):
            session.execute("SELECT 1 / 0", {})

    def test_of_connecting(self, store, monkeypatch):
        broken = {"HOST": "127.0.0.1", "PORT": "1"} if store.can_notify else {"NAME": "/nowhere/at/all"}
        own = storage.open_storage("default", timeout=1)

        with monkeypatch.context() as patch:
            for key, value in broken.items():
                patch.setitem(connection.settings_dict, key, value)
            with pytest.raises(OperationalError):
                own.queue_list(["a"])
        own.close()


class TestClose:
    def test_is_safe_twice_and_before_use(self, using):
        own = storage.open_storage(using, timeout=1)
        own.close()
        own.queue_touch(["a"])
        own.close()
        own.close()

        assert not own.session.in_transaction

    def test_lets_a_later_statement_open_again(self, store):
        store.queue_touch(["a"])
        store.close()

        assert store.queue_list(["a"]) == [("a", False)]

    def test_leaves_djangos_connection_to_django(self, using):
        session = DjangoSession(using)
        session.execute("SELECT 1", {})

        session.close()

        assert connections[using].connection is not None

    def test_may_come_from_another_thread(self, store):
        store.queue_touch(["a"])
        closer = threading.Thread(target=store.close)
        closer.start()
        closer.join()

        assert store.queue_list(["a"]) == [("a", False)]


@pytest.mark.postgres
class TestPostgres:
    def pid(self, session) -> int:
        return session.execute("SELECT pg_backend_pid()", {})[0][0]

    def test_stops_a_statement_that_takes_too_long(self, using):
        own = storage.open_storage(using, timeout=0.05)

        with pytest.raises(OperationalError, match="statement timeout"):
            own.session.execute("SELECT pg_sleep(60)", {})
        assert own.queue_list([]) == []
        own.close()

    def test_stops_waiting_for_a_lock(self, store, using):
        inserted = insert(store)
        own = storage.open_storage(using, timeout=0.05)

        with store.session.atomic():
            store.session.execute("SELECT id FROM river_job FOR UPDATE", {})
            with pytest.raises(OperationalError, match="statement timeout"):
                own.job_delete([inserted.id])
        own.close()

    def test_opens_again_after_its_connection_was_cut(self, store, other_store):
        pid = self.pid(store.session)
        other_store.session.execute(KILL, {"pid": pid})

        with pytest.raises(OperationalError):
            store.queue_list(["a"])
        assert store.queue_list(["a"]) == []
        assert self.pid(store.session) != pid

    def test_loses_a_transaction_whose_connection_was_cut(self, store, other_store):
        with pytest.raises(OperationalError), store.session.atomic():
            store.queue_touch(["a"])
            other_store.session.execute(KILL, {"pid": self.pid(store.session)})
            store.queue_touch(["b"])

        assert names() == []
        assert store.queue_touch(["c"]) == [("c", False)]

    def test_does_not_go_on_by_itself_inside_a_transaction_that_was_cut(self, store, other_store):
        """A statement after the cut would be committed alone."""
        with pytest.raises(OperationalError), store.session.atomic():
            other_store.session.execute(KILL, {"pid": self.pid(store.session)})
            with pytest.raises(OperationalError):
                store.queue_touch(["a"])
            store.queue_touch(["b"])

        assert names() == []

    def test_prepares_the_claim_and_nothing_else(self, store):
        for _ in range(10):
            store.queue_list(["a"])
            store.job_fetch("us", [Demand(queue="a", limit=10)], 10)

        ((statement,),) = store.session.execute("SELECT statement FROM pg_prepared_statements", {})
        assert statement.startswith("UPDATE river_job")

    @pytest.mark.parametrize(("slow", "planned_once"), [(60.0, True), (0.0, False)])
    def test_plans_anew_what_was_slow(self, store, monkeypatch, slow, planned_once):
        """A plan for an empty table reads all of the table, and is kept until that is analyzed: up to minutes."""
        monkeypatch.setattr(postgres_session, "SLOW_SECONDS", slow)
        inserted = [insert(store, queue="a").id for _ in range(10)]

        claimed = [store.job_fetch("us", [Demand(queue="a", limit=1)], 1)[0].id for _ in range(10)]

        assert claimed == inserted
        ((times_planned_once,),) = store.session.execute(
            "SELECT generic_plans FROM pg_prepared_statements", {}
        )
        assert (times_planned_once > 0) is planned_once

    def test_prepares_anew_what_is_fast_again(self, store, monkeypatch):
        def prepared_at_after(slow):
            monkeypatch.setattr(postgres_session, "SLOW_SECONDS", slow)
            store.job_fetch("us", [Demand(queue="a", limit=1)], 1)
            return store.session.execute("SELECT prepare_time FROM pg_prepared_statements", {})

        first = prepared_at_after(60.0)
        assert first == prepared_at_after(0.0)
        # The next one is sent in full, and is fast.
        assert first == prepared_at_after(60.0)

        assert len(first) == 1
        assert prepared_at_after(60.0) > first

    def test_plans_anew_what_failed(self, store, other_store):
        """A column that has got another type: the server refuses to use its plan."""
        inserted = insert(store, queue="a")
        store.job_fetch("us", [Demand(queue="b", limit=10)], 10)
        alter = "ALTER TABLE river_job ALTER COLUMN queue TYPE {}"
        other_store.session.execute(alter.format("varchar"), {})
        try:
            with pytest.raises(NotSupportedError, match="result type"):
                store.job_fetch("us", [Demand(queue="a", limit=10)], 10)

            assert [job.id for job in store.job_fetch("us", [Demand(queue="a", limit=10)], 10)] == [
                inserted.id
            ]
        finally:
            other_store.session.execute(alter.format("text"), {})

    def test_prepares_anew_on_another_connection(self, store):
        store.job_fetch("us", [Demand(queue="a", limit=10)], 10)
        store.close()

        assert store.job_fetch("us", [Demand(queue="a", limit=10)], 10) == []
        assert prepared(store) == 1

    def test_prepares_no_more_when_somebody_stands_between_after_all(self, store):
        """Another connection's server does not know our statements."""
        inserted = insert(store, queue="a")
        store.job_fetch("us", [Demand(queue="b", limit=10)], 10)
        store.session.execute(FORGET, {})

        claimed = store.job_fetch("us", [Demand(queue="a", limit=10)], 10)

        assert [job.id for job in claimed] == [inserted.id]
        assert store.job_fetch("us", [Demand(queue="a", limit=10)], 10) == []
        assert prepared(store) == 0

    def test_prepares_no_more_after_a_transaction_that_it_cost(self, store):
        store.job_fetch("us", [Demand(queue="a", limit=10)], 10)
        store.session.execute(FORGET, {})

        with pytest.raises(ProgrammingError, match="does not exist"), store.session.atomic():
            store.job_fetch("us", [Demand(queue="a", limit=10)], 10)

        assert store.job_fetch("us", [Demand(queue="a", limit=10)], 10) == []
        assert prepared(store) == 0

    def test_says_who_it_is(self, store):
        assert store.session.execute("SELECT current_setting('application_name')", {}) == [("django_river",)]

    def test_acts_as_the_role_that_django_acts_as(self, store, using, monkeypatch):
        own = storage.open_storage(using, timeout=20)
        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict["OPTIONS"], "assume_role", "pg_monitor")
            assert own.session.execute("SELECT current_user", {}) == [("pg_monitor",)]
        own.close()

    def test_leaves_no_connection_that_could_not_be_made_ready(self, store, using, monkeypatch):
        own = storage.open_storage(using, timeout=20)
        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict["OPTIONS"], "assume_role", "nobody_of_this_name")
            with pytest.raises(DatabaseError, match="nobody_of_this_name"):
                own.queue_list(["a"])

        others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'django_river' AND pid <> pg_backend_pid()"
        wait_until(lambda: store.session.execute(others, {}) == [(0,)])

    def test_behind_a_pooler_sees_what_was_committed_before_each_statement(self, using, monkeypatch):
        options = connections["default"].settings_dict["OPTIONS"]
        monkeypatch.setitem(options, "options", r"-c default_transaction_isolation=repeatable\ read")
        monkeypatch.setattr(postgres_session, "is_pooled", lambda connection: True)
        session = postgres_session.PostgresSession(using, timeout=5)
        with closing(session), session.atomic():
            assert session.execute("SHOW transaction_isolation", {}) == [("read committed",)]

    def test_behind_a_pooler_prepares_nothing(self, using, monkeypatch):
        monkeypatch.setattr(postgres_session, "is_pooled", lambda connection: True)
        with closing(storage.open_storage(using, timeout=5)) as own:
            for _ in range(10):
                own.job_fetch("us", [Demand(queue="a", limit=10)], 10)

            assert prepared(own) == 0

    def test_behind_a_pooler_sets_its_limit_in_each_transaction(self, using, monkeypatch):
        monkeypatch.setattr(postgres_session, "is_pooled", lambda connection: True)
        own = storage.open_storage(using, timeout=0.05)

        with pytest.raises(OperationalError, match="statement timeout"):
            own.session.execute("SELECT pg_sleep(60)", {})
        with own.session.atomic(), own.session.atomic():
            own.queue_touch(["a"])
            assert own.session.execute("SELECT current_setting('statement_timeout')", {}) == [("50ms",)]
        own.close()


@pytest.mark.sqlite
class TestSqlite:
    def test_waits_for_the_writer_and_gives_up_in_time(self, store, using):
        hasty = storage.open_storage(using, timeout=0.05)

        with store.session.atomic():
            add(store.session, "a")
            began = time.monotonic()
            with pytest.raises(OperationalError, match="locked"):
                hasty.queue_touch(["b"])
            assert time.monotonic() - began < 5
            assert hasty.queue_list(["a"]) == []
        hasty.close()

    def test_writes_when_the_writer_is_done(self, store, other_store):
        writer = threading.Thread(target=other_store.queue_touch, args=(["b"],))
        with store.session.atomic():
            add(store.session, "a")
            writer.start()
        writer.join()

        assert names() == ["a", "b"]

    def test_takes_the_write_lock_at_once(self, store, using):
        hasty = storage.open_storage(using, timeout=0.05)

        with store.session.atomic(), pytest.raises(OperationalError, match="locked"), hasty.session.atomic():
            pass
        hasty.close()

    def test_a_commit_that_fails_leaves_no_transaction(self, store):
        store.session.execute("PRAGMA foreign_keys = ON", {})
        with pytest.raises(IntegrityError), store.session.atomic():
            store.session.execute("PRAGMA defer_foreign_keys = ON", {})
            add(store.session, "a")
            store.session.execute(
                "INSERT INTO auth_permission (name, content_type_id, codename) VALUES ('x', 0, 'x')", {}
            )

        assert not store.session.in_transaction
        assert names() == []
        store.queue_touch(["b"])
        assert names() == ["b"]

    def test_runs_what_djangos_options_say_of_a_connection(self, store):
        assert store.session.execute("PRAGMA journal_mode", {}) == [("wal",)]
        assert store.session.execute("PRAGMA synchronous", {}) == [(1,)]


def test_only_known_databases_can_hold_jobs(db, monkeypatch):
    storage.for_caller.cache_clear()
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")

    with pytest.raises(
        ConfigError, match="database 'default' is oracle; jobs can be kept on postgresql and sqlite only"
    ):
        storage.for_caller("default")


def test_djangos_connection_joins_the_callers_transaction(django_store):
    inserted = insert(django_store)

    assert django_store.session.in_transaction
    assert row(inserted).state == "available"


class TestKeptCursor:
    pytestmark = pytest.mark.postgres

    def test_is_used_again(self, django_store):
        kept = KeptCursor()

        assert kept.on(connections["default"]) is kept.on(connections["default"])

    def test_goes_with_its_connection(self, transactional_db):
        kept = KeptCursor()
        before = kept.on(connections["default"])
        connection.close()

        after = kept.on(connections["default"])

        assert after is not before
        after.execute("SELECT 1")

    def test_goes_with_the_time_zone(self, db):
        kept = KeptCursor()
        before = kept.on(connections["default"])

        with override_settings(TIME_ZONE="Asia/Tokyo", USE_TZ=False):
            assert kept.on(connections["default"]) is not before

    def test_belongs_to_one_thread(self, db):
        kept = KeptCursor()
        kept.on(connections["default"])
        shared = connections["default"]
        shared.inc_thread_sharing()
        try:
            with ThreadPoolExecutor(1) as pool:
                elsewhere = pool.submit(kept.on, shared).result()
        finally:
            shared.dec_thread_sharing()

        assert elsewhere is not kept.on(connections["default"])

    def test_is_not_for_another_threads_connection(self, db):
        kept = KeptCursor()
        kept.on(connections["default"])

        with ThreadPoolExecutor(1) as pool, pytest.raises(DatabaseError, match="same thread"):
            pool.submit(kept.on, connections["default"]).result()

    def test_is_none_where_statements_are_logged(self, django_store):
        insert(django_store)
        with CaptureQueriesContext(connection) as queries:
            insert(django_store)

        assert len(queries) == 1

    def test_is_none_where_cursors_are_replaced(self, django_store, monkeypatch):
        opened = []
        make = connection.cursor
        monkeypatch.setattr(connection, "cursor", lambda *given: opened.append(given) or make(*given))

        insert(django_store)

        assert opened == [()]

    def test_shows_its_statements_to_wrappers(self, django_store):
        seen = []

        def look(execute, sql, *more):
            seen.append(sql)
            return execute(sql, *more)

        with connection.execute_wrapper(look):
            insert(django_store)

        assert len(seen) == 1

    def test_raises_djangos_errors_and_goes_on(self, transactional_db):
        session = DjangoSession("default")
        with pytest.raises(ProgrammingError):
            session.execute("SELECT * FROM nowhere", {})

        assert session.execute("SELECT 1", {}) == [(1,)]
