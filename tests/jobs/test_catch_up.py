"""Which runs are made up for when some were missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_river.jobs.catch_up import LONGEST_GRACE, SHORTEST_GRACE, plan, put_back
from django_river.jobs.cron import Cron
from django_river.jobs.schedules import Interval

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
HOURLY = Interval(HOUR)
TENTH = Interval(SECOND / 10)
DAILY = Cron("0 12 * * *", "UTC")


@pytest.mark.parametrize("on_missed", ["skip", "once", "all"])
class TestOnTime:
    def test_a_run_is_enqueued(self, on_missed):
        found = plan(HOURLY, NOON, NOON + SECOND / 100, on_missed=on_missed)

        assert (found.runs, found.next_run_at, found.has_skipped) == ([NOON], NOON + HOUR, False)

    @pytest.mark.parametrize("schedule", [HOURLY, DAILY])
    def test_a_run_may_be_a_minute_late(self, schedule, on_missed):
        assert plan(schedule, NOON, NOON + LONGEST_GRACE, on_missed=on_missed).runs == [NOON]

    def test_frequent_runs_may_be_a_second_late(self, on_missed):
        found = plan(TENTH, NOON, NOON + SHORTEST_GRACE, on_missed=on_missed)

        assert found.runs == [NOON + number * SECOND / 10 for number in range(11)]
        assert found.next_run_at == NOON + 1.1 * SECOND
        assert not found.has_skipped

    def test_the_next_run_may_have_come_meanwhile(self, on_missed):
        found = plan(Interval(10 * SECOND), NOON, NOON + 10 * SECOND, on_missed=on_missed)

        assert found.runs == [NOON, NOON + 10 * SECOND]


class TestAfterThreeDays:
    BACK = NOON + 3 * DAY + HOUR / 2

    def test_all_are_skipped(self):
        found = plan(HOURLY, NOON, self.BACK)

        assert (found.runs, found.has_skipped) == ([], True)
        assert found.next_run_at == NOON + 3 * DAY + HOUR

    def test_one_is_made_up_for(self):
        assert plan(HOURLY, NOON, self.BACK, on_missed="once").runs == [NOON + 3 * DAY]

    def test_none_has_to_be_if_one_is_on_time(self):
        assert plan(HOURLY, NOON, NOON + 3 * DAY + SECOND, on_missed="once").runs == [NOON + 3 * DAY]

    def test_all_are_made_up_for(self):
        found = plan(DAILY, NOON, self.BACK, on_missed="all")

        assert found.runs == [NOON + day * DAY for day in range(4)]
        assert not found.has_skipped

    def test_the_newest_are_made_up_for_to_a_limit(self):
        found = plan(HOURLY, NOON, self.BACK, on_missed="all", max_catch_up=2)

        assert found.runs == [NOON + 71 * HOUR, NOON + 72 * HOUR]
        assert found.has_skipped

    def test_those_on_time_come_on_top(self):
        found = plan(HOURLY, NOON, NOON + 3 * DAY, on_missed="all", max_catch_up=1)

        assert found.runs == [NOON + 71 * HOUR, NOON + 72 * HOUR]

    @pytest.mark.parametrize("on_missed", ["skip", "once"])
    def test_tenths_of_a_second_make_no_burst(self, on_missed):
        assert len(plan(TENTH, NOON, self.BACK, on_missed=on_missed).runs) <= 11


@given(
    every=st.timedeltas(SECOND / 10, DAY),
    late=st.timedeltas(timedelta(0), 10 * DAY),
    on_missed=st.sampled_from(["skip", "once", "all"]),
    limit=st.integers(1, 50),
)
def test_runs_are_on_the_schedule_in_order_and_never_many(every, late, on_missed, limit):
    now = NOON + late
    found = plan(Interval(every), NOON, now, on_missed=on_missed, max_catch_up=limit)

    assert all((run - NOON) % every == timedelta(0) and NOON <= run <= now for run in found.runs)
    assert list(found.runs) == sorted(set(found.runs))
    assert len(found.runs) <= (limit if on_missed == "all" else 0) + 11
    assert now < found.next_run_at <= now + every
    assert found.runs or on_missed == "skip"


class TestPutBack:
    def test_an_interval_begins_anew_in_step(self):
        found = put_back(TENTH, NOON + HOUR, NOON + SECOND / 30)

        assert found == NOON + SECOND / 10

    def test_an_interval_that_is_to_come_anyway_stays(self):
        assert put_back(HOURLY, NOON + HOUR, NOON) is None

    def test_a_time_of_day_has_had_its_run(self):
        assert put_back(DAILY, NOON + 9 * DAY, NOON) is None
