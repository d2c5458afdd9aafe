"""Django's connections between jobs: kept while they are good, healed or closed when they are not."""

from __future__ import annotations

import select
import threading
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction
from django.db import connections as django_connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_river.work import connections
from tests.shop.models import Order
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("using")


@pytest.fixture
def in_thread():
    """Runs functions in one thread, tidied around each as a worker thread does it."""
    asked, answers = [], []
    came, over = threading.Condition(), threading.Event()

    def serve():
        while not over.is_set():
            with came:
                came.wait_for(lambda: asked or over.is_set())
                function = asked.pop() if asked else None
            if function is not None:
                answers.append(answer(function))
        connections.close()

    def answer(function):
        connections.tidy()
        try:
            return function()
        except Exception as error:
            return error
        finally:
            connections.tidy()

    def run(function):
        with came:
            asked.append(function)
            came.notify()
        wait_until(lambda: answers)
        return answers.pop()

    thread = threading.Thread(target=serve)
    thread.start()
    yield run
    over.set()
    with came:
        came.notify()
    thread.join(10)


def use():
    """Use the database; the driver's connection."""
    Order.objects.count()
    return connection.connection


def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def terminate(pid):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    wait_until(lambda: pid not in backends())


def backends():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        return {pid for (pid,) in cursor.fetchall()}


class TestBetweenJobs:
    def test_a_connection_is_kept_though_conn_max_age_is_0(self, in_thread):
        assert connection.settings_dict["CONN_MAX_AGE"] == 0

        assert in_thread(use) is in_thread(use) is not None

    def test_an_older_one_is_closed(self, in_thread, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 1e-9)

        assert in_thread(use) is not in_thread(use)

    def test_an_open_transaction_is_rolled_back(self, in_thread, caplog):
        def leave_open():
            transaction.atomic().__enter__()
            Order.objects.create(number=1)

        in_thread(leave_open)
        assert "a job left a transaction open on 'default'; it is rolled back" in caplog.text

        def write():
            Order.objects.create(number=2)
            return connection.in_atomic_block

        assert in_thread(write) is False
        assert list(Order.objects.values_list("number", flat=True)) == [2]

    def test_an_open_transaction_whose_connection_was_closed_is_left(self, in_thread):
        def leave_closed():
            transaction.atomic().__enter__()
            Order.objects.create(number=1)
            connection.close()

        in_thread(leave_closed)

        in_thread(lambda: Order.objects.create(number=2))
        assert list(Order.objects.values_list("number", flat=True)) == [2]

    def test_a_transaction_by_hand_is_rolled_back(self, in_thread):
        def leave_open():
            transaction.set_autocommit(False)
            Order.objects.create(number=1)

        in_thread(leave_open)

        in_thread(lambda: Order.objects.create(number=2))
        assert list(Order.objects.values_list("number", flat=True)) == [2]

    @pytest.mark.postgres
    def test_one_that_the_server_has_closed_is_replaced_before_the_next_job(self, in_thread):
        terminate(in_thread(backend))

        assert in_thread(Order.objects.count) == 0

    @pytest.mark.postgres
    def test_one_that_has_heard_something_is_kept(self, in_thread):
        def listen():
            with connection.cursor() as cursor:
                cursor.execute("LISTEN news")
            return connection.connection

        listening = in_thread(listen)
        with connection.cursor() as cursor:
            cursor.execute("NOTIFY news, 'it rains'")
        wait_until(lambda: select.select([listening], [], [], 0)[0])

        assert in_thread(use) is listening
        assert [news.payload for news in listening.notifies(timeout=10, stop_after=1)] == ["it rains"]

    @pytest.mark.postgres
    def test_one_that_waits_for_an_answer_is_replaced_before_the_next_job(self, in_thread):
        """Its job was interrupted in the middle of a statement."""
        in_thread(use).pgconn.send_query(b"SELECT pg_sleep(5)")

        assert not isinstance(in_thread(use), Exception)

    def test_one_that_breaks_during_a_job_is_replaced(self, in_thread):
        def break_off():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        assert isinstance(in_thread(break_off), OperationalError)
        assert in_thread(Order.objects.count) == 0

    def test_one_that_cannot_be_closed_is_forgotten(self, in_thread, monkeypatch, caplog):
        with monkeypatch.context() as patch:
            patch.setattr(BaseDatabaseWrapper, "close_if_unusable_or_obsolete", lambda self: 1 / 0)
            left = in_thread(use)

        assert "the connection to 'default' cannot be cleaned or closed; it is forgotten" in caplog.text
        assert in_thread(use) is not left
        left.close()


class TestClose:
    def test_closes_what_the_thread_has_opened(self, in_thread):
        in_thread(use)

        assert in_thread(lambda: connections.close() or connection.connection) is None

    def test_rolls_an_open_transaction_back(self, in_thread):
        def leave_open():
            transaction.atomic().__enter__()
            Order.objects.create(number=1)
            connections.close()
            return connection.in_atomic_block

        assert in_thread(leave_open) is False
        assert not Order.objects.exists()

    def test_opens_nothing(self):
        opened = []

        def close():
            connections.tidy()
            connections.close()
            opened.extend(django_connections.all(initialized_only=True))

        thread = threading.Thread(target=close)
        thread.start()
        thread.join()

        assert opened == []


@pytest.mark.postgres
class TestPool:
    @pytest.fixture
    def pool(self):
        """Django's pool with two connections, in place of a connection per thread."""
        pytest.importorskip("psycopg_pool")
        options = {
            **connection.settings_dict["OPTIONS"],
            "pool": {"min_size": 1, "max_size": 2, "timeout": 5},
        }
        connection.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(connection.settings_dict, "OPTIONS", options)
            yield lambda: connection.pool.get_stats()  # noqa: PLW0108  (the pool is made when first used)
            connection.close()
            connection.close_pool()

    def test_gets_its_slots_back_after_each_job(self, pool, in_thread):
        for _ in range(5):
            in_thread(use)

        assert pool()["pool_available"] == pool()["pool_size"]

    def test_serves_more_threads_than_it_has_connections(self, pool):
        counted = []

        def work():
            for _ in range(5):
                connections.tidy()
                counted.append(Order.objects.count())
                connections.tidy()
            connections.close()

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert counted == [0] * 30
        assert pool()["pool_size"] <= 2

    def test_gets_back_what_a_job_left_in_a_transaction(self, pool, in_thread):
        def leave_open():
            transaction.atomic().__enter__()
            Order.objects.create(number=1)

        for _ in range(3):
            in_thread(leave_open)

        assert pool()["pool_available"] == pool()["pool_size"]
        assert not Order.objects.exists()

    def test_loses_nothing_by_a_broken_connection(self, pool, in_thread):
        def break_off():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        for _ in range(3):
            in_thread(break_off)

        assert in_thread(Order.objects.count) == 0
        wait_until(lambda: pool()["pool_available"] == pool()["pool_size"])


def test_files_of_the_process_do_not_grow(in_thread):
    def files():
        return len(list(Path("/proc/self/fd").iterdir()))

    in_thread(lambda: [use(), connections.close()])
    before = files()
    for _ in range(5):
        in_thread(lambda: [use(), connections.close()])

    assert files() <= before
