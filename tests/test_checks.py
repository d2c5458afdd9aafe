"""The system checks: ids, texts and hints."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.checks import Error, Warning
from django.core.checks.registry import registry as django_registry
from django.db import connections

from django_river import checks
from django_river.checks import check_definitions, check_periodic, check_settings
from django_river.conf import OPTIONS
from django_river.enqueue import JobFunction
from django_river.jobs.definition import JobOptions
from django_river.jobs.periodic import Declarations
from django_river.jobs.registry import Registry
from django_river.jobs.states import State
from django_river.jobs.unique import DEFAULT_STATES, Unique
from django_river.names import queue_problem
from tests.periodic import declare

DAY = timedelta(days=1)
MEANINGS = {option.name: option.meaning for option in OPTIONS}
GOOD_SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA synchronous=NORMAL; PRAGMA journal_mode = WAL",
}


@pytest.fixture
def alias(settings, monkeypatch):
    """Let ``DATABASE`` name a database that is described, and never connected to."""

    def describe(engine, **options):
        described = connections.databases["default"] | {"ENGINE": engine, "OPTIONS": options}
        monkeypatch.setitem(connections.databases, "described", described)
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"DATABASE": "described"}

    yield describe
    if hasattr(connections._connections, "described"):
        del connections["described"]


@pytest.fixture
def registry(monkeypatch):
    registry = Registry()
    monkeypatch.setattr(checks, "registry", registry)
    return registry


def add_job(registry, function, **options):
    registry.add(JobFunction(function, kind=None, aliases=(), options=JobOptions(**options)))


def hint(text, id):
    return f"{text} See docs/checks.md#django-river-{id.lower()}."


class TestSettings:
    @pytest.mark.parametrize(
        ("raw", "id", "text", "advice"),
        [
            ([], "E001", "DJANGO_RIVER must be a dict, not [].", "Use {} for the defaults."),
            ({"QUEUS": {}}, "E002", "DJANGO_RIVER has an unknown key 'QUEUS'.", "Did you mean 'QUEUES'?"),
            ({"NOTIFY": 1}, "E003", "DJANGO_RIVER['NOTIFY'] must be a bool, not 1.", MEANINGS["NOTIFY"]),
            (
                {"QUEUES": {"": {}}},
                "E004",
                f"DJANGO_RIVER['QUEUES'] has a bad name: {queue_problem('')}.",
                "Rename the queue.",
            ),
            (
                {"QUEUES": {}},
                "E005",
                "DJANGO_RIVER['QUEUES'] is empty.",
                "Name a queue, or set DYNAMIC_QUEUES to True.",
            ),
            (
                {"HEARTBEAT_INTERVAL": 31},
                "E006",
                "DJANGO_RIVER['CLIENT_TIMEOUT'] (60 s) must be at least twice HEARTBEAT_INTERVAL (31 s).",
                "A client that misses one heartbeat would count as dead.",
            ),
        ],
    )
    def test_reports_a_problem_with_its_hint(self, settings, raw, id, text, advice):
        settings.DJANGO_RIVER = raw

        assert check_settings(None) == [Error(text, hint=hint(advice, id), id=f"django_river.{id}")]

    def test_reports_a_policy_that_cannot_be_used(self, settings):
        settings.DJANGO_RIVER = {"LEADER_ELECTION": {"POLICY": "nowhere.Policy"}}

        (message,) = check_settings(None)
        assert message.id == "django_river.E021"
        assert message.msg == (
            "DJANGO_RIVER['LEADER_ELECTION']['POLICY'] cannot be used: "
            "policy 'nowhere.Policy' cannot be made: No module named 'nowhere'."
        )

    def test_finds_nothing_in_the_settings_of_the_tests(self):
        assert check_settings(None) == []


class TestDatabase:
    def test_must_be_known(self, settings):
        settings.DJANGO_RIVER = {"DATABASE": "elsewhere"}

        assert check_settings(None) == [
            Error(
                "DJANGO_RIVER['DATABASE'] names 'elsewhere', which DATABASES does not.",
                hint=hint("Known aliases: default.", "E007"),
                id="django_river.E007",
            )
        ]

    def test_must_be_able_to_hold_jobs(self, alias):
        alias("django.db.backends.dummy")

        assert check_settings(None) == [
            Error(
                "Database 'described' is unknown, which cannot hold jobs.",
                hint=hint("Use one of: postgresql, sqlite.", "E008"),
                id="django_river.E008",
            )
        ]

    def test_sqlite_should_take_its_lock_at_once(self, alias):
        alias("django.db.backends.sqlite3", init_command=GOOD_SQLITE["init_command"])

        assert check_settings(None) == [
            Warning(
                "Transactions that read before they write can fail at once with 'database is locked'.",
                hint=hint(
                    "Set DATABASES['described']['OPTIONS']['transaction_mode'] to 'IMMEDIATE'.", "W001"
                ),
                id="django_river.W001",
            )
        ]

    def test_sqlite_should_write_ahead(self, alias):
        alias("django.db.backends.sqlite3", transaction_mode="IMMEDIATE")

        assert check_settings(None) == [
            Warning(
                "Without write-ahead logging, workers and requests block one another.",
                hint=hint(
                    "Set DATABASES['described']['OPTIONS']['init_command'] to 'PRAGMA journal_mode=WAL;'.",
                    "W002",
                ),
                id="django_river.W002",
            )
        ]

    def test_sqlite_can_be_set_up_well(self, alias):
        alias("django.db.backends.sqlite3", **GOOD_SQLITE)

        assert check_settings(None) == []

    @pytest.mark.parametrize(
        ("pool", "size"),
        [
            (True, 4),
            ({"min_size": 6}, 6),
            ({"min_size": 2, "max_size": 8}, 8),
            ({"min_size": 5, "max_size": None}, 5),
        ],
    )
    def test_a_pool_should_hold_a_connection_for_each_slot(self, alias, pool, size):
        alias("django.db.backends.postgresql", pool=pool)

        assert check_settings(None) == [
            Warning(
                f"A worker runs 12 jobs at once, but the connection pool holds {size}.",
                hint=hint("Raise OPTIONS['pool']['max_size'], or lower CONCURRENCY.", "W003"),
                id="django_river.W003",
            )
        ]

    @pytest.mark.parametrize("pool", [None, False, {"max_size": 12}])
    def test_a_pool_may_be_missing_or_large_enough(self, alias, pool):
        alias("django.db.backends.postgresql", pool=pool)

        assert check_settings(None) == []


class TestDefinitions:
    def test_must_have_arguments_that_can_be_stored(self, registry):
        def broken(*what: int) -> None: ...

        add_job(registry, broken)

        (message,) = check_definitions(None)
        assert message.id == "django_river.E010"
        assert message.msg.startswith(f"{next(iter(registry)).kind}: ")
        assert message.hint == hint(
            "Change the function's signature, or import what its annotations name.", "E010"
        )

    def test_must_go_to_a_queue_that_exists(self, registry):
        add_job(registry, well_defined, queue="nowhere")

        (message,) = check_definitions(None)
        assert message.id == "django_river.E011"
        assert message.msg == (
            f"Job {next(iter(registry)).kind} goes to queue 'nowhere', which DJANGO_RIVER['QUEUES'] does not name."
        )
        assert message.hint == hint("Add the queue, or set DYNAMIC_QUEUES to True.", "E011")

    def test_may_go_anywhere_if_queues_are_dynamic(self, registry, settings):
        settings.DJANGO_RIVER = {"DYNAMIC_QUEUES": True}
        add_job(registry, well_defined, queue="nowhere")

        assert check_definitions(None) == []

    def test_queues_are_left_alone_while_the_settings_are_wrong(self, registry, settings):
        settings.DJANGO_RIVER = []
        add_job(registry, well_defined, queue="nowhere")

        assert check_definitions(None) == []

    def test_should_keep_a_key_for_as_long_as_it_is_to_be_unique(self, registry):
        add_job(registry, well_defined, unique=Unique(by_period=2 * DAY))

        (message,) = check_definitions(None)
        assert message == Warning(
            f"Job {next(iter(registry)).kind} is to be unique for 2 days, 0:00:00, but completed jobs of its queue are "
            "deleted after 1 day, 0:00:00, and with them their unique keys.",
            hint=hint("Raise COMPLETED_RETENTION, for that queue at least, or shorten by_period.", "W004"),
            id="django_river.W004",
            obj=next(iter(registry)).place,
        )

    @pytest.mark.parametrize(
        ("raw", "unique"),
        [
            ({}, Unique(by_period=DAY)),
            ({}, Unique(by_args=True)),
            ({}, Unique(by_period=2 * DAY, by_state=DEFAULT_STATES - {State.COMPLETED})),
            ({"COMPLETED_RETENTION": -1}, Unique(by_period=2 * DAY)),
            ({"QUEUES": {"default": {"COMPLETED_RETENTION": 2 * DAY}}}, Unique(by_period=2 * DAY)),
        ],
    )
    def test_may_be_unique_for_as_long_as_they_are_kept(self, registry, settings, raw, unique):
        settings.DJANGO_RIVER = raw
        add_job(registry, well_defined, unique=unique)

        assert check_definitions(None) == []

    def test_may_be_fine(self, registry):
        add_job(registry, well_defined)

        assert check_definitions(None) == []


class TestPeriodic:
    @pytest.fixture
    def declared(self, monkeypatch):
        declared = Declarations()
        monkeypatch.setattr(checks, "declared", declared)
        return declared

    def found(self):
        return [(message.id, message.msg, message.hint, message.obj) for message in check_periodic(None)]

    def test_must_be_understood(self, declared, settings):
        settings.DJANGO_RIVER = {"PERIODIC": [{"job": "nowhere.x", "every": 5}]}

        assert self.found() == [
            (
                "django_river.E012",
                "DJANGO_RIVER['PERIODIC'][0]: job 'nowhere.x' cannot be imported: No module named 'nowhere'.",
                hint("Correct the declaration.", "E012"),
                "DJANGO_RIVER['PERIODIC'][0]",
            )
        ]

    def test_must_have_names_of_their_own(self, declared, settings):
        settings.DJANGO_RIVER = {"PERIODIC": [{"name": "n", "job": "tests.shop.jobs.nothing", "every": 5}]}
        declared.add(declare("n"))

        assert self.found() == [
            (
                "django_river.E013",
                "Periodic job 'n' is declared 2 times: DJANGO_RIVER['PERIODIC'][0] and tests.n.",
                hint("Give each a name of its own with name=.", "E013"),
                "DJANGO_RIVER['PERIODIC'][0]",
            )
        ]

    def test_must_have_arguments_that_fit(self, declared):
        declared.add(declare("n", args={"number": "one"}))

        ((id, text, advice, place),) = self.found()
        assert (id, place) == ("django_river.E014", "tests.n")
        assert text.startswith(
            "Periodic job 'n': args cannot be used: shop.nothing: argument 'number': expected int"
        )
        assert advice == hint("Correct args, or the function's signature.", "E014")

    def test_must_go_to_a_queue_that_exists(self, declared):
        declared.add(declare("n", queue="nowhere"))

        assert self.found() == [
            (
                "django_river.E011",
                "Periodic job 'n' goes to queue 'nowhere', which DJANGO_RIVER['QUEUES'] does not name.",
                hint("Add the queue, or set DYNAMIC_QUEUES to True.", "E011"),
                "tests.n",
            )
        ]

    def test_may_go_anywhere_if_queues_are_dynamic(self, declared, settings):
        settings.DJANGO_RIVER = {"DYNAMIC_QUEUES": True}
        declared.add(declare("n", queue="nowhere"))

        assert self.found() == []

    def test_are_left_alone_while_the_settings_are_wrong(self, declared, settings):
        settings.DJANGO_RIVER = {"NOTIFY": 5, "PERIODIC": [5]}

        assert self.found() == []

    def test_may_be_fine(self, declared):
        declared.add(declare("n", queue="other"))

        assert self.found() == []


def test_django_runs_them():
    assert {check_settings, check_definitions, check_periodic} <= set(django_registry.get_checks())


def well_defined(number: int) -> None: ...
