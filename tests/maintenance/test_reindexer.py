"""Indexes are built anew at the quiet hour, on Postgres; what was left half-done is dropped."""

from __future__ import annotations

import datetime as dt
from threading import Lock
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection

from django_river import storage
from django_river.maintenance import reindexer as module
from django_river.maintenance.reindexer import Reindexer
from tests.storage.steps import insert
from tests.waiting import wait_until

HALF_PAST_THREE = dt.time(3, 30)


@pytest.fixture
def reindexer(upkeep):
    reindexer = Reindexer(upkeep=upkeep, lock=Lock(), at=HALF_PAST_THREE)
    yield reindexer
    assert reindexer.stop(10)


@pytest.fixture
def next_one(using, term):
    """The reindexer of the next time that a client leads."""
    upkeep = storage.open_upkeep(using, term=term, timeout=10)
    yield Reindexer(upkeep=upkeep, lock=Lock(), at=HALF_PAST_THREE)
    upkeep.close()


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def at(reindexer, monkeypatch):
    """Sets how many seconds it is to the hour."""

    def at(seconds):
        monkeypatch.setattr(reindexer.upkeep, "index_seconds_until", lambda at: seconds)

    return at


@pytest.fixture
def rebuilt(reindexer, monkeypatch):
    """The indexes that were rebuilt; none is, really."""
    rebuilt = []
    monkeypatch.setattr(reindexer.upkeep, "index_list", lambda: ["a", "b"])
    monkeypatch.setattr(reindexer.upkeep, "index_rebuild", rebuilt.append)
    return rebuilt


def files():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_relation_filenode(oid) FROM pg_class"
            " WHERE oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'river_job'::regclass)"
        )
        return dict(cursor.fetchall())


def invalid():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        return cursor.fetchone()[0]


class TestHour:
    def test_is_waited_for(self, reindexer, clock, at, rebuilt):
        at(7200.0)

        assert reindexer.run_once() == 7200.0
        clock.now += 7199
        assert reindexer.run_once() == 1.0
        assert rebuilt == []

    def test_comes_once_a_day(self, reindexer, clock, at, rebuilt):
        at(60.0)
        reindexer.run_once()
        clock.now += 60
        at(86_400.0)

        assert reindexer.run_once() == 86_400.0
        assert reindexer.run_once() == 86_400.0
        assert rebuilt == ["a", "b"]

    def test_is_by_the_clock_of_the_database(self, reindexer):
        assert 0 < reindexer.run_once() <= 86_400


class TestRebuild:
    @pytest.mark.postgres
    def test_builds_every_index_anew(self, reindexer):
        before = files()
        reindexer.rebuild()
        after = files()

        assert after.keys() == before.keys()
        assert [name for name in before if before[name] == after[name]] == []

    @pytest.mark.sqlite
    def test_of_none_does_nothing(self, reindexer):
        reindexer.rebuild()

    def test_goes_on_after_one_that_cannot_be_built(self, reindexer, rebuilt, monkeypatch, caplog):
        def rebuild(name):
            rebuilt.append(name)
            if name == "a":
                raise OperationalError("no space left")

        monkeypatch.setattr(reindexer.upkeep, "index_rebuild", rebuild)
        reindexer.rebuild()

        assert rebuilt == ["a", "b"]
        assert "index a could not be rebuilt: no space left" in caplog.text

    def test_ends_with_the_term(self, reindexer, rebuilt, begin):
        begin("another")
        reindexer.rebuild()

        assert rebuilt == []

    def test_drops_what_was_left_half_done_first(self, reindexer, rebuilt, monkeypatch):
        left = ["left"]
        monkeypatch.setattr(reindexer.upkeep, "index_leftovers", lambda: list(left))
        monkeypatch.setattr(reindexer.upkeep, "index_drop", left.remove)
        reindexer.run_once()

        assert left == []


@pytest.mark.postgres
def test_behind_a_pooler_it_says_that_it_cannot(reindexer, monkeypatch, caplog):
    monkeypatch.setattr("django_river.storage.postgres.session.is_pooled", lambda connection: True)
    # The connection that the term was begun on.
    reindexer.upkeep.close()
    before = files()
    reindexer.rebuild()

    assert files() == before
    assert "index river_job_pkey could not be rebuilt: REINDEX CONCURRENTLY cannot" in caplog.text


@pytest.mark.postgres
def test_stopping_it_ends_what_it_builds_and_the_next_term_cleans_up(reindexer, store, next_one):
    reindexer._due_at = 0.0
    with store.session.atomic():
        # A rebuilding waits for everybody who has written to the table.
        insert(store)
        reindexer.start()
        wait_until(invalid)
        assert reindexer.stop(10)
    assert invalid()
    next_one.run_once()

    assert not invalid()


@pytest.mark.postgres
def test_stopping_it_does_not_wait_until_a_leftover_can_be_dropped(reindexer, store, next_one):
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX river_job_kind_ccnew ON river_job (kind)")
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'river_job_kind_ccnew'::regclass"
        )
    with store.session.atomic():
        # So does dropping.
        insert(store)
        reindexer.start()
        wait_until(lambda: reindexer._is_at_work)
        assert reindexer.stop(10)
    assert invalid()
    next_one.run_once()

    assert not invalid()
