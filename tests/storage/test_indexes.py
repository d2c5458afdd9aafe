"""Indexes are rebuilt while others work, and what that leaves behind can be told from what is at work."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from django_river import storage
from tests.storage.steps import insert
from tests.waiting import wait_until

FETCH = "django_river_job_fetch_idx"


def test_the_next_time_of_day_is_within_a_day(upkeep):
    now = timezone.now().astimezone(timezone.get_fixed_timezone(0))

    in_two_hours = upkeep.index_seconds_until((now + timedelta(hours=2)).time())
    two_hours_ago = upkeep.index_seconds_until((now - timedelta(hours=2)).time())

    # To the minute.
    assert 7100 <= in_two_hours <= 7210
    assert 79_100 <= two_hours_ago <= 79_210


@pytest.mark.sqlite
def test_sqlite_has_none_to_rebuild(upkeep):
    assert upkeep.index_list() == upkeep.index_leftovers() == []
    upkeep.index_rebuild(FETCH)
    upkeep.index_drop(FETCH)


@pytest.mark.postgres
class TestRebuild:
    def file_of(self, index):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_relation_filenode(%s::regclass)", [index])
            return cursor.fetchone()[0]

    def test_makes_an_index_anew(self, upkeep):
        before = self.file_of(FETCH)

        upkeep.index_rebuild(FETCH)

        assert self.file_of(FETCH) != before
        assert upkeep.index_leftovers() == []

    def test_can_be_done_with_all_of_the_table(self, upkeep):
        names = upkeep.index_list()
        for name in names:
            upkeep.index_rebuild(name)

        assert {FETCH, "river_job_pkey", "river_job_unique_idx"} <= set(names)
        assert sorted(upkeep.index_list()) == sorted(names)


@pytest.mark.postgres
class TestLeftovers:
    @pytest.fixture
    def rebuilding(self, using, store, other_store):
        """A rebuilding that waits for somebody's transaction, and in the end fails."""
        upkeep = storage.upkeep_on(other_store.session, using)
        failed = []

        def rebuild():
            try:
                upkeep.index_rebuild(FETCH)
            except OperationalError as error:
                failed.append(error)

        thread = threading.Thread(target=rebuild)
        with store.session.atomic():
            insert(store)
            thread.start()
            wait_until(lambda: invalid() and failed == [])
            yield upkeep
        thread.join(20)
        assert failed

    @pytest.fixture
    def reader(self, using):
        other = storage.open_storage(using, timeout=20)
        yield storage.upkeep_on(other.session, using)
        other.close()

    def test_are_not_what_is_at_work(self, rebuilding, reader):
        assert reader.index_leftovers() == []
        rebuilding.cancel()

    def test_are_what_a_cancelled_rebuilding_leaves(self, rebuilding, reader):
        rebuilding.cancel()
        (left,) = wait_until(reader.index_leftovers)

        assert left.startswith(FETCH)
        assert left not in reader.index_list()

    def test_can_be_dropped(self, rebuilding, reader, store):
        rebuilding.cancel()
        (left,) = wait_until(reader.index_leftovers)
        # Ends what the dropping would have to wait for.
        store.session.close()
        reader.index_drop(left)
        reader.index_drop(left)

        assert reader.index_leftovers() == invalid() == []


def invalid():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
        return [name for (name,) in cursor.fetchall()]
