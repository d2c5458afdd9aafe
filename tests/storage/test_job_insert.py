"""Jobs are stored as they were asked for, and unique ones once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, IntegrityError, connection

from django_river.models import Job
from django_river.storage.postgres.driver import COPY_FROM
from tests.factories import JobFactory
from tests.storage.steps import HOUR, claim, insert, new, row, unique


@pytest.fixture
def store(any_store):
    return any_store


LONG_AGO = datetime(476, 9, 4, 12, tzinfo=UTC)


class TestOneJob:
    def test_stores_what_was_asked_for(self, store):
        inserted = insert(
            store,
            kind="shop.send",
            args=b'{"order_id":7}',
            queue="other",
            priority=3,
            max_attempts=4,
            metadata=b'{"trace":"abc"}',
            tags=("eu", "paid"),
        )

        job = row(inserted)
        assert (job.kind, job.args, job.queue, job.priority) == ("shop.send", {"order_id": 7}, "other", 3)
        assert (job.max_attempts, job.metadata, job.tags) == (4, {"trace": "abc"}, ["eu", "paid"])
        assert (job.attempt, job.attempted_at, job.attempted_by, job.errors) == (0, None, None, None)
        assert (job.unique_key, job.unique_states, job.finalized_at) == (None, None, None)

    @pytest.mark.parametrize("notify", [(), ("default",)])
    @pytest.mark.parametrize(
        "extras", [{}, {"tags": ("eu", "paid")}, {"metadata": b'{"trace":"abc"}'}], ids=str
    )
    def test_is_stored_alike_where_the_queue_is_known_to_be_open(self, store, extras, notify):
        usual = row(insert(store, **extras))

        (inserted,) = store.job_insert_many([new(**extras)], notify=notify, are_open=True)

        quick = row(inserted)
        assert inserted == (quick.id, "available", 0, quick.scheduled_at, quick.created_at, False, 25)
        differing = {"id", "scheduled_at", "created_at"}
        for field in Job._meta.concrete_fields:
            if field.attname not in differing:
                assert getattr(quick, field.attname) == getattr(usual, field.attname), field.attname

    def test_answers_what_it_stored(self, store):
        inserted = insert(store)

        job = row(inserted)
        assert inserted == (job.id, "available", 0, job.scheduled_at, job.created_at, False, 25)
        assert job.scheduled_at == job.created_at

    def test_is_due_now_by_default(self, store):
        before = datetime.now(UTC)

        inserted = insert(store)

        assert before - timedelta(seconds=5) < inserted.scheduled_at < before + timedelta(seconds=5)

    def test_waits_for_a_moment(self, store):
        moment = datetime.now(UTC) + HOUR

        inserted = insert(store, scheduled_at=moment)

        assert (inserted.state, row(inserted).state, row(inserted).scheduled_at) == (
            "scheduled",
            "scheduled",
            moment,
        )

    def test_waits_for_a_span(self, store):
        inserted = insert(store, delay=HOUR)

        assert inserted.state == "scheduled"
        assert inserted.scheduled_at - inserted.created_at == HOUR

    @pytest.mark.parametrize("past", [{"scheduled_at": LONG_AGO}, {"delay": -HOUR}, {"delay": timedelta(0)}])
    def test_in_the_past_is_available_at_once(self, store, past):
        inserted = insert(store, **past)

        assert inserted.state == "available"
        assert inserted.scheduled_at == past.get(
            "scheduled_at", inserted.created_at + past.get("delay", HOUR)
        )
        assert [job.id for job in claim(store)] == [inserted.id]

    def test_a_moment_long_ago_comes_first(self, store):
        late, early = insert(store), insert(store, scheduled_at=LONG_AGO)

        assert [claim(store, 1)[0].id for _ in range(2)] == [early.id, late.id]

    @pytest.mark.parametrize("when", [{}, {"delay": HOUR}, {"delay": -HOUR}])
    def test_parked_is_pending_whenever_it_is_due(self, store, when):
        inserted = insert(store, pending=True, **when)

        assert (inserted.state, row(inserted).state) == ("pending", "pending")
        assert claim(store) == []

    def test_keeps_json_that_is_hard_to_keep(self, store):
        args = '{"é\\"\\\\n😀":[1.5,-0.25,9007199254740993,null,true,"\\u0007 ሴ"],"":{}}'.encode()

        inserted = insert(store, args=args, metadata=args)

        value = {'é"\\n😀': [1.5, -0.25, 9007199254740993, None, True, "\x07 ሴ"], "": {}}
        assert row(inserted).args == row(inserted).metadata == value

    @pytest.mark.parametrize(
        "wrong",
        [
            {"priority": 0},
            {"priority": 5},
            {"max_attempts": 0},
            {"kind": ""},
            {"kind": "k" * 128},
            {"queue": ""},
            {"queue": "q" * 128},
        ],
        ids=str,
    )
    def test_the_table_refuses_what_river_forbids(self, store, wrong):
        with pytest.raises(IntegrityError):
            insert(store, **wrong)

        assert not Job.objects.exists()

    @pytest.mark.postgres
    def test_the_table_refuses_what_is_no_json(self, store):
        with pytest.raises(DataError):
            insert(store, args=b'{"text":"\\u0000"}')


class TestManyJobs:
    @pytest.mark.parametrize("count", [1, 2, 30, COPY_FROM, COPY_FROM + 1])
    def test_answers_in_the_order_of_the_question(self, store, count):
        inserted = store.job_insert_many([new(args=b'{"n":%d}' % number) for number in range(count)])

        args = dict(Job.objects.values_list("id", "args"))
        assert [args[job.id] for job in inserted] == [{"n": number} for number in range(count)]
        assert [job.id for job in inserted] == sorted(args)

    def test_mixes_what_is_due_at_different_times(self, store):
        moment = datetime.now(UTC) + HOUR
        jobs = [new(), new(delay=HOUR), new(scheduled_at=moment), new(pending=True), new(delay=-HOUR)]

        inserted = store.job_insert_many(jobs)

        assert [job.state for job in inserted] == [
            "available",
            "scheduled",
            "scheduled",
            "pending",
            "available",
        ]
        assert inserted[1].scheduled_at - inserted[1].created_at == HOUR
        assert inserted[2].scheduled_at == moment
        assert [row(job).state for job in inserted] == [job.state for job in inserted]

    def test_keeps_every_jobs_own_options(self, store):
        jobs = [
            new(kind="a", tags=("x", "y-z"), priority=1, metadata=b'{"m":1}', queue="one", max_attempts=1),
            new(kind="b", tags=(), priority=4, metadata=b"{}", queue="two", max_attempts=32767),
        ]

        first, second = map(row, store.job_insert_many(jobs))

        assert (first.kind, first.tags, first.priority, first.metadata) == ("a", ["x", "y-z"], 1, {"m": 1})
        assert (second.kind, second.tags, second.priority, second.metadata) == ("b", [], 4, {})
        assert (first.queue, first.max_attempts, second.queue, second.max_attempts) == (
            "one",
            1,
            "two",
            32767,
        )

    def test_is_all_or_nothing(self, store):
        with pytest.raises(IntegrityError):
            store.job_insert_many([new(), new(priority=9), new()])

        assert not Job.objects.exists()

    def test_of_none_stores_none(self, store):
        assert store.job_insert_many([]) == []


class TestUniqueJobs:
    def test_stores_key_and_states(self, store):
        inserted = insert(store, **unique("a"))

        job = row(inserted)
        assert not inserted.skipped
        assert (bytes(job.unique_key), job.unique_states) == (b"a".ljust(32, b"."), 245)

    @pytest.mark.parametrize(
        "state", ["available", "completed", "pending", "retryable", "running", "scheduled"]
    )
    def test_are_skipped_while_another_holds_the_key(self, store, state):
        holder = JobFactory(**unique("a"), state=state)

        inserted = insert(store, **unique("a"), kind="another", queue="another")

        holder.refresh_from_db()
        assert inserted[:6] == (
            holder.id,
            state,
            holder.attempt,
            holder.scheduled_at,
            holder.created_at,
            True,
        )
        assert (Job.objects.count(), holder.kind, holder.queue) == (1, "tests.work", "default")

    @pytest.mark.parametrize("state", ["cancelled", "discarded"])
    def test_are_stored_when_the_other_has_let_the_key_go(self, store, state):
        JobFactory(**unique("a"), state=state)

        assert not insert(store, **unique("a")).skipped

    def test_obey_the_states_of_the_holder(self, store):
        JobFactory(**unique("a") | {"unique_states": 255}, state="discarded")

        assert insert(store, **unique("a")).skipped

    def test_twins_in_one_batch_are_stored_once(self, store):
        jobs = [new(**unique("a")), new(), new(**unique("b")), new(**unique("a")), new(**unique("b"))]

        inserted = store.job_insert_many(jobs)

        assert [job.skipped for job in inserted] == [False, False, False, True, True]
        assert (inserted[3].id, inserted[4].id) == (inserted[0].id, inserted[2].id)
        assert Job.objects.count() == 3

    @pytest.mark.parametrize("count", [2, COPY_FROM])
    def test_a_batch_of_duplicates_answers_with_the_holders(self, store, count):
        jobs = [new(**unique(str(number))) for number in range(count)]
        first = store.job_insert_many(jobs)

        again = store.job_insert_many(list(reversed(jobs)))

        assert [job.id for job in again] == [job.id for job in reversed(first)]
        assert all(job.skipped for job in again)

    @pytest.mark.postgres
    def test_a_batch_of_duplicates_costs_two_statements(self, store, monkeypatch):
        jobs = [new(**unique(str(number))) for number in range(50)]
        store.job_insert_many(jobs)
        ran = []
        execute = store.session.execute
        monkeypatch.setattr(
            store.session, "execute", lambda sql, params: ran.append(sql) or execute(sql, params)
        )

        store.job_insert_many(jobs)

        assert len(ran) == 2

    def test_without_a_key_are_never_duplicates(self, store):
        store.job_insert_many([new(unique_states=245), new(unique_states=245)])

        assert Job.objects.count() == 2


def test_ids_go_on_after_a_batch(store):
    """COPY draws its ids from the sequence that single inserts use."""
    last = store.job_insert_many([new() for _ in range(COPY_FROM)])[-1]

    assert insert(store).id > last.id


@pytest.mark.postgres
def test_the_moment_of_an_insert_is_not_that_of_its_transaction(django_store):
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        (began_at,) = cursor.fetchone()

    assert insert(django_store).created_at > began_at
