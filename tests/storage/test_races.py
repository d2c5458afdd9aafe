"""What others do between two statements of ours."""

from __future__ import annotations

import pytest
from django.db import IntegrityError

from django_river.models import Job
from django_river.storage.postgres.driver import SQL, TRIES
from tests.factories import JobFactory
from tests.storage.steps import insert, new, row, unique

pytestmark = pytest.mark.postgres


@pytest.fixture
def before(store, monkeypatch):
    """Does something whenever a statement is about to run; what it returns is the answer instead."""
    execute = store.session.execute

    def set_up(name, do):
        def intercepted(sql, params):
            answer = do() if sql == SQL[name] else None
            return execute(sql, params) if answer is None else answer

        monkeypatch.setattr(store.session, "execute", intercepted)

    return set_up


class TestInsert:
    def test_takes_the_place_of_a_holder_that_goes_while_we_look(self, store, before):
        first = insert(store, **unique("a"))
        before("job_by_unique_key", lambda: Job.objects.filter(pk=first.id).delete() and None)

        inserted = store.job_insert_many([new(), new(**unique("a"))])

        assert [job.skipped for job in inserted] == [False, False]
        assert row(inserted[1]).unique_key is not None

    def test_gives_up_when_a_holder_is_never_found(self, store, before):
        insert(store, **unique("a"))
        tries = []
        before("job_by_unique_key", lambda: tries.append(1) or [])

        with pytest.raises(
            IntegrityError, match=r"unique job of kind 'tests.work' could not be inserted or found"
        ):
            insert(store, **unique("a"))
        assert len(tries) == TRIES
        assert Job.objects.count() == 1


class TestLoser:
    @pytest.fixture
    def job(self):
        return JobFactory(discarded=True)

    def test_is_looked_for_again_when_a_key_was_taken_meanwhile(self, store, before, job):
        tries = []

        def taken_once():
            tries.append(1)
            if len(tries) == 1:
                raise IntegrityError("taken")

        before("job_retry", taken_once)

        store.job_retry([job.id])
        assert len(tries) == 2

    def test_is_not_looked_for_forever(self, store, before, job):
        tries = []

        def always_taken():
            tries.append(1)
            raise IntegrityError("taken")

        before("job_retry", always_taken)

        with pytest.raises(IntegrityError, match="taken"):
            store.job_retry([job.id])
        assert len(tries) == TRIES
        assert not store.session.in_transaction
