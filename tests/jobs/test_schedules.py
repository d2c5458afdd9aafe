"""Schedules: intervals that do not drift, and the texts that stand for either kind."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_river.jobs.cron import ALLOWED, Cron
from django_river.jobs.schedules import Interval, check_interval, check_timezone, parse_cron

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


class TestInterval:
    def test_begins_an_interval_from_now(self):
        assert Interval(5 * SECOND).first(NOON, start_at=None) == NOON + 5 * SECOND

    def test_begins_at_its_start(self):
        later = NOON + timedelta(days=1)

        assert Interval(5 * SECOND).first(NOON, start_at=later) == later

    def test_is_counted_from_a_start_that_is_over(self):
        start = NOON - timedelta(seconds=12)

        assert Interval(5 * SECOND).first(NOON, start_at=start) == NOON + 3 * SECOND

    def test_does_not_drift_by_a_microsecond_in_a_year_of_tenths(self):
        tenth = Interval(timedelta(milliseconds=100))
        year_later = NOON + timedelta(days=365) + timedelta(microseconds=1)

        assert tenth.after(year_later, anchor=NOON) == NOON + timedelta(days=365, milliseconds=100)

    @given(
        anchor=MOMENTS, moment=MOMENTS, every=st.timedeltas(timedelta(milliseconds=100), timedelta(days=9))
    )
    def test_the_next_run_is_the_first_after_a_moment(self, anchor, moment, every):
        found = Interval(every).after(moment, anchor=anchor)

        assert moment < found <= moment + every
        assert (found - anchor) % every == timedelta(0)

    def test_due_are_all_from_the_planned_run_to_now(self):
        assert Interval(SECOND).due(NOON - 2 * SECOND, NOON, 10) == [NOON - 2 * SECOND, NOON - SECOND, NOON]

    def test_due_are_the_newest_if_there_are_many(self):
        assert Interval(SECOND).due(NOON - timedelta(days=3), NOON, 2) == [NOON - SECOND, NOON]


class TestParse:
    def test_reads_five_fields_in_the_zone_given(self):
        found = parse_cron("  0  3 * * * ", timezone="Europe/Paris")

        assert isinstance(found, Cron)
        assert (found.expression, found.timezone) == ("0 3 * * *", "Europe/Paris")

    @pytest.mark.parametrize("prefix", ["TZ", "CRON_TZ"])
    def test_takes_a_zone_in_front(self, prefix):
        found = parse_cron(f"{prefix}=Asia/Tokyo @daily", timezone="UTC")

        assert (found.expression, found.timezone) == ("@daily", "Asia/Tokyo")

    @pytest.mark.parametrize(
        ("text", "every"),
        [
            ("@every 1h30m", timedelta(hours=1, minutes=30)),
            ("@every 90s", timedelta(seconds=90)),
            ("@every 1.5h", timedelta(minutes=90)),
            ("@every 1m500ms500ms", timedelta(seconds=61)),
            ("TZ=Asia/Tokyo @every 5m", timedelta(minutes=5)),
        ],
    )
    def test_reads_spans_as_go_writes_them(self, text, every):
        assert parse_cron(text, timezone="UTC") == Interval(every)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("* * *", "3 fields instead of five"),
            ("@every 5", "@every takes a duration such as 90s, 5m or 1h30m, got '5'"),
            ("@every -5m", "@every takes a duration such as 90s, 5m or 1h30m, got '-5m'"),
            ("@every 1d", "@every takes a duration such as 90s, 5m or 1h30m, got '1d'"),
            ("@every 250ms", "@every takes whole seconds, got '250ms'; say every=timedelta(…) for less"),
            ("@every 0s", "@every takes whole seconds, got '0s'; say every=timedelta(…) for less"),
            ("@every 99999999h", "@every takes no more than ten years, got '99999999h'"),
            (
                "TZ=Mars/Base 0 3 * * *",
                "timezone must be a name of the IANA database, such as 'Europe/Paris' or 'UTC', got 'Mars/Base'",
            ),
        ],
    )
    def test_says_why_not_and_what_is_allowed(self, text, why):
        message = f"cron {text!r}: {why}; {ALLOWED}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            parse_cron(text, timezone="UTC")


@pytest.mark.parametrize("name", ["", "Local", "localtime", "Mars/Base", "../etc/passwd", "Europe", None, 1])
def test_a_time_zone_must_mean_the_same_everywhere(name):
    with pytest.raises(ValueError, match="timezone must be a name of the IANA database"):
        check_timezone(name)


@pytest.mark.parametrize("every", [timedelta(milliseconds=99), timedelta(0), -SECOND, timedelta(days=4000)])
def test_an_interval_must_be_one_that_can_be_kept(every):
    with pytest.raises(ValueError, match="every must be from 100 ms to ten years"):
        check_interval(every)
