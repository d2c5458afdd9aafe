"""Declaring periodic jobs: at functions and in settings, each option with its rule."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from django_river.enqueue import JobFunction
from django_river.exceptions import DefinitionError
from django_river.jobs import periodic as module
from django_river.jobs.definition import JobOptions
from django_river.jobs.periodic import SETTING_KEYS, Declaration, Declarations, periodic
from django_river.names import periodic_problem
from tests.shop import jobs

HOUR = timedelta(hours=1)


@pytest.fixture
def declared(monkeypatch):
    """What is declared here, and nothing else."""
    declared = Declarations()
    monkeypatch.setattr(module, "declared", declared)
    return declared


def report(day: int = 0) -> None: ...


def job_of(function=report):
    return JobFunction(function, options=JobOptions())


def declare(**options):
    return Declaration(**{"job": job_of(), "every": HOUR, **options})


class TestDecorator:
    def test_leaves_the_job_as_it_is(self, declared):
        job = job_of()

        assert periodic(every=HOUR)(job) is job

    def test_declares_what_it_is_told(self, declared):
        job = periodic(cron="0 3 * * *", timezone="Europe/Paris", args={"day": 1}, on_missed="once")(job_of())

        (declaration,) = declared
        assert declaration.job is job
        assert (declaration.cron, declaration.timezone) == ("0 3 * * *", "Europe/Paris")
        assert (declaration.args, declaration.on_missed) == ({"day": 1}, "once")
        assert declaration.place == job.place

    def test_may_stand_at_a_job_more_than_once(self, declared):
        periodic(every=HOUR, name="hourly")(periodic(cron="@daily", name="daily")(job_of()))

        assert sorted(declaration.name for declaration in declared) == ["daily", "hourly"]

    def test_of_a_function_that_is_reloaded_replaces_those_before(self, declared):
        for _ in range(2):
            periodic(every=HOUR, name="a")(periodic(every=HOUR, name="b")(job_of()))

        assert sorted(declaration.name for declaration in declared) == ["a", "b"]

    def test_keeps_those_of_functions_that_are_made_at_one_place(self, declared):
        for region in ("north", "south"):
            periodic(every=HOUR)(JobFunction(report, kind=f"report.{region}", options=JobOptions()))

        assert sorted(declaration.job.kind for declaration in declared) == ["report.north", "report.south"]

    def test_keeps_both_of_one_name_for_the_checks_to_find(self, declared):
        periodic(every=HOUR)(periodic(cron="@daily")(job_of()))

        assert len(list(declared)) == 2

    @pytest.mark.parametrize("function", [report, None, 5])
    def test_must_stand_above_a_job(self, declared, function):
        with pytest.raises(
            DefinitionError, match=f"@periodic must stand above @job, got {re.escape(repr(function))}"
        ):
            periodic(every=HOUR)(function)

    def test_says_where_an_option_is_wrong(self, declared):
        job = job_of()

        with pytest.raises(
            ValueError, match=f"^{re.escape(job.place)}: @periodic: say either cron= or every=$"
        ):
            periodic()(job)

    def test_keeps_no_hold_on_the_arguments_it_was_given(self, declared):
        args = {"day": [1]}
        periodic(every=HOUR, args=args)(job_of())
        args["day"].append(2)

        assert next(iter(declared)).args == {"day": [1]}


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"every": None}, "say either cron= or every="),
            ({"cron": "@daily"}, "say either cron= or every="),
            ({"every": 0.05}, "every must be from 100 ms to ten years"),
            ({"every": 0}, "every must be a timedelta or seconds above 0, at most ten years, got 0"),
            ({"every": "1h"}, "every must be a timedelta or seconds above 0, at most ten years, got '1h'"),
            ({"every": True}, "every must be a timedelta or seconds above 0, at most ten years, got True"),
            (
                {"every": float("nan")},
                "every must be a timedelta or seconds above 0, at most ten years, got nan",
            ),
            ({"every": 1e300}, "every must be a timedelta or seconds above 0, at most ten years, got 1e+300"),
            ({"timezone": "UTC"}, "timezone goes with a cron= that names none itself, got 'UTC'"),
            (
                {"every": None, "cron": "TZ=UTC @daily", "timezone": "UTC"},
                "timezone goes with a cron= that names",
            ),
            (
                {"every": None, "cron": "@daily", "timezone": "Mars"},
                "timezone must be a name of the IANA database",
            ),
            (
                {"every": None, "cron": "0 9 * * 7"},
                "day of week must be from 0 to 6, got '7'; allowed are five",
            ),
            ({"name": "two words"}, periodic_problem("two words")),
            ({"name": ""}, periodic_problem("")),
            ({"name": "x" * 128}, periodic_problem("x" * 128)),
            ({"queue": "Bad Queue"}, "queue must be lower-case"),
            ({"priority": 5}, "priority must be an int from 1 (first) to 4 (last), got 5"),
            ({"on_missed": "never"}, "on_missed must be one of 'skip', 'once', 'all', got 'never'"),
            ({"max_catch_up": 0}, "max_catch_up must be an int from 1 to 10000, got 0"),
            ({"start_at": datetime(2026, 1, 1)}, "start_at must be an aware datetime"),
            ({"jitter": -1}, "jitter must be a timedelta or seconds above 0"),
            ({"expect_success_within": 0}, "expect_success_within must be a timedelta or seconds above 0"),
        ],
    )
    def test_have_rules(self, options, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            declare(**options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"args": [1]}, "args must be a dict of arguments by name, got [1]"),
            ({"args": {1: 2}}, "args must be a dict of arguments by name, got {1: 2}"),
            ({"every": None, "cron": 5}, "cron must be a text, got 5"),
            ({"overlap": 1}, "overlap must be a bool, got 1"),
            ({"run_on_start": None}, "run_on_start must be a bool, got None"),
            ({"enabled": "no"}, "enabled must be a bool, got 'no'"),
        ],
    )
    def test_have_types(self, options, message):
        with pytest.raises(TypeError, match=re.escape(message)):
            declare(**options)

    def test_take_spans_in_seconds_or_as_timedeltas(self):
        for every in (0.25, timedelta(milliseconds=250)):
            assert declare(every=every).schedule(timezone="UTC").every == timedelta(milliseconds=250)

    def test_take_the_zone_of_the_project_for_cron(self):
        declaration = declare(every=None, cron="@daily")

        assert declaration.schedule(timezone="Asia/Tokyo").timezone == "Asia/Tokyo"

    def test_take_a_start(self):
        start = datetime(2026, 1, 1, tzinfo=UTC)

        assert declare(start_at=start).start_at == start


class TestSetting:
    def test_declares_a_job_by_its_path(self):
        declaration = Declaration.from_setting(
            {"name": "n", "job": "tests.shop.jobs.nothing", "every": 60}, 3
        )

        assert declaration.definition() is jobs.nothing
        assert declaration.place == "DJANGO_RIVER['PERIODIC'][3]"

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ("nightly", "must be a dict, got 'nightly'"),
            ({"job": "a.b", "evry": 1}, f"has unknown keys evry; known are {', '.join(SETTING_KEYS)}"),
            ({"job": "a.b", "place": "x"}, f"has unknown keys place; known are {', '.join(SETTING_KEYS)}"),
            ({"every": 1}, "job must be a dotted path, got None"),
            ({"job": jobs.nothing, "every": 1}, "job must be a dotted path, got <JobFunction shop.nothing>"),
        ],
    )
    def test_must_be_understood(self, item, message):
        with pytest.raises(TypeError, match=re.escape(message)):
            Declaration.from_setting(item, 0)

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            (
                "nowhere.jobs.nothing",
                "job 'nowhere.jobs.nothing' cannot be imported: No module named 'nowhere'",
            ),
            (
                "tests.shop.jobs.missing",
                "job 'tests.shop.jobs.missing' cannot be imported: module 'tests.shop.jobs'",
            ),
            ("nothing", "job 'nothing' cannot be imported: Empty module name"),
            ("json.dumps", "job must lead to a function with @job, but 'json.dumps' is <function dumps"),
        ],
    )
    def test_must_lead_to_a_job(self, path, message):
        declaration = Declaration.from_setting({"job": path, "every": 60}, 0)

        with pytest.raises(DefinitionError, match=re.escape(message)):
            declaration.definition()
