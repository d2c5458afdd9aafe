"""Jobs of clients that are gone run again; those of living clients are left alone, however long they take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from django_river.jobs.states import State
from django_river.models import Job
from tests.factories import ClientFactory, JobFactory, error
from tests.storage.steps import HOUR, ME, OTHER, claim, row, run, settle

DAY = timedelta(days=1)
LONG_AGO = {"running": True, "created_at": timezone.now() - 2 * DAY, "attempted_at": timezone.now() - DAY}


def lost(**given) -> Job:
    """A job that a client took long ago."""
    return JobFactory(**LONG_AGO | given)


def rescue(upkeep, *, kinds=("tests.work",), limit=100, poison_after=99):
    return upkeep.job_rescue(
        rescue_after=HOUR,
        client_timeout=timedelta(minutes=1),
        poison_after=poison_after,
        known_kinds=list(kinds),
        limit=limit,
    )


class TestWhatIsRescued:
    def test_is_a_job_of_a_client_nobody_knows(self, upkeep):
        job = lost(queue="other", kind="shop.send")

        assert rescue(upkeep) == [(job.id, "shop.send", "other", "retryable", "", False)]

    def test_is_a_job_of_a_client_that_has_fallen_silent(self, upkeep):
        ClientFactory(id=ME, stale=True)
        job = lost(attempted_by=[ME])

        assert [rescued.id for rescued in rescue(upkeep)] == [job.id]

    def test_is_no_job_of_a_living_client(self, upkeep):
        ClientFactory(id=ME)
        job = lost(attempted_by=[OTHER, ME])

        assert rescue(upkeep) == []
        assert row(job).state == "running"

    def test_is_a_job_whose_living_client_is_not_the_last_to_have_it(self, upkeep):
        ClientFactory(id=ME)
        job = lost(attempted_by=[ME, OTHER], attempt=2)

        assert [rescued.id for rescued in rescue(upkeep)] == [job.id]

    def test_is_no_job_that_began_a_moment_ago(self, upkeep, store):
        run(store)

        assert rescue(upkeep) == []

    def test_is_a_job_that_no_client_put_its_name_to(self, upkeep):
        jobs = [lost(attempted_by=None), lost(attempted_by=[]), lost(attempted_by=None, attempted_at=None)]

        assert [rescued.id for rescued in rescue(upkeep)] == [job.id for job in jobs]

    @pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
    def test_is_no_job_that_does_not_run(self, upkeep, state):
        JobFactory(state=state, attempt=1, attempted_at=timezone.now() - DAY)

        assert rescue(upkeep) == []

    def test_is_not_what_somebody_is_settling(self, upkeep, store, other_store):
        if not store.can_notify:
            pytest.skip("one writer at a time")
        settled, other = lost(attempted_by=[OTHER]), lost()

        with other_store.session.atomic():
            settle(other_store, settled, client_id=OTHER)
            assert [rescued.id for rescued in rescue(upkeep)] == [other.id]
        assert row(settled).state == "completed"


class TestWhatBecomesOfIt:
    def test_is_retried_at_once(self, upkeep, store):
        job = lost(attempt=2, max_attempts=3)

        rescue(upkeep)

        after = row(job)
        assert (after.state, after.attempt, after.finalized_at) == ("retryable", 2, None)
        assert upkeep.job_seconds_until_due() <= 0
        upkeep.job_schedule(10)
        assert claim(store)[0].attempt == 3

    def test_says_so_in_its_errors(self, upkeep):
        job = lost(attempted_by=[OTHER, ME], attempt=2, errors=[error(1)])

        rescue(upkeep)

        _, entry = row(job).errors
        at = datetime.fromisoformat(entry.pop("at"))
        assert at == job.attempted_at.astimezone(UTC)
        assert entry == {"attempt": 2, "error": f"rescued: client {ME} is gone", "trace": ""}

    def test_has_a_time_in_its_errors_even_if_nobody_noted_one(self, upkeep):
        job = lost(attempted_by=None, attempted_at=None)

        rescue(upkeep)

        entry = row(job).errors[-1]
        assert datetime.fromisoformat(entry["at"]) == job.created_at
        assert entry["error"] == "rescued: client unknown is gone"

    @pytest.mark.parametrize("attempt", [3, 4])
    def test_is_discarded_at_the_last_attempt(self, upkeep, attempt):
        job = lost(attempt=attempt, max_attempts=3)

        assert rescue(upkeep)[0].state == "discarded"
        assert row(job).finalized_at is not None

    def test_is_never_discarded_if_its_kind_is_unknown(self, upkeep):
        job = lost(attempt=3, max_attempts=3)

        assert rescue(upkeep, kinds=["another"]) == []
        assert row(job).state == "running"

    def test_is_retried_if_its_kind_is_unknown(self, upkeep):
        lost(attempt=2, max_attempts=3)

        assert rescue(upkeep, kinds=[])[0].state == "retryable"

    @pytest.mark.parametrize("kinds", [[], ["tests.work"]])
    @pytest.mark.parametrize("attempt", [1, 3])
    def test_is_cancelled_if_that_was_asked_for(self, upkeep, attempt, kinds):
        job = lost(attempt=attempt, max_attempts=3, metadata={"cancel_attempted_at": "2026-01-01T00:00:00Z"})

        assert rescue(upkeep, kinds=kinds)[0].state == "cancelled"
        assert row(job).finalized_at is not None

    def test_refuses_the_late_result_of_the_lost_attempt(self, upkeep, store):
        job = run(store)
        Job.objects.update(attempted_at=F("attempted_at") - DAY)
        rescue(upkeep)

        assert settle(store, job) is None
        assert row(job).state == "retryable"


class TestCount:
    @pytest.mark.parametrize(
        ("before", "after"),
        [({}, 1), ({"a": 1}, 1), ({"river:rescue_count": 1}, 2), ({"river:rescue_count": 41}, 42)],
    )
    def test_goes_up(self, upkeep, before, after):
        job = lost(metadata=before)

        rescue(upkeep)

        assert row(job).metadata == before | {"river:rescue_count": after}

    @pytest.mark.parametrize("malformed", ["one", None, [3], {"n": 3}, True], ids=str)
    def test_begins_anew_where_it_was_malformed(self, upkeep, malformed):
        job = lost(metadata={"a": 1, "river:rescue_count": malformed})

        rescue(upkeep)

        assert row(job).metadata == {"a": 1, "river:rescue_count": 1}

    @pytest.mark.parametrize("odd", [1e30, -5, 0.5, 10**25, 2**63 - 1], ids=str)
    def test_copes_with_odd_numbers(self, upkeep, odd):
        job = lost(metadata={"river:rescue_count": odd})

        rescue(upkeep)

        assert row(job).metadata["river:rescue_count"] == pytest.approx(odd + 1)

    @pytest.mark.parametrize("malformed", [[], [1], "text", 5], ids=str)
    def test_is_written_where_metadata_was_no_object(self, upkeep, malformed):
        job = lost(metadata=malformed)

        rescue(upkeep)

        assert row(job).metadata == {"river:rescue_count": 1}


class TestPage:
    def test_is_bounded(self, upkeep):
        jobs = [lost() for _ in range(3)]

        assert [rescued.id for rescued in rescue(upkeep, limit=2)] == [job.id for job in jobs[:2]]
        assert [rescued.id for rescued in rescue(upkeep, limit=2)] == [jobs[2].id]

    def test_is_not_filled_by_what_cannot_be_rescued(self, upkeep):
        ClientFactory(id=ME)
        for _ in range(5):
            lost(attempted_by=[ME])
            lost(kind="unknown", attempt=3, max_attempts=3)
            JobFactory(running=True)
        job = lost()

        assert [rescued.id for rescued in rescue(upkeep, limit=1)] == [job.id]


class TestPoison:
    def test_is_discarded_after_so_many_clients(self, upkeep):
        job, other = lost(metadata={"river:rescue_count": 2}), lost(metadata={"river:rescue_count": 1})
        poison, spared = rescue(upkeep, poison_after=3)

        assert (poison.id, poison.state, poison.is_poison) == (job.id, "discarded", True)
        assert (spared.id, spared.state, spared.is_poison) == (other.id, "retryable", False)
        assert row(job).errors[-1]["error"].endswith("; quarantined: clients lost with this job: 3")
        assert row(job).finalized_at is not None

    def test_of_an_unknown_kind_is_left_to_those_who_know_it(self, upkeep):
        lost(metadata={"river:rescue_count": 9})

        assert rescue(upkeep, kinds=[], poison_after=3)[0].state == "retryable"

    def test_is_cancelled_if_that_was_asked_for(self, upkeep):
        lost(metadata={"river:rescue_count": 9, "cancel_attempted_at": "2026-01-01T00:00:00Z"})

        assert rescue(upkeep, poison_after=3)[0].state == "cancelled"


class TestLostClient:
    @pytest.mark.parametrize(
        ("why", "text"),
        [
            ("client_lost", f"ClientLost: client lost: {ME}"),
            ("client_stale", f"ClientStale: client lost: not heard of for long: {ME}"),
        ],
    )
    def test_loses_jobs_of_any_age(self, upkeep, store, why, text):
        job = run(store)
        ClientFactory(id=ME, lost_at=timezone.now(), lost_why=why)

        (rescued,) = rescue(upkeep)
        assert (rescued.id, rescued.why) == (job.id, why)
        assert row(job).errors[-1]["error"] == text

    def test_keeps_what_it_was_not_the_last_to_have(self, upkeep):
        ClientFactory(id=ME, lost_at=timezone.now(), lost_why="client_lost")
        ClientFactory(id=OTHER)
        lost(attempted_by=[ME, OTHER], attempt=2)

        assert rescue(upkeep) == []

    def test_keeps_what_it_has_claimed_since(self, upkeep, store):
        """It was frozen, and goes on a moment before it says so."""
        ClientFactory(id=ME, lost_at=timezone.now() - timedelta(seconds=5), lost_why="client_stale")
        run(store)

        assert rescue(upkeep) == []

    def test_loses_that_too_if_it_does_not_come_back(self, upkeep):
        began = timezone.now() - timedelta(minutes=2)
        ClientFactory(id=ME, lost_at=began - timedelta(minutes=1), lost_why="client_stale")
        job = JobFactory(running=True, created_at=began, attempted_at=began, attempted_by=[ME])

        assert [rescued.id for rescued in rescue(upkeep)] == [job.id]

    def test_loses_nothing_once_it_is_back(self, upkeep, store):
        run(store)
        ClientFactory(id=ME, lost_at=None, lost_why="")

        assert rescue(upkeep) == []
