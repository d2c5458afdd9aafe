"""Who may lead, and who is preferred."""

from __future__ import annotations

import pytest

from django_river.exceptions import ConfigError
from django_river.leader_options import LeaderElectionConfig
from django_river.leader_policy import Candidacy, SettingsPolicy, load_policy
from django_river.storage.base import ClientInfo


class Zones:
    """A policy of somebody's own."""

    def objection(self, client):
        return "" if client.labels.get("zone") == "a" else "it is far away"

    def preference(self, client):
        return int(client.labels.get("rank", 0))


class Broken:
    def objection(self, client):
        raise LookupError("no such zone")

    def preference(self, client):
        return 0


class HalfDone:
    def objection(self, client):
        return ""


def client(**labels):
    return ClientInfo(id="me", host="host", pid=1, version="1", slots=1, labels=labels)


def presented(policy=None, objection="", *, labels=None, **given):
    policy = policy or SettingsPolicy(LeaderElectionConfig(**given))
    info = Candidacy(policy, forbidden=lambda: objection).present(client(**labels or {}))
    return info.objection, info.preference


class TestSettings:
    def test_by_default_everybody_may(self):
        assert presented() == ("", 0)

    def test_may_forbid_it(self):
        assert presented(candidate=False) == ("LEADER_ELECTION['CANDIDATE'] is False", 0)

    def test_may_prefer_some(self):
        assert presented(preference=7) == ("", 7)

    @pytest.mark.parametrize(
        ("labels", "objection"),
        [
            ({"zone": "a", "rack": "1", "more": "x"}, ""),
            ({"zone": "b", "rack": "1"}, "its labels lack zone=a"),
            ({}, "its labels lack rack=1, zone=a"),
        ],
    )
    def test_may_require_labels(self, labels, objection):
        assert presented(require={"zone": "a", "rack": "1"}, labels=labels) == (objection, 0)


class TestCandidacy:
    def test_stands_for_nothing_until_it_is_asked(self):
        assert Candidacy(SettingsPolicy(LeaderElectionConfig())).objection == "it has not been asked yet"

    def test_is_not_asked_where_something_else_forbids_it(self):
        assert presented(Broken(), "it was started with --no-lead") == ("it was started with --no-lead", 0)

    def test_says_what_the_policy_says_now(self):
        candidacy = Candidacy(Zones())

        assert candidacy.present(client(zone="a", rank="3")).can_lead
        assert candidacy.preference == 3
        assert not candidacy.present(client(zone="b")).can_lead
        assert candidacy.objection == "it is far away"

    def test_of_a_policy_that_fails_is_none_and_that_is_logged_once(self, caplog):
        candidacy = Candidacy(Broken())
        for _ in range(3):
            assert candidacy.present(client()).objection == "Broken failed: no such zone"

        assert len(caplog.records) == 1
        assert "Broken cannot say whether client me may lead: it may not" in caplog.text

    def test_of_a_policy_whose_preference_is_no_number_is_none(self):
        assert presented(Zones(), labels={"zone": "a", "rank": "first"})[0].startswith(
            "Zones failed: invalid"
        )


class TestLoading:
    def load(self, policy):
        return load_policy(LeaderElectionConfig(policy=policy))

    def test_takes_that_of_the_settings(self):
        assert isinstance(self.load(None), SettingsPolicy)

    def test_takes_a_class_by_its_path(self):
        assert isinstance(self.load("tests.test_leader_policy.Zones"), Zones)

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("nowhere.Policy", "policy 'nowhere.Policy' cannot be made: No module named 'nowhere'"),
            ("tests.test_leader_policy.HalfDone", "has no method 'preference'"),
            ("tests.test_leader_policy.load_policy", "cannot be made: load_policy() missing 1 required"),
        ],
    )
    def test_says_why_it_cannot_be_used(self, path, text):
        with pytest.raises(ConfigError) as raised:
            self.load(path)

        assert text in str(raised.value)
