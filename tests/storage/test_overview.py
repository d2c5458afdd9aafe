"""Reads for people: right figures, and a price that does not grow with the jobs that are over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from django_river import storage
from django_river.models import Job
from django_river.storage import overview
from django_river.storage.overview import QueueDepth, TooSlow
from tests.factories import JobFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def people():
    return storage.for_people("default")


class TestQueueDepths:
    def test_counts_what_waits_and_what_runs(self, people):
        JobFactory.create_batch(3, queue="a")
        JobFactory.create_batch(2, queue="a", running=True)
        JobFactory(queue="a", retryable=True)
        JobFactory(queue="a", scheduled=True)
        for over in ("completed", "cancelled", "discarded", "pending"):
            JobFactory(queue="a", **{over: True})
        JobFactory(queue="b")

        depths = people.queue_depths(["a", "b", "c"])

        assert depths["a"][:5] == ("a", 3, 2, 2, True)
        assert depths["b"][:5] == ("b", 1, 0, 0, True)
        assert depths["c"] == QueueDepth("c", 0, 0, 0, True, None)

    def test_the_oldest_is_the_oldest_of_all_priorities(self, people):
        for priority, minutes in ((1, 1), (2, 5), (4, 3)):
            at = timezone.now() - timedelta(minutes=minutes)
            JobFactory(queue="a", priority=priority, scheduled_at=at)

        assert people.queue_depths(["a"])["a"].waiting_seconds == pytest.approx(300, abs=5)

    def test_a_job_that_is_not_due_for_a_moment_has_waited_no_time(self, people):
        JobFactory(queue="a", scheduled_at=timezone.now() + timedelta(seconds=4))

        assert people.queue_depths(["a"])["a"].waiting_seconds == 0

    def test_counts_stop_at_their_limits(self, people, monkeypatch):
        module = type(people).__module__
        monkeypatch.setattr(f"{module}.AVAILABLE_LIMIT", 2)
        monkeypatch.setattr(f"{module}.LATER_LIMIT", 3)
        JobFactory.create_batch(3, queue="a")
        JobFactory.create_batch(4, queue="a", scheduled=True)

        assert people.queue_depths(["a"])["a"][:5] == ("a", 2, 0, 3, False)

    def test_no_names_no_depths(self, people):
        assert people.queue_depths([]) == {}


def test_the_load_of_a_client_is_what_it_runs_now(people):
    JobFactory.create_batch(2, running=True, attempted_by=["left", "one"])
    JobFactory(running=True, attempted_by=["two"])
    JobFactory(running=True, attempted_by=None)
    JobFactory(completed=True, attempted_by=["one"])

    assert people.client_loads() == {"one": 2, "two": 1}


@pytest.mark.postgres
def test_the_estimate_comes_from_the_statistics(people):
    JobFactory.create_batch(7)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE river_job")

    assert people.job_estimate() == 7


@pytest.mark.postgres
def test_there_is_no_estimate_before_the_first_statistics(people):
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE river_job")

    assert people.job_estimate() is None


@pytest.mark.sqlite
def test_sqlite_has_no_estimate(people):
    assert people.job_estimate() is None


class TestTimeLimit:
    def test_stops_what_takes_too_long(self, people):
        with pytest.raises(TooSlow, match=r"stopped after 0\.05 s"), people.time_limit(0.05):
            _think()

    def test_is_over_afterwards(self, people):
        with people.time_limit(0.5):
            Job.objects.count()

        assert _think(steps=3_000_000) > 0

    def test_is_over_after_an_error(self, people):
        with pytest.raises(TooSlow), people.time_limit(0.02):
            _think()

        assert _think(steps=500_000) > 0

    def test_leaves_other_errors_as_they_are(self, people):
        with pytest.raises(LookupError, match="mine"), people.time_limit(1):
            raise LookupError("mine")

    def test_leaves_other_errors_of_the_database_as_they_are(self, people):
        with pytest.raises(OperationalError, match="mine"), people.time_limit(1):
            raise OperationalError("mine")


@pytest.mark.postgres
class TestPlans:
    """On 20,000 finished jobs and few others, nothing reads what is over."""

    @pytest.fixture(autouse=True)
    def _jobs(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO river_job (state, finalized_at, kind, args, queue) "
                "SELECT 'completed', now(), 'tests.work', '{}', 'default' FROM generate_series(1, 20000)"
            )
            for state in ("available", "running", "scheduled"):
                cursor.execute(
                    "INSERT INTO river_job (state, kind, args, queue) "
                    "SELECT %s::river_job_state, 'tests.work', '{}', 'default' FROM generate_series(1, 20)",
                    [state],
                )
            cursor.execute("ANALYZE river_job")

    @pytest.mark.parametrize(
        ("statement", "params"),
        [
            ("queue_depths", {"names": ["default", "other"], "available_limit": 100, "later_limit": 100}),
            ("client_loads", {}),
        ],
    )
    def test_every_part_goes_by_a_partial_index(self, people, statement, params):
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {people.statements[statement]}", params)
            plan = "\n".join(line for (line,) in cursor.fetchall())

        assert "Seq Scan on river_job" not in plan
        assert "django_river_job_" in plan
        assert "river_job_pkey" not in plan


def test_limits_are_what_the_figures_mean():
    assert overview.AVAILABLE_LIMIT < overview.LATER_LIMIT


def _think(*, steps: int = 50_000_000) -> int:
    """Keep the database busy: for many seconds, or for a tenth of one."""
    sql = "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < %s) SELECT sum(n) FROM t"
    with connection.cursor() as cursor:
        cursor.execute(sql, [steps])
        ((total,),) = cursor.fetchall()
        return total
