"""What a leader writes counts in its term only: a former leader's late write changes nothing."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_river import storage
from django_river.jobs.states import State
from django_river.models import Client, Job, Leader, Queue
from django_river.storage.upkeep import Retention
from tests.factories import ClientFactory, JobFactory, QueueFactory
from tests.storage.steps import HOUR, OTHER, WITHOUT_RETRYABLE, begin_term, unique
from tests.waiting import wait_until

DAY = timedelta(days=1)


def _due(**given):
    return JobFactory(**{"scheduled": True} | given, scheduled_at=timezone.now() - HOUR)


def _over(state):
    return JobFactory(state=state, finalized_at=timezone.now() - DAY)


def _lost():
    return JobFactory(running=True, created_at=timezone.now() - DAY, attempted_at=timezone.now() - DAY)


def _clean(upkeep, state):
    return upkeep.job_clean(Retention(state=state, kept_for=HOUR), after=0, span=10**12, slack=HOUR, limit=10)


#: What each verb finds to do, and the verb.
WRITES = {
    "client_clean": (
        lambda: ClientFactory(stale=True),
        lambda upkeep: upkeep.client_clean(gone_for=timedelta(minutes=1), limit=10),
    ),
    "job_clean completed": (lambda: _over("completed"), lambda upkeep: _clean(upkeep, State.COMPLETED)),
    "job_clean discarded": (lambda: _over("discarded"), lambda upkeep: _clean(upkeep, State.DISCARDED)),
    "job_rescue": (
        _lost,
        lambda upkeep: upkeep.job_rescue(
            rescue_after=HOUR, client_timeout=HOUR, poison_after=99, known_kinds=[], limit=10
        ),
    ),
    "job_schedule": (_due, lambda upkeep: upkeep.job_schedule(10)),
    "job_schedule unique": (
        lambda: _due(retryable=True, scheduled=False, **unique("a", unique_states=WITHOUT_RETRYABLE)),
        lambda upkeep: upkeep.job_schedule(10),
    ),
    "queue_clean": (
        lambda: QueueFactory(name="old", updated_at=timezone.now() - DAY),
        lambda upkeep: upkeep.queue_clean(["old"], untouched_for=HOUR),
    ),
}


def tables():
    return [list(model.objects.order_by("pk").values()) for model in (Client, Job, Queue)]


def end_by_expiry(store, term):
    Leader.objects.update(expires_at=timezone.now() - HOUR)


def end_by_resignation(store, term):
    Leader.objects.all().delete()


def end_by_another(store, term):
    end_by_expiry(store, term)
    begin_term(store, OTHER)


def end_by_oneself_started_again(store, term):
    end_by_expiry(store, term)
    begin_term(store, term.leader_id)


@pytest.mark.parametrize("write", WRITES)
def test_counts_while_the_term_lasts(upkeep, write):
    prepare, verb = WRITES[write]
    prepare()
    before = tables()

    verb(upkeep)

    assert tables() != before


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "end", [end_by_expiry, end_by_resignation, end_by_another, end_by_oneself_started_again]
)
def test_changes_nothing_when_it_is_over(store, upkeep, term, write, end):
    prepare, verb = WRITES[write]
    prepare()
    end(store, term)
    before = tables()

    verb(upkeep)

    assert tables() == before
    assert not upkeep.leader_lasts()


def test_of_nobody_does_not_count(store, using):
    nobody = storage.upkeep_on(store.session, using)
    for prepare, _ in WRITES.values():
        prepare()
    before = tables()

    for name, (_, verb) in WRITES.items():
        if not name.startswith("job_schedule"):
            verb(nobody)

    assert tables() == before


class TestLeaderLasts:
    def test_is_true_in_the_term(self, upkeep):
        assert upkeep.leader_lasts()

    def test_is_not_without_a_term(self, store, using):
        assert not storage.upkeep_on(store.session, using).leader_lasts()


class TestLease:
    def test_is_none_without_a_row(self, store, using):
        assert storage.upkeep_on(store.session, using).leader_lease() is None

    def test_is_what_is_left_of_it_whoever_has_it(self, store, using):
        begin_term(store, OTHER)

        assert 3500 < storage.upkeep_on(store.session, using).leader_lease() <= 3600

    def test_is_below_zero_when_it_is_over(self, store, upkeep, term):
        end_by_expiry(store, term)

        assert -3700 < upkeep.leader_lease() <= -3600


@pytest.mark.postgres
class TestStatementAtWork:
    """In a transaction that is left open, as if the server were still at it."""

    @pytest.fixture
    def at_work(self, upkeep):
        _due()
        with upkeep.session.atomic():
            upkeep.job_schedule(10)
            yield

    def test_does_not_keep_its_leader_from_renewing(self, at_work, other_store, term):
        renewed = other_store.leader_renew(term, 2 * HOUR)

        assert renewed.lease.term == term

    def test_is_waited_for_by_the_next_term(self, upkeep, using):
        job, elected = _due(), []
        other = storage.open_storage(using, timeout=20)
        elect = threading.Thread(target=lambda: elected.append(other.leader_elect(OTHER, HOUR)))
        with upkeep.session.atomic():
            upkeep.job_schedule(10)
            end_by_expiry(None, None)
            elect.start()
            wait_until(lambda: waiting_for_locks() == 1)
            assert elected == []
        elect.join(20)
        other.close()

        assert elected[0].leader_id == OTHER
        assert Job.objects.get(pk=job.pk).state == "available"


def waiting_for_locks():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return cursor.fetchone()[0]
