"""``DJANGO_RIVER``: what it may hold, what is said when it holds something else, and what becomes of it."""

from __future__ import annotations

from dataclasses import fields
from datetime import time, timedelta
from importlib import metadata

import pytest

from django_river.conf import (
    OPTIONS,
    QUEUE_OPTIONS,
    Config,
    Problem,
    QueueConfig,
    config,
    problems,
)
from django_river.exceptions import ConfigError
from django_river.leader_options import ELECTION_OPTIONS, LeaderElectionConfig
from django_river.long_job_options import ADAPTIVE_OPTIONS, ISOLATION_OPTIONS, AdaptiveConfig, IsolationConfig
from django_river.option import KEEP

SPANS = {option.name for option in OPTIONS if option.takes.startswith("seconds")}
BAD_VALUES = {
    "DATABASE": [None, 1],
    "QUEUES": [None, ["default"]],
    "DYNAMIC_QUEUES": [1, "yes"],
    "CONCURRENCY": [0, 10_001, 1.5, True],
    "MAX_ATTEMPTS": [0, 32_768, None],
    "JOB_TIMEOUT": [0, -1, timedelta(0), "10", True, float("inf"), float("nan")],
    "STUCK_AFTER": [0, None],
    "MAX_ARGS_BYTES": [1, None, 2.5],
    "POLL_INTERVAL": [0, timedelta(seconds=-1)],
    "NOTIFY": [None, 0],
    "STOP_TIMEOUT": [-1, None, timedelta(seconds=-1)],
    "CANCEL_TIMEOUT": [-0.5, "5"],
    "HEARTBEAT_INTERVAL": [0, None],
    "CLIENT_TIMEOUT": [0, None],
    "RESCUE_AFTER": [0, None],
    "LEADER_TTL": [2.9, timedelta(seconds=2), None],
    "LEADER_ELECTION": [None, ["CANDIDATE"]],
    "QUEUE_DEFAULTS": [None, ["MAX_WORKERS"]],
    "ISOLATION": [None, 4, "process"],
    "ADAPTIVE_RESCUE": [None, "flag"],
    "POISON_AFTER": [0, None, 1.5],
    "HEARTBEATS": [None, {0: 5}, {5: 5}, {True: 5}, {1: 0}, {"": 5}, {"shop.send": "5"}],
    "PROGRESS_INTERVAL": [0, None],
    "LABELS": [None, ["zone"], {"zone": 1}, {1: "zone"}, {"zone": ""}],
    "COMPLETED_RETENTION": [-2, -0.5, None, timedelta(seconds=-2), True, "1 day"],
    "CANCELLED_RETENTION": [-2, float("inf")],
    "DISCARDED_RETENTION": [None, float("nan")],
    "REINDEX_AT": ["3:30", "24:00", "03:60", "03:30:00", 3, time(3, 30)],
    "PERIODIC": [None, {}, "nightly"],
    "RELEASE": [1.0, 1, b"1"],
    "ON_MISMATCH": [None, "ignore", True],
}
GOOD_VALUES = {
    "CONCURRENCY": [None, 1, 10_000],
    "JOB_TIMEOUT": [None, 0.5, timedelta(minutes=5)],
    "POLL_INTERVAL": [None, 0.05],
    "STOP_TIMEOUT": [0, timedelta(0), 3600],
    "CANCEL_TIMEOUT": [0],
    "MAX_ATTEMPTS": [1, 32_767],
    "LEADER_TTL": [3, timedelta(seconds=3)],
    "LEADER_ELECTION": [{}, {"CANDIDATE": False}, {"PREFERENCE": -1, "REQUIRE": {"zone": "a"}}],
    "LABELS": [{}, {"zone": "a", "rank": "1"}],
    "COMPLETED_RETENTION": [-1, 0, 0.5, timedelta(days=30)],
    "REINDEX_AT": [None, "00:00", "23:59"],
    "PERIODIC": [[], ({"name": "n"},)],
    "RELEASE": [None, "", "1.2-3-gdeadbee"],
    "ON_MISMATCH": ["refuse", "follow"],
}
BAD_ELECTION_VALUES = {
    "CANDIDATE": [None, 1],
    "REQUIRE": [None, {"zone": None}],
    "PREFERENCE": [1.5, 1001, None, True],
    "MINIMUM_TERM": [-1, None],
    "POLICY": ["Policy", 1],
}
BAD_ADAPTIVE_VALUES = {
    "FLOOR": [0, None],
    "FACTOR": [0.5, True, "3"],
    "SAMPLES": [19, None],
    "POLICY": ["discard", None],
}
BAD_ISOLATION_VALUES = {"PROCESSES": [0, "many", 1001], "MEMORY": [0, "1 GB", 1 << 20]}


def cases(values):
    return [pytest.param(name, value, id=f"{name}={value!r}") for name in values for value in values[name]]


def ids(raw):
    return [problem.id for problem in problems(raw)]


class TestProblems:
    def test_finds_none_in_the_defaults(self):
        assert problems({}) == []
        assert problems({option.name: option.default for option in OPTIONS}) == []

    def test_refuses_what_is_no_dict(self):
        assert problems(["default"]) == [
            Problem("E001", "DJANGO_RIVER must be a dict, not ['default'].", "Use {} for the defaults.")
        ]

    def test_names_the_closest_key_for_an_unknown_one(self):
        (problem,) = problems({"queus": {}})

        assert problem == Problem(
            "E002", "DJANGO_RIVER has an unknown key 'queus'.", "Did you mean 'QUEUES'?"
        )

    def test_lists_the_keys_when_none_is_close(self):
        (problem,) = problems({1: {}})

        assert problem.text == "DJANGO_RIVER has an unknown key 1."
        assert problem.hint == f"Known keys: {', '.join(sorted(option.name for option in OPTIONS))}."

    @pytest.mark.parametrize(("name", "value"), cases(BAD_VALUES))
    def test_refuses_a_value_that_does_not_fit(self, name, value):
        option = next(option for option in OPTIONS if option.name == name)

        text = f"DJANGO_RIVER[{name!r}] must be {option.takes}, not {value!r}."
        assert problems({name: value}) == [Problem("E003", text, option.meaning)]

    def test_has_a_bad_value_for_each_option_above(self):
        assert {option.name for option in OPTIONS} == BAD_VALUES.keys()

    @pytest.mark.parametrize(("name", "value"), cases(GOOD_VALUES))
    def test_accepts_a_value_that_fits(self, name, value):
        assert problems({name: value}) == []

    def test_refuses_a_queue_with_a_bad_name(self):
        (problem,) = problems({"QUEUES": {"E-mails": {}}})

        assert problem.id == "E004"
        assert problem.text.startswith("DJANGO_RIVER['QUEUES'] has a bad name: queue must be lower-case")
        assert problem.hint == "Rename the queue."

    def test_refuses_a_queue_without_options(self):
        assert problems({"QUEUES": {"emails": 5}}) == [
            Problem(
                "E003", "DJANGO_RIVER['QUEUES']['emails'] must be a dict, not 5.", "Use {} for the defaults."
            )
        ]

    def test_looks_into_the_options_of_a_queue(self):
        raw = {"QUEUES": {"emails": {"MAX_WORKER": 5}, "other": {"MAX_WORKERS": 0}}}

        assert [(problem.id, problem.text) for problem in problems(raw)] == [
            ("E002", "DJANGO_RIVER['QUEUES']['emails'] has an unknown key 'MAX_WORKER'."),
            ("E003", "DJANGO_RIVER['QUEUES']['other']['MAX_WORKERS'] must be an int from 1 to 10000, not 0."),
        ]

    @pytest.mark.parametrize(("name", "value"), cases(BAD_ELECTION_VALUES))
    def test_looks_into_the_options_of_the_election(self, name, value):
        option = next(option for option in ELECTION_OPTIONS if option.name == name)

        text = f"DJANGO_RIVER['LEADER_ELECTION'][{name!r}] must be {option.takes}, not {value!r}."
        assert problems({"LEADER_ELECTION": {name: value}}) == [Problem("E003", text, option.meaning)]

    def test_has_a_bad_value_for_each_option_of_the_election(self):
        assert {option.name for option in ELECTION_OPTIONS} == BAD_ELECTION_VALUES.keys()

    @pytest.mark.parametrize(("name", "value"), cases(BAD_ISOLATION_VALUES))
    def test_looks_into_the_options_of_isolation(self, name, value):
        option = next(option for option in ISOLATION_OPTIONS if option.name == name)

        text = f"DJANGO_RIVER['ISOLATION'][{name!r}] must be {option.takes}, not {value!r}."
        assert problems({"ISOLATION": {name: value}}) == [Problem("E003", text, option.meaning)]

    @pytest.mark.parametrize(("name", "value"), cases(BAD_ADAPTIVE_VALUES))
    def test_looks_into_the_options_of_adaptive_rescue(self, name, value):
        option = next(option for option in ADAPTIVE_OPTIONS if option.name == name)

        text = f"DJANGO_RIVER['ADAPTIVE_RESCUE'][{name!r}] must be {option.takes}, not {value!r}."
        assert problems({"ADAPTIVE_RESCUE": {name: value}}) == [Problem("E003", text, option.meaning)]

    def test_names_the_closest_key_for_an_unknown_one_of_isolation(self):
        (problem,) = problems({"ISOLATION": {"PROCESS": 4}})

        assert problem.text == "DJANGO_RIVER['ISOLATION'] has an unknown key 'PROCESS'."
        assert problem.hint == "Did you mean 'PROCESSES'?"

    def test_names_the_closest_key_for_an_unknown_one_of_the_election(self):
        (problem,) = problems({"LEADER_ELECTION": {"CANDIDAT": False}})

        assert problem.text == "DJANGO_RIVER['LEADER_ELECTION'] has an unknown key 'CANDIDAT'."
        assert problem.hint == "Did you mean 'CANDIDATE'?"

    def test_refuses_a_policy_beside_what_it_would_have_to_read(self):
        election = {"POLICY": "shop.Policy", "REQUIRE": {}, "PREFERENCE": 1}

        assert problems({"LEADER_ELECTION": election}) == [
            Problem(
                "E020",
                "DJANGO_RIVER['LEADER_ELECTION'] has POLICY and PREFERENCE and REQUIRE, which only the policy of the "
                "settings reads.",
                "Leave one out, or let your policy read it from somewhere else.",
            )
        ]

    def test_wants_a_queue_unless_queues_are_dynamic(self):
        assert problems({"QUEUES": {}}) == [
            Problem(
                "E005", "DJANGO_RIVER['QUEUES'] is empty.", "Name a queue, or set DYNAMIC_QUEUES to True."
            )
        ]
        assert problems({"QUEUES": {}, "DYNAMIC_QUEUES": True}) == []

    def test_wants_clients_to_outlive_a_missed_heartbeat(self):
        raw = {"HEARTBEAT_INTERVAL": timedelta(seconds=5), "CLIENT_TIMEOUT": 9.5}

        (problem,) = problems(raw)

        assert problem.id == "E006"
        assert problem.text == (
            "DJANGO_RIVER['CLIENT_TIMEOUT'] (9.5 s) must be at least twice HEARTBEAT_INTERVAL (5 s)."
        )
        assert problem.hint == "A client that misses one heartbeat would count as dead."

    def test_wants_jobs_to_end_before_they_are_rescued(self):
        (problem,) = problems({"JOB_TIMEOUT": 60, "RESCUE_AFTER": timedelta(minutes=1)})

        assert problem.id == "E006"
        assert problem.text == "DJANGO_RIVER['RESCUE_AFTER'] (60 s) must be longer than JOB_TIMEOUT (60 s)."
        assert problem.hint == "Jobs of other River clients would be rescued while they may still run."

    def test_compares_only_what_is_valid(self):
        assert ids({"CLIENT_TIMEOUT": "long", "HEARTBEAT_INTERVAL": 60}) == ["E003"]

    def test_finds_all_that_is_wrong(self):
        assert ids({"QUEUES": {"A": {}, "b": None}, "NOTIFY": "no", "COLOUR": 1}) == [
            "E003",
            "E002",
            "E004",
            "E003",
        ]


class TestConfig:
    def test_has_the_defaults_of_the_options(self, settings):
        settings.DJANGO_RIVER = {}

        assert config() == Config()

    def test_needs_no_setting(self, settings):
        # Only setting it is signalled, and so forgotten again afterwards.
        settings.DJANGO_RIVER = {"MAX_ATTEMPTS": 3}
        del settings.DJANGO_RIVER

        assert config() == Config()

    def test_has_a_field_for_every_option(self):
        assert {field.name.upper() for field in fields(Config)} == {
            *(option.name for option in OPTIONS),
            "QUEUE_LAYERS",
        }
        assert {field.name.upper() for field in fields(QueueConfig)} == {o.name for o in QUEUE_OPTIONS}
        assert {field.name.upper() for field in fields(IsolationConfig)} == {
            o.name for o in ISOLATION_OPTIONS
        }
        assert {field.name.upper() for field in fields(LeaderElectionConfig)} == {
            option.name for option in ELECTION_OPTIONS
        }

    @pytest.mark.parametrize("name", sorted(SPANS))
    def test_keeps_spans_in_seconds(self, settings, name):
        settings.DJANGO_RIVER = {"RESCUE_AFTER": 9000, "CLIENT_TIMEOUT": 9000, name: timedelta(hours=2)}
        if name == "HEARTBEAT_INTERVAL":
            settings.DJANGO_RIVER = {"CLIENT_TIMEOUT": 14_400, name: timedelta(hours=2)}

        assert getattr(config(), name.lower()) == 7200.0

    def test_fills_in_the_options_of_queues(self, settings):
        emails = {"MAX_WORKERS": 3, "COMPLETED_RETENTION": timedelta(hours=1), "DISCARDED_RETENTION": -1}
        settings.DJANGO_RIVER = {"QUEUES": {"default": {}, "emails": emails}}

        assert config().queues == {
            "default": QueueConfig(max_workers=10),
            "emails": QueueConfig(max_workers=3, completed_retention=3600.0, discarded_retention=KEEP),
        }

    def test_fills_in_the_options_of_the_election(self, settings):
        election = {"PREFERENCE": 5, "MINIMUM_TERM": timedelta(minutes=2)}
        settings.DJANGO_RIVER = {"LEADER_ELECTION": election, "LABELS": {"zone": "a"}}

        assert config().leader_election == LeaderElectionConfig(preference=5, minimum_term=120.0)
        assert config().labels == {"zone": "a"}

    def test_keeps_the_time_of_day_as_one(self, settings):
        settings.DJANGO_RIVER = {"REINDEX_AT": "03:30"}

        assert config().reindex_at == time(3, 30)

    def test_knows_how_long_jobs_are_kept_by_queue(self, settings):
        queues = {"default": {}, "logs": {"COMPLETED_RETENTION": 60}, "audit": {"COMPLETED_RETENTION": -1}}
        settings.DJANGO_RIVER = {"QUEUES": queues, "DISCARDED_RETENTION": timedelta(days=30)}

        assert config().retentions("completed") == {None: 86_400.0, "logs": 60.0, "audit": KEEP}
        assert config().retentions("cancelled") == {None: 86_400.0}
        assert config().retentions("discarded") == {None: 2_592_000.0}

    def test_fills_in_the_options_of_adaptive_rescue(self, settings):
        settings.DJANGO_RIVER = {"ADAPTIVE_RESCUE": {"FLOOR": timedelta(minutes=1)}}

        assert config().adaptive_rescue == AdaptiveConfig(floor=60.0, factor=3.0, samples=20, policy="flag")

    def test_fills_in_the_options_of_isolation(self, settings):
        settings.DJANGO_RIVER = {"ISOLATION": {"MEMORY": 1 << 30}}

        assert config().isolation == IsolationConfig(processes=4, memory=1 << 30)

    def test_keeps_heartbeats_in_seconds(self, settings):
        settings.DJANGO_RIVER = {"HEARTBEATS": {1: timedelta(minutes=1), "shop.send": 5}}

        assert config().heartbeats == {1: 60.0, "shop.send": 5.0}

    def test_is_read_once(self):
        assert config() is config()

    def test_is_read_anew_after_an_override(self, settings):
        before = config()

        settings.DJANGO_RIVER = {"MAX_ATTEMPTS": 3}

        assert config().max_attempts == 3
        assert config() is not before

    def test_stays_when_another_setting_changes(self, settings):
        before = config()

        settings.LANGUAGE_CODE = "fr"

        assert config() is before

    def test_names_everything_that_is_wrong(self, settings):
        settings.DJANGO_RIVER = {"QUEUS": {}, "NOTIFY": 1}

        with pytest.raises(ConfigError) as raised:
            config()

        assert str(raised.value) == (
            "DJANGO_RIVER has an unknown key 'QUEUS'. Did you mean 'QUEUES'?\n"
            "DJANGO_RIVER['NOTIFY'] must be a bool, not 1. "
            "Whether to use LISTEN/NOTIFY on Postgres. Without it, workers poll."
        )

    def test_cannot_be_changed(self):
        with pytest.raises(AttributeError):
            config().notify = False


class TestSlots:
    @pytest.mark.parametrize(
        ("sizes", "slots"),
        [
            ([], 1),
            ([10], 10),
            ([10, 5], 15),
            ([60, 60], 100),
            ([500, 10], 500),
        ],
    )
    def test_sums_up_the_queues_within_limits(self, sizes, slots):
        queues = {f"q{number}": QueueConfig(max_workers=size) for number, size in enumerate(sizes)}

        assert Config(queues=queues).slots == slots

    def test_is_what_the_setting_says(self):
        assert Config(concurrency=3).slots == 3


class TestRelease:
    def test_is_what_the_settings_say(self, settings, monkeypatch):
        monkeypatch.setenv("DJANGO_RIVER_RELEASE", "2.0")
        settings.DJANGO_RIVER = {"RELEASE": "1.0"}

        assert config().release == "1.0"

    def test_is_what_the_environment_says(self, settings, monkeypatch):
        monkeypatch.setenv("DJANGO_RIVER_RELEASE", "2.0")
        settings.DJANGO_RIVER = {}

        assert config().release == "2.0"

    def test_is_the_version_of_the_project_if_it_is_installed(self, settings, monkeypatch):
        monkeypatch.delenv("DJANGO_RIVER_RELEASE", raising=False)
        monkeypatch.setattr(metadata, "version", {"tests": "3.0"}.__getitem__)
        settings.DJANGO_RIVER = {}

        assert config().release == "3.0"

    def test_is_empty_if_nobody_knows(self, settings, monkeypatch):
        monkeypatch.delenv("DJANGO_RIVER_RELEASE", raising=False)
        settings.DJANGO_RIVER = {}

        assert config().release == ""
