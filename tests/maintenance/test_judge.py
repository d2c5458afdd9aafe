"""Who counts as gone, and when nobody may be judged: told by a clock that the test holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_river.faults import Fault
from django_river.maintenance.judge import AWAY, RECOVERY, SESSION_GRACE, Judge
from django_river.storage.upkeep import ClientSight, Sights

OLD_SERVER = 86_400.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def judge(clock):
    return Judge(own_id="me", client_timeout=60.0, heartbeat_interval=5.0, clock=clock)


@pytest.fixture
def watch(judge, clock):
    """Looks every second for so many seconds; when who was judged, and why."""

    def watch(seconds, *clients, server_age=OLD_SERVER):
        began, verdicts = clock.now, {}
        while clock.now < began + seconds:
            clock.now += 1.0
            passed = clock.now - began
            for client, why, _ in judge.see(Sights([c(passed) for c in clients], server_age + passed)):
                verdicts.setdefault((client.id, why), passed)
        return verdicts

    return watch


def beating(id="other", session=1):
    return lambda passed: ClientSight(id, session, passed % 5, is_session_gone=False)


def killed(id="other", session=1, silent=0.0):
    return lambda passed: ClientSight(id, session, silent + passed, is_session_gone=True)


def frozen(id="other", silent=0.0):
    return lambda passed: ClientSight(id, 1, silent + passed, is_session_gone=False)


def test_a_client_that_beats_is_left_alone(watch):
    assert watch(600, beating(), beating("another", session=None)) == {}


def test_a_client_without_its_session_is_lost_after_a_grace(watch):
    verdicts = watch(30, killed())

    assert verdicts == {("other", Fault.CLIENT_LOST): pytest.approx(SESSION_GRACE + 1)}


def test_a_client_that_has_another_session_by_then_is_not(judge, clock):
    for session in range(20):
        clock.now += 1.5
        assert judge.see(Sights([ClientSight("other", session, 0.5, is_session_gone=True)], OLD_SERVER)) == []


def test_a_client_that_beats_without_its_session_is_not(watch):
    assert watch(60, lambda passed: ClientSight("other", 1, passed % 2, is_session_gone=True)) == {}


def test_a_frozen_client_is_stale_when_its_heartbeat_is_too_old(watch):
    assert watch(120, frozen()) == {("other", Fault.CLIENT_STALE): 61.0}


def test_what_is_found_silent_at_first_is_given_the_time_to_beat(watch):
    """A new leader knows nothing yet; perhaps the database was away for all."""
    verdicts = watch(60, frozen(silent=3600.0))

    assert verdicts == {("other", Fault.CLIENT_STALE): 16.0}


def test_nobody_is_judged_while_the_judge_was_away(watch, clock):
    watch(60, beating())
    clock.now += AWAY + 60
    verdicts = watch(40, killed("dead", silent=66.0), frozen("frozen", silent=66.0))

    assert verdicts == {
        ("dead", Fault.CLIENT_LOST): pytest.approx(RECOVERY + 1, abs=1),
        ("frozen", Fault.CLIENT_STALE): pytest.approx(16, abs=1),
    }


def test_a_stall_of_the_database_costs_nobody_anything(watch, judge, clock):
    """Away for 90 seconds: all heartbeats are old, all sessions gone. Then everybody comes back within seven."""
    watch(60, beating("a"), beating("b", session=2))
    judge.shake()
    clock.now += 90

    def comes_back(id, after):
        return lambda passed: ClientSight(
            id,
            1 if passed < after else 3,
            95 + passed if passed < after else passed % 5,
            is_session_gone=passed < after,
        )

    assert watch(60, comes_back("a", 1), comes_back("b", 7)) == {}


def test_sessions_say_nothing_while_the_server_is_young(watch):
    assert watch(8, killed(), server_age=0.0) == {}
    assert watch(5, killed(silent=8.0), server_age=8.0).keys() == {("other", Fault.CLIENT_LOST)}


def test_a_restart_between_two_looks_is_noticed(watch):
    watch(60, beating())

    assert watch(9, killed(), server_age=100.0) == {}


def test_a_judge_does_not_judge_itself(watch):
    assert watch(200, killed("me"), frozen("me")) == {}


def test_a_verdict_says_how_long_the_client_must_have_been_silent(judge, clock):
    for _ in range(70):
        clock.now += 1.0
        verdicts = judge.see(
            Sights([frozen()(clock.now - 1000), killed("dead")(clock.now - 1000)], OLD_SERVER)
        )
    assert {(v.client.id, v.silent_for) for v in verdicts} == {
        ("other", timedelta(seconds=60)),
        ("dead", timedelta(seconds=SESSION_GRACE)),
    }


def test_is_calm_when_every_client_has_had_the_time_to_beat(judge, clock):
    assert not judge.is_calm()
    judge.see(Sights([], OLD_SERVER))
    clock.now += 15
    assert judge.is_calm()
    judge.shake()
    assert not judge.is_calm()
