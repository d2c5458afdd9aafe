"""Who counts as gone, and when nobody may be judged: told by a clock that the test holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_river.faults import Fault
from django_river.maintenance.judge import AWAY, RECOVERY, SESSION_GRACE, Judge
from django_river.maintenance.judges import Judges
from django_river.storage.upkeep import ClientSight, Sights


class Clock:
    def __init__(self):
        self.now = 1000.0
        #: How far the database's clock is ahead.
        self.ahead = 86_400.0

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

    def watch(seconds, *clients):
        began, verdicts = clock.now, {}
        while clock.now < began + seconds:
            clock.now += 1.0
            passed = clock.now - began
            sights = Sights([client(passed) for client in clients], clock.now + clock.ahead)
            for client, why, _ in judge.see(sights):
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
        sight = ClientSight("other", session, 0.5, is_session_gone=True)
        assert judge.see(Sights([sight], clock.now)) == []


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
        ("frozen", Fault.CLIENT_STALE): pytest.approx(RECOVERY + 1, abs=1),
    }


def comes_back(id, after, *, session_gone=True):
    return lambda passed: ClientSight(
        id,
        1 if passed < after else 3,
        95 + passed if passed < after else passed % 5,
        is_session_gone=session_gone and passed < after,
    )


@pytest.mark.parametrize("looked_in_vain", [90, 9, 1], ids="last look {} s ago".format)
def test_a_database_that_was_away_costs_nobody_anything(watch, judge, clock, looked_in_vain):
    """Away for 90 seconds: all heartbeats are old, all sessions gone. Then one after the other comes back."""
    watch(60, beating("a"), beating("b", session=2))
    clock.now += 90 - looked_in_vain
    judge.shake()
    clock.now += looked_in_vain

    assert watch(60, comes_back("a", 1), comes_back("b", 17), comes_back("c", 17, session_gone=False)) == {}


def test_a_database_whose_clock_is_set_costs_nobody_anything(watch, clock):
    watch(60, beating())
    clock.ahead += 3600

    assert watch(60, comes_back("a", 5, session_gone=False)) == {}


def test_a_machine_that_has_slept_costs_nobody_anything(watch, clock):
    """Its calendar goes on meanwhile, its monotonic clock does not; on SQLite everybody is on one machine."""
    watch(60, beating())
    clock.ahead += 300

    assert watch(60, comes_back("a", 5, session_gone=False)) == {}


def test_a_clock_that_is_adjusted_a_little_disturbs_nobody(watch, clock):
    watch(60, beating())
    clock.ahead -= 2

    assert watch(30, killed()).keys() == {("other", Fault.CLIENT_LOST)}


def test_a_judge_does_not_judge_itself(watch):
    assert watch(200, killed("me"), frozen("me")) == {}


def test_a_verdict_says_how_long_the_client_must_have_been_silent(judge, clock):
    for _ in range(70):
        clock.now += 1.0
        sights = [frozen()(clock.now - 1000), killed("dead")(clock.now - 1000)]
        verdicts = judge.see(Sights(sights, clock.now))
    assert {(v.client.id, v.silent_for) for v in verdicts} == {
        ("other", timedelta(seconds=60)),
        ("dead", timedelta(seconds=SESSION_GRACE)),
    }


def test_is_calm_when_every_client_has_had_the_time_to_beat(judge, clock):
    assert not judge.is_calm()
    judge.see(Sights([], clock.now))
    clock.now += 15
    assert judge.is_calm()
    judge.shake()
    assert not judge.is_calm()


class TestJudges:
    @pytest.fixture
    def judges(self, clock):
        return Judges(own_id="me", client_timeout=60.0, heartbeat_interval=5.0, clock=clock)

    def lost_after(self, judge, clock):
        """How long it takes until a killed client is lost."""
        began = clock.now
        while not judge.see(Sights([killed()(clock.now - began)], clock.now)):
            clock.now += 1.0
        return clock.now - began

    def test_a_new_one_trusts_what_it_sees(self, judges, clock):
        assert self.lost_after(judges.new(), clock) == SESSION_GRACE + 1

    def test_a_new_one_waits_if_we_were_away_of_late(self, judges, clock):
        judges.shake()
        clock.now += RECOVERY - 1

        assert self.lost_after(judges.new(), clock) == RECOVERY

    def test_a_new_one_does_not_wait_for_what_was_long_ago(self, judges, clock):
        judges.shake()
        clock.now += RECOVERY

        assert self.lost_after(judges.new(), clock) == SESSION_GRACE + 1

    def test_the_one_in_office_is_shaken(self, judges, clock):
        judge = judges.new()
        judge.see(Sights([], clock.now))
        judges.shake()

        assert self.lost_after(judge, clock) == RECOVERY
