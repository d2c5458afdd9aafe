"""Schedules in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_river.jobs.schedules import Interval, parse_cron
from django_river.jobs.words import describe, describe_span


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0,30 * * * *", "every 30 minutes"),
        ("@hourly", "every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("0 3 * * *", "every day at 03:00"),
        ("0 0 1-31 * 1", "every day at 00:00"),
        ("30 6,18 * * MON-FRI", "at 06:30 and 18:30, Monday to Friday"),
        ("@yearly", "at 00:00, day 1 of the month, in January"),
        ("0 0 1,15 * 1", "at 00:00, days 1 and 15 of the month or Monday"),
        ("*/15 9-17 * * *", "every 15 minutes of hours 9 to 17"),
        ("7 * * * *", "at minute 7 of every hour"),
        ("*/25 1-5 * 6-8 *", "at minutes 0, 25 and 50 of hours 1 to 5, in June to August"),
        ("0 9 * * 0,6", "at 09:00, Sunday and Saturday"),
    ],
)
def test_say_what_an_expression_says(expression, words):
    assert describe(parse_cron(expression, timezone="Europe/Paris")) == f"{words} (Europe/Paris)"


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(milliseconds=250), "250 ms"),
        (timedelta(days=7), "7 d"),
        (timedelta(hours=25, seconds=1.5), "1 d 1 h 1 s 500 ms"),
        (timedelta(microseconds=7), "7 µs"),
        (timedelta(0), "0 s"),
    ],
)
def test_say_how_long_a_span_is(span, words):
    assert describe_span(span) == words


def test_say_how_often_an_interval_comes():
    assert describe(Interval(timedelta(minutes=90))) == "every 1 h 30 min"
