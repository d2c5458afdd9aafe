"""Cron expressions: River's syntax to the letter, and clocks that are put forward and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_river.jobs.cron import ALLOWED, DESCRIPTORS, FIELDS, Cron, Fields

NEW_YORK = "America/New_York"
LORD_HOWE = "Australia/Lord_Howe"
CASABLANCA = "Africa/Casablanca"
SAO_PAULO = "America/Sao_Paulo"
MINUTE = timedelta(minutes=1)


def runs(expression, zone, since, until):
    """All runs between two clock times of a zone, as its clock shows them: ``08 03:00 -4``."""
    cron, end = Cron(expression, zone), instant(until, zone)
    found, moment = [], instant(since, zone)
    while (moment := cron.after(moment)) <= end:
        found.append(shown(moment, zone))
    return found


def instant(text, zone):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def shown(moment, zone):
    local = moment.astimezone(ZoneInfo(zone))
    return f"{local:%d %H:%M} {local.utcoffset() / timedelta(hours=1):+g}"


class TestSyntax:
    @pytest.mark.parametrize(
        ("expression", "plainly"),
        [
            ("* * * * *", "* * * * *"),
            ("? ? ? ? ?", "* * * * *"),
            ("*/20 * * * *", "0,20,40 * * * *"),
            ("5/20 * * * *", "5,25,45 * * * *"),
            ("1-5/2,30 0-3 * * *", "1,3,5,30 0,1,2,3 * * *"),
            ("0 9 * jan-Mar MON,wed", "0 9 * 1,2,3 1,3"),
            ("0 0 1,15 * 1", "0 0 1,15 * 1"),
            # A day of month that is every day, though it does not say so, makes "either" every day …
            ("0 0 1-31 * 1", "0 0 * * *"),
            # … and so does a step, but a star leaves the choice to the other field.
            ("0 0 */1 * 1", "0 0 * * 1"),
            ("0 0 */2 * ?", f"0 0 {','.join(map(str, range(1, 32, 2)))} * *"),
            ("*/90 * * * *", "0 * * * *"),
            ("1,,2, * * * *", "1,2 * * * *"),
            ("007 * * * *", "7 * * * *"),
        ],
    )
    def test_means_what_river_means(self, expression, plainly):
        assert str(Fields.parse(expression)) == plainly

    @pytest.mark.parametrize(("descriptor", "fields"), DESCRIPTORS.items())
    def test_knows_descriptors(self, descriptor, fields):
        assert str(Fields.parse(descriptor)) == str(Fields.parse(fields))

    @pytest.mark.parametrize(
        ("expression", "why"),
        [
            ("0 9 * * 7", "day of week must be from 0 to 6, got '7'"),
            ("* * * * * *", "6 fields instead of five"),
            ("", "0 fields instead of five"),
            ("30", "1 field instead of five"),
            ("@reboot", "@reboot is not known"),
            ("@Daily", "@Daily is not known"),
            ("@every", "@every is not known"),
            ("60 * * * *", "minute must be from 0 to 59, got '60'"),
            ("* 24 * * *", "hour must be from 0 to 23, got '24'"),
            ("* * 0 * *", "day of month must be from 1 to 31, got '0'"),
            ("* * * 13 *", "month must be from 1 to 12, got '13'"),
            ("5-1 * * * *", "minute must have ranges from low to high, got '5-1'"),
            ("* * * * FRI-SUN", "day of week must have ranges from low to high, got 'FRI-SUN'"),
            ("*/0 * * * *", "minute must have a step above 0, got '*/0'"),
            ("*/x * * * *", "minute cannot be '*/x'"),
            ("1-2-3 * * * *", "minute cannot be '1-2-3'"),
            ("1/2/3 * * * *", "minute cannot be '1/2/3'"),
            ("*-5 * * * *", "minute cannot be '*-5'"),
            ("-5 * * * *", "minute cannot be '-5'"),
            ("\u0661 * * * *", "minute cannot be '\u0661'"),
            (", * * * *", "minute must not be empty, got ','"),
            ("0 9 L * *", "day of month cannot be 'L'"),
            ("0 9 15W * *", "day of month cannot be '15W'"),
            ("0 9 * * 5#2", "day of week cannot be '5#2'"),
            ("H * * * *", "minute cannot be 'H'"),
            ("0 9 * MONDAY *", "month cannot be 'MONDAY'"),
            ("0 0 31 2,4 *", "no month has such a day"),
            ("0 0 30 2 *", "no month has such a day"),
        ],
    )
    def test_refuses_what_river_refuses(self, expression, why):
        with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
            Cron(expression, "UTC")

    def test_says_what_is_allowed(self):
        assert all(descriptor in ALLOWED for descriptor in DESCRIPTORS)
        assert all(f"{field.name} {field.low}-{field.high}" in ALLOWED for field in FIELDS)


class TestClockPutForward:
    def test_a_time_that_is_left_out_runs_at_the_next_minute_there_is(self):
        assert runs("30 2 * * *", NEW_YORK, "2026-03-07", "2026-03-10") == [
            "07 02:30 -5",
            "08 03:00 -4",
            "09 02:30 -4",
        ]

    def test_several_of_them_run_once(self):
        assert runs("0,15,30 2,3 * * *", NEW_YORK, "2026-03-08", "2026-03-09") == [
            "08 03:00 -4",
            "08 03:15 -4",
            "08 03:30 -4",
        ]

    def test_intervals_go_on(self):
        assert runs("*/30 * * * *", NEW_YORK, "2026-03-08 01:00", "2026-03-08 04:00") == [
            "08 01:30 -5",
            "08 03:00 -4",
            "08 03:30 -4",
            "08 04:00 -4",
        ]

    def test_every_hour_leaves_one_out_that_is_left_out(self):
        assert runs("30 * * * *", NEW_YORK, "2026-03-08 01:00", "2026-03-08 05:00") == [
            "08 01:30 -5",
            "08 03:30 -4",
            "08 04:30 -4",
        ]

    def test_midnight_may_be_left_out(self):
        assert runs("0 0 * * *", SAO_PAULO, "2018-11-02 12:00", "2018-11-05 12:00") == [
            "03 00:00 -3",
            "04 01:00 -2",
            "05 00:00 -2",
        ]

    def test_half_an_hour_may_be_left_out(self):
        assert runs("15 2 * * *", LORD_HOWE, "2026-10-03", "2026-10-06") == [
            "03 02:15 +10.5",
            "04 02:30 +11",
            "05 02:15 +11",
        ]

    def test_a_day_may_be_left_out(self):
        assert runs("0 12 * * *", "Pacific/Apia", "2011-12-29", "2012-01-01") == [
            "29 12:00 -10",
            "31 00:00 +14",
            "31 12:00 +14",
        ]

    def test_the_end_of_ramadan(self):
        assert runs("30 2 * * *", CASABLANCA, "2026-03-21", "2026-03-24") == [
            "21 02:30 +0",
            "22 03:00 +1",
            "23 02:30 +1",
        ]


class TestClockPutBack:
    def test_a_time_that_comes_twice_runs_once(self):
        assert runs("30 1 * * *", NEW_YORK, "2026-10-31", "2026-11-03") == [
            "31 01:30 -4",
            "01 01:30 -4",
            "02 01:30 -5",
        ]

    def test_intervals_run_every_real_half_hour(self):
        assert runs("*/30 * * * *", NEW_YORK, "2026-11-01 00:30", "2026-11-01 02:00") == [
            "01 01:00 -4",
            "01 01:30 -4",
            "01 01:00 -5",
            "01 01:30 -5",
            "01 02:00 -5",
        ]

    def test_so_do_intervals_at_some_hours(self):
        assert runs("*/30 1-2 * * *", NEW_YORK, "2026-11-01", "2026-11-02") == [
            "01 01:00 -4",
            "01 01:30 -4",
            "01 01:00 -5",
            "01 01:30 -5",
            "01 02:00 -5",
            "01 02:30 -5",
        ]

    def test_every_hour_is_every_real_hour(self):
        assert runs("@hourly", NEW_YORK, "2026-11-01 00:30", "2026-11-01 02:00") == [
            "01 01:00 -4",
            "01 01:00 -5",
            "01 02:00 -5",
        ]

    def test_half_an_hour_may_come_twice(self):
        assert runs("*/15 * * * *", LORD_HOWE, "2026-04-05 01:20", "2026-04-05 02:00") == [
            "05 01:30 +11",
            "05 01:45 +11",
            "05 01:30 +10.5",
            "05 01:45 +10.5",
            "05 02:00 +10.5",
        ]
        assert runs("45 1 * * *", LORD_HOWE, "2026-04-05", "2026-04-06") == ["05 01:45 +11"]

    def test_midnight_may_come_twice(self):
        assert runs("30 23 * * *", SAO_PAULO, "2019-02-16", "2019-02-18") == ["16 23:30 -2", "17 23:30 -3"]

    def test_the_beginning_of_ramadan(self):
        assert runs("30 2 * * *", CASABLANCA, "2026-02-14", "2026-02-17") == [
            "14 02:30 +1",
            "15 02:30 +1",
            "16 02:30 +0",
        ]

    def test_in_the_middle_of_it_the_second_time_is_still_to_come(self):
        cron = Cron("50 1 1 11 *", NEW_YORK), Cron("*/50 1 1 11 *", NEW_YORK)
        first_pass = datetime(2026, 11, 1, 5, 55, tzinfo=UTC)

        assert [shown(each.after(first_pass), NEW_YORK) for each in cron] == ["01 01:50 -4", "01 01:00 -5"]


class TestCalendar:
    def test_29_february_comes_every_four_years(self):
        days, moment = [], datetime(2023, 1, 1, tzinfo=UTC)
        for _ in range(3):
            moment = Cron("0 12 29 2 *", "UTC").after(moment)
            days.append(moment.date().isoformat())

        assert days == ["2024-02-29", "2028-02-29", "2032-02-29"]

    def test_and_sometimes_not_for_eight(self):
        assert Cron("0 0 29 2 *", "UTC").after(datetime(2097, 1, 1, tzinfo=UTC)).year == 2104

    def test_a_day_by_number_or_by_name(self):
        assert runs("0 0 13 * FRI", "UTC", "2026-02-01", "2026-02-21") == [
            "06 00:00 +0",
            "13 00:00 +0",
            "20 00:00 +0",
        ]

    def test_after_is_later_even_by_a_moment(self):
        cron = Cron("* * * * *", "UTC")
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

        assert cron.after(noon) == noon + timedelta(minutes=1)
        assert cron.after(noon - timedelta(microseconds=1)) == noon

    def test_the_first_run_is_not_before_its_start(self):
        cron, now = Cron("0 * * * *", "UTC"), datetime(2026, 1, 1, 12, 30, tzinfo=UTC)

        assert cron.first(now, start_at=None).hour == 13
        assert cron.first(now, start_at=now - timedelta(days=1)).hour == 13
        assert cron.first(now, start_at=datetime(2026, 1, 1, 15, tzinfo=UTC)).hour == 15


class TestDue:
    NOW = datetime(2026, 1, 4, 12, tzinfo=UTC)

    def test_are_all_from_the_planned_run_to_now(self):
        planned = self.NOW - timedelta(days=3)

        assert Cron("0 12 * * *", "UTC").due(planned, self.NOW, 10) == [
            planned + timedelta(days=day) for day in range(4)
        ]

    def test_are_the_newest_if_there_are_many(self):
        planned = self.NOW - timedelta(days=300)

        assert Cron("* * * * *", "UTC").due(planned, self.NOW, 3) == [
            self.NOW - timedelta(minutes=minutes) for minutes in (2, 1, 0)
        ]

    def test_the_planned_run_counts_even_if_the_clock_of_its_zone_has_been_changed_since(self):
        planned = self.NOW - timedelta(minutes=7)

        assert Cron("0 3 * * *", "UTC").due(planned, self.NOW, 10) == [planned]


def values(field):
    return st.one_of(
        st.just("*"),
        st.integers(field.low, field.high).map(str),
        st.builds(
            lambda low, high, step: f"{min(low, high)}-{max(low, high)}/{step}",
            st.integers(field.low, field.high),
            st.integers(field.low, field.high),
            st.integers(1, 20),
        ),
        st.integers(1, 30).map("*/{}".format),
    )


def matches(fields, wall):
    day, weekday = wall.day in fields.day.values, (wall.weekday() + 1) % 7 in fields.weekday.values
    return (
        wall.minute in fields.minute.values
        and wall.hour in fields.hour.values
        and wall.month in fields.month.values
        and ((day or weekday) if fields.takes_either_day else (day and weekday))
    )


@settings(max_examples=60, deadline=None)
@given(
    minute=values(FIELDS[0]),
    hour=values(FIELDS[1]),
    weekday=values(FIELDS[4]),
    zone=st.sampled_from([NEW_YORK, LORD_HOWE, CASABLANCA, "Europe/Paris"]),
    start=st.sampled_from(
        ["2026-02-14", "2026-03-07", "2026-03-21", "2026-04-04", "2026-10-03", "2026-10-31"]
    ),
    minutes_later=st.integers(0, 1439),
)
def test_runs_as_whoever_looks_at_the_clock_every_minute_would(
    minute, hour, weekday, zone, start, minutes_later
):
    cron, tz = Cron(f"{minute} {hour} * * {weekday}", zone), ZoneInfo(zone)
    moment = instant(start, "UTC") + timedelta(minutes=minutes_later)
    is_hourly = cron.fields.hour.is_full
    repeats = is_hourly or cron.fields.minute.is_full or "/" in minute
    expected, before = [], moment.astimezone(tz).replace(tzinfo=None)
    for late in range(1, 2 * 24 * 60):
        local = (moment + late * MINUTE).astimezone(tz)
        wall = local.replace(tzinfo=None, fold=0)
        left_out = int((wall - before) / MINUTE) - 1
        skipped = [wall - back * MINUTE for back in range(1, left_out + 1)]
        is_due = matches(cron.fields, wall) and (repeats or not local.fold)
        if is_due or (not is_hourly and any(matches(cron.fields, time) for time in skipped)):
            expected.append(moment + late * MINUTE)
        before = wall

    end, found = moment + (2 * 24 * 60 - 1) * MINUTE, []
    while (moment := cron.after(moment)) <= end:
        found.append(moment)

    assert found == expected
